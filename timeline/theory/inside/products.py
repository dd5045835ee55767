"""Products, normalisations and sums: copies of what their kernels cannot read as it lies."""

from __future__ import annotations

from typing import Any

import torch

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
        copied = sum(size_of(each) for each in (left, right) if not _takes_blas(each))
        return copied + (_product_of_16_bits(left, right) if left.element_size() == 2 else 0)

    return rule


def _product_of_16_bits(left: torch.Tensor, right: torch.Tensor) -> int:
    """Buffers of each thread (oneDNN, src/cpu/x64/matmul/brgemm_matmul_utils.cpp).

    They are bounded, so that they matter in small models alone: an upper bound of what was seen
    with two threads, within a third of it.
    """
    rows, length = left.shape[-2:]
    threads = torch.get_num_threads()
    if left.stride(-1) == 1:
        return int(threads * (66368 + 128 * min(length, 1024)))
    if length <= 512:
        return int(min(rows * length * 2 + 100_000, threads * 410_496))
    sums = rows * right.shape[-1] * 4
    return int(min(sums + 300_000, threads * 1_393_536))


def _read_in_rows(*which: int) -> Rule:
    """The kernel wants these arguments contiguous, and copies those that are not."""

    def rule(args: Any, out: Any) -> int:
        given = (args[i] for i in which if isinstance(args[i], torch.Tensor))
        return sum(size_of(each) for each in given if not each.is_contiguous())

    return rule


def _batch_norm_backward(args: Any, out: Any) -> int:
    # Where both are contiguous it makes one more tensor as large as the input
    # (aten/src/ATen/native/Normalization.cpp).
    gradient, source = args[:2]
    return size_of(source) if gradient.is_contiguous() and source.is_contiguous() else 0


def _mean(args: Any, out: Any) -> int:
    # Of 16 bits it is summed in a copy of 32 (ReduceOps.cpp).
    source = args[0]
    return source.numel() * 4 if source.element_size() == 2 else 0


RULES: dict[Any, Rule] = {
    aten.mm.default: _products(0),
    aten.bmm.default: _products(0),
    aten.addmm.default: _products(1),
    aten.baddbmm.default: _products(1),
    aten.native_batch_norm_backward.default: _batch_norm_backward,
    aten.mean.dim: _mean,
    aten.native_layer_norm.default: _read_in_rows(0),
    aten.native_layer_norm_backward.default: _read_in_rows(0, 1),
    aten.embedding_dense_backward.default: _read_in_rows(0),
}
