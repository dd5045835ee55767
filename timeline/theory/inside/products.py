"""Products and normalisations: copies of what their kernels cannot read as it lies."""

from __future__ import annotations

from typing import Any

import torch

from timeline.theory.inside.blocking import Product, scratch
from timeline.theory.inside.sizes import Rule, size_of

aten = torch.ops.aten


def _takes_blas(matrix: torch.Tensor) -> bool:
    """Whether BLAS can read it: one stride of 1 and the other no less than a row."""
    rows, columns = matrix.shape[-2:]
    down, right = matrix.stride()[-2:]
    return bool((right == 1 and down >= max(columns, 1)) or (down == 1 and right >= max(rows, 1)))


def _products(first: int) -> Rule:
    """mm, addmm and bmm copy a matrix that BLAS cannot read, such as an expanded gradient."""

    def rule(args: Any, out: Any) -> int:
        left, right = args[first : first + 2]
        if left.dtype is torch.bfloat16:
            return _product_of_bf16(left, right)
        return sum(size_of(each) for each in (left, right) if not _takes_blas(each))

    return rule


_SMALL = 16**3
"""Products of so few multiplications are not oneDNN's (aten/src/ATen/native/mkldnn/Matmul.cpp)."""


def _product_of_bf16(left: torch.Tensor, right: torch.Tensor) -> int:
    """Of many at once oneDNN reads those without gaps; one is read as by BLAS."""
    rows, length = left.shape[-2:]
    columns, batch = right.shape[-1], left.shape[:-2].numel()
    large = batch * rows * length * columns > _SMALL
    reads = _in_one_piece if large and left.dim() == 3 else _takes_blas
    copied = [each for each in (left, right) if not reads(each)]
    held = sum(map(size_of, copied))
    if not large:
        return held
    if left.dim() == 2 and columns == 1:  # BLAS takes the result for a row, and turns the product
        rows, columns = columns, rows
    by_rows = left.stride(-1) == 1 or any(each is left for each in copied)
    product = Product(rows, columns, length, batch, turned=rows == 1 or not by_rows)
    return held + scratch(product, torch.get_num_threads())


def _in_one_piece(matrices: torch.Tensor) -> bool:
    return bool(matrices.is_contiguous() or matrices.mT.is_contiguous())


def _batch_norm_backward(args: Any, out: Any) -> int:
    # Where both are contiguous it makes one more tensor as large as the input
    # (aten/src/ATen/native/Normalization.cpp).
    gradient, source = args[:2]
    return size_of(source) if gradient.is_contiguous() and source.is_contiguous() else 0


RULES: dict[Any, Rule] = {
    aten.mm.default: _products(0),
    aten.bmm.default: _products(0),
    aten.addmm.default: _products(1),
    aten.baddbmm.default: _products(1),
    aten.native_batch_norm_backward.default: _batch_norm_backward,
}
