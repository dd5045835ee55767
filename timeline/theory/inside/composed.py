"""Operators that one kernel makes of others: what those give stands while the next one works."""

from __future__ import annotations

from math import prod
from typing import Any

import torch

from timeline.theory.inside.sizes import Rule, size_of

aten = torch.ops.aten


def _logsumexp(args: Any, out: Any) -> int:
    # All numbers less the largest of their row, and these (ReduceOps.cpp, logsumexp_out_impl).
    return size_of(args[0]) + size_of(out)


def _safe_softmax(args: Any, out: Any) -> int:
    # Which scores are hidden, and of which rows all are (transformers/attention.cpp).
    source, dim = args[:2]
    scores: int = source.numel()
    rows: int = scores // max(source.shape[dim], 1)
    return scores + rows


def _distances(args: Any, out: Any) -> int:
    # One product of rows that have their squared length and a one behind them (Distance.cpp,
    # _euclidean_dist).
    first, second = args[:2]
    width: int = first.shape[-1]
    one, other = (size_of(each) // max(width, 1) for each in (first, second))
    joined, more = one * (width + 2), other * (width + 2)
    return max(joined + more, size_of(first) + joined + 2 * (one + other) - size_of(out))


def _trilinear(args: Any, out: Any) -> int:
    """Of a slice of the unrolled dimension at a time the product of two, and that with the third.

    aten/src/ATen/native/Linear.cpp, ``_trilinear``: `torch.nn.Bilinear` and its gradients.
    """
    *factors, first, second, third, summed = args[:7]
    unrolled = args[7] if len(args) > 7 else 1
    shapes = []
    for factor, expanded in zip(factors, (first, second, third), strict=True):
        sizes = iter(factor.shape)
        total = factor.dim() + len(expanded)
        shapes.append([1 if i in expanded else next(sizes) for i in range(total)])
    pair, both = [], []
    for i, sizes in enumerate(zip(*shapes, strict=True)):
        one_of_it = i == unrolled
        pair.append(1 if one_of_it or (i in summed and i in third) else max(sizes[:2]))
        both.append(1 if one_of_it or i in summed else max(sizes))
    element: int = out.element_size()
    return (prod(pair) + prod(both)) * element


def _soft_margin_backward(args: Any, out: Any) -> int:
    return 2 * size_of(out)  # a number each of two sums (Loss.cpp)


def _ctc_backward(args: Any, out: Any) -> int:
    return size_of(args[6])  # the same again, from the end (LossCTC.cpp)


def _coalesce(args: Any, out: Any) -> int:
    # Indices are sorted, with their places (sparse/SparseTensor.cpp, _coalesce_sparse_cpu).
    return 3 * size_of(args[0]._indices())


def _sparse_mask(args: Any, out: Any) -> int:
    return size_of(out._values())  # the rows, before they are multiplied with ones


RULES: dict[Any, Rule] = {
    aten.logsumexp.default: _logsumexp,
    aten._euclidean_dist.default: _distances,
    aten._trilinear.default: _trilinear,
    aten.soft_margin_loss_backward.default: _soft_margin_backward,
    aten._ctc_loss_backward.default: _ctc_backward,
    aten._ctc_loss_backward.Tensor: _ctc_backward,
    aten._coalesce.default: _coalesce,
    aten.sparse_mask.default: _sparse_mask,
}
if hasattr(aten, "_safe_softmax"):  # since torch 2.5
    RULES[aten._safe_softmax.default] = _safe_softmax
