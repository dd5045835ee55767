"""Sparse gradients: how many of their rows are distinct is a value, which fake tensors do not have.

``coalesce`` adds up entries of the same row. Where the indices are an input that was given with its
values, their distinct ones are counted; else all entries are taken to be of different rows, as many
as there are at most.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch._subclasses.fake_tensor import FakeTensor

aten = torch.ops.aten

NO_PADDING = "no index of an embedding with sparse gradients is its padding"
ALL_DIFFERENT = "entries of sparse gradients are of different rows, as far as there are so many"

_given: WeakKeyDictionary[Any, torch.Tensor] = WeakKeyDictionary()
"""By the storage of a tensor of whole numbers that stands for a real one, the real one."""


def remember(tensor: torch.Tensor, real: torch.Tensor) -> None:
    """A tensor without memory has the values of a real one, if it may be indices."""
    usual = type(real) is torch.Tensor and real.device.type == "cpu"
    if usual and real.dtype in (torch.int64, torch.int32):
        _given[tensor.untyped_storage()] = real


def made_of(like: torch.Tensor, indices: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """A sparse tensor of the shape of another."""
    return aten._sparse_coo_tensor_with_dims_and_tensors(
        indices.shape[0],
        values.dim() - 1,
        like.shape,
        indices,
        values,
        dtype=values.dtype,
        layout=torch.sparse_coo,
        device=values.device,
    )


def copy_of(source: torch.Tensor) -> torch.Tensor:
    """The same indices and values in storages of their own."""
    indices, values = source._indices(), source._values()
    return made_of(source, has_values_of(indices, indices.clone()), values.clone())


def has_values_of(tensor: torch.Tensor, copied: torch.Tensor) -> torch.Tensor:
    """The second one has the values of the first: what is known of those is known of these."""
    real = _given.get(tensor.untyped_storage())
    if real is not None:
        _given[copied.untyped_storage()] = real
    return copied


def _distinct(indices: torch.Tensor) -> int | None:
    """How many columns of indices differ; None where nobody knows.

    Of an index of one dimension any order of the real one's numbers is as good.
    """
    real = _given.get(indices.untyped_storage())
    if real is None or not real.numel() or real.numel() != indices.numel():
        return None
    if len(indices) > 1 and (real.shape, real.stride()) != (indices.shape, indices.stride()):
        return None
    with torch._C._DisableTorchDispatch():
        rows = real.reshape(indices.shape).tolist()
    return len(set(zip(*rows, strict=True)))


def _coalesce(args: Any, kwargs: Any, note: Callable[[str], object]) -> Any:
    # Room for all entries, of which the first are used (aten/src/ATen/native/sparse/
    # SparseTensor.cpp, _coalesce_sparse_cpu).
    source = args[0]
    if not isinstance(source, FakeTensor):
        return NotImplemented
    indices, values = source._indices(), source._values()
    entries = indices.shape[1]
    rows = _distinct(indices)
    if rows is None:
        rows = min(entries, prod(source.shape[: indices.shape[0]]))
        if entries > 1:
            note(ALL_DIFFERENT)
    kept = indices.new_empty(indices.shape).narrow(1, 0, rows)
    return made_of(source, kept, values.new_empty(values.shape).narrow(0, 0, rows))._coalesced_(
        True
    )


def _mask(args: Any, kwargs: Any, note: Callable[[str], object]) -> Any:
    # The same file, sparse_mask: a product with ones.
    source, mask = args[:2]
    if not isinstance(source, FakeTensor) or source.layout is not torch.strided:
        return NotImplemented
    indices, values = mask._indices(), mask._values()
    return made_of(mask, indices.clone(), source.new_empty(values.shape))


def _added(args: Any, kwargs: Any, note: Callable[[str], object]) -> Any:
    # A sparse tensor is added to a dense one row by row.
    first, second = args[:2]
    if not isinstance(second, FakeTensor) or second.layout is not torch.sparse_coo:
        return NotImplemented
    return first if first.layout is torch.strided else NotImplemented


def _without_padding(args: Any, kwargs: Any, note: Callable[[str], object]) -> Any:
    # The rows whose index is not that of the padding (aten/src/ATen/native/Embedding.cpp,
    # embedding_sparse_backward): how many is a value, too.
    source, (mask, *more) = args[:2]
    node = torch._C._current_autograd_node()
    if more or node is None or node.name() != "EmbeddingBackward0" or mask.dtype is not torch.bool:
        return NotImplemented
    note(NO_PADDING)
    kept = source.new_empty((mask.numel(), *source.shape[mask.dim() :]))
    return has_values_of(source, kept)


def _negative(args: Any, kwargs: Any, note: Callable[[str], object]) -> Any:
    source = args[0]
    if not isinstance(source, FakeTensor) or source.layout is not torch.sparse_coo:
        return NotImplemented
    return copy_of(source)


def _sum(args: Any, kwargs: Any, note: Callable[[str], object]) -> Any:
    # Entries of both, one after the other (sparse/SparseTensorMath.cpp, add_out_sparse_cpu).
    both = args[:2]
    if not all(isinstance(each, FakeTensor) for each in both):
        return NotImplemented
    if any(each.layout is not torch.sparse_coo for each in both):
        return NotImplemented
    indices = torch.cat([each._indices() for each in both], 1)
    return made_of(both[0], indices, torch.cat([each._values() for each in both]))


INSTEAD: dict[Any, Callable[[Any, Any, Callable[[str], object]], Any]] = {
    aten._coalesce.default: _coalesce,
    aten.sparse_mask.default: _mask,
    aten.add_.Tensor: _added,
    aten.add.Tensor: _sum,
    aten.neg.default: _negative,
    aten.index.Tensor: _without_padding,
}
"""By operator, what is done in its place; NotImplemented where nothing is."""
