"""The storages behind tensors: what memory is counted by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch


def storages_of(tensor: torch.Tensor) -> Iterator[Any]:
    """The storages that hold a tensor: one of a strided tensor, two or three of a sparse one.

    Raises:
        NotImplementedError: its layout has no storage that can be asked for.
    """
    layout = tensor.layout
    parts: tuple[torch.Tensor, ...]
    if layout is torch.sparse_coo:
        parts = (tensor._indices(), tensor._values())
    elif layout in (torch.sparse_csr, torch.sparse_bsr):
        parts = (tensor.crow_indices(), tensor.col_indices(), tensor.values())
    elif layout in (torch.sparse_csc, torch.sparse_bsc):
        parts = (tensor.ccol_indices(), tensor.row_indices(), tensor.values())
    else:
        yield tensor.untyped_storage()
        return
    for part in parts:
        yield part.untyped_storage()


def tensors_in(value: Any, _depth: int = 0) -> Iterator[torch.Tensor]:
    """Every tensor in a value of tensors, tuples, lists, mappings and dataclasses."""
    if isinstance(value, torch.Tensor):
        yield value
    elif _depth > 8:  # a structure that holds itself
        return
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from tensors_in(each, _depth + 1)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from tensors_in(each, _depth + 1)
    elif is_dataclass(value) and not isinstance(value, type):
        for one in fields(value):
            yield from tensors_in(getattr(value, one.name, None), _depth + 1)


class Ledger:
    """Storages that were seen, each counted once.

    The storages are kept alive, so that no address is used twice.
    """

    def __init__(self) -> None:
        self._seen: dict[int, Any] = {}

    def add(self, tensors: Iterable[torch.Tensor]) -> int:
        """The bytes of those storages of the tensors that had not been seen before."""
        total = 0
        for tensor in tensors:
            for storage in storages_of(tensor):
                key = storage._cdata
                if key not in self._seen:
                    self._seen[key] = storage
                    total += storage.nbytes()
        return total
