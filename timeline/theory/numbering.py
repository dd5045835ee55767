"""Numbers for storages, in the order in which they are first seen."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch

from timeline.theory.storages import storages_of


class Numbers:
    """Knows every storage that it is asked about by a number, while it lives.

    Args:
        came: is told of a storage that was not seen before, and gives its number.
        gone: is told the number of one that is no more.
        unseen: is told, in words, of tensors that have no storage to ask for.
    """

    def __init__(
        self,
        came: Callable[[Any], int],
        gone: Callable[[int], None],
        unseen: Callable[[str], object],
    ) -> None:
        self._came = came
        self._gone = gone
        self._unseen = unseen
        self._known: dict[int, tuple[int, weakref.ref[Any]]] = {}
        self._stopped = False

    def of(self, tensor: torch.Tensor) -> list[int]:
        """The numbers of a tensor's storages, new ones for those not seen before."""
        if tensor.layout is torch.strided:
            return [self._one(tensor.untyped_storage())]
        try:
            return [self._one(storage) for storage in storages_of(tensor)]
        except NotImplementedError:
            self._unseen(f"tensors of the layout {tensor.layout}")
            return []

    def alive(self) -> list[int]:
        """The numbers of the storages that are there now."""
        return [number for number, _ in self._known.values()]

    def stop(self) -> None:
        """What goes from here on is told to nobody."""
        self._stopped = True

    def _one(self, storage: Any) -> int:
        # A storage's Python object lives as long as the storage itself.
        key = id(storage)
        known = self._known.get(key)
        if known is not None:
            return known[0]
        number = self._came(storage)

        def gone(_: object) -> None:
            del self._known[key]
            if not self._stopped:
                self._gone(number)

        self._known[key] = number, weakref.ref(storage, gone)
        return number
