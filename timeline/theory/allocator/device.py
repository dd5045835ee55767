"""The device's memory under the allocator: what is reserved of it, where, and how much there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

ADDRESS_SPACE = 1 << 47
"""Where the model's own addresses end; segments are placed from here down."""


@dataclass(slots=True)
class Counters:
    """The figures of ``torch.cuda.memory_stats``: now, and at their largest."""

    allocated: int = 0
    active: int = 0
    requested: int = 0
    reserved: int = 0
    peak_allocated: int = 0
    peak_active: int = 0
    peak_reserved: int = 0
    retries: int = 0
    ooms: int = 0

    def raise_peaks(self) -> None:
        """After something grew."""
        self.peak_allocated = max(self.peak_allocated, self.allocated)
        self.peak_active = max(self.peak_active, self.active)
        self.peak_reserved = max(self.peak_reserved, self.reserved)


class Device:
    """What the driver gives.

    Args:
        capacity: bytes that it has; None for no end.
        limit: bytes that the allocator may reserve; None for as many as there are.
        place: gives the address of a new segment of a size.

    Attributes:
        segments: by address, the bytes of a segment; of an expandable one, those of its range.
    """

    def __init__(
        self, capacity: int | None, limit: int | None, place: Callable[[int], int] | None
    ) -> None:
        self.capacity = capacity
        self.limit = limit
        self.segments: dict[int, int] = {}
        self.counters = Counters()
        self._place = place or self._highest_hole

    def allows(self, size: int) -> bool:
        """Whether that many bytes more are within the limit."""
        return self.limit is None or self.counters.reserved + size <= self.limit

    def has(self, size: int) -> bool:
        """Whether there are that many bytes more."""
        return self.capacity is None or self.counters.reserved + size <= self.capacity

    def segment(self, size: int) -> int:
        """The address of a new segment, of which nothing is reserved yet."""
        address = self._place(size)
        self.segments[address] = size
        return address

    def reserve(self, address: int, size: int) -> None:
        """Memory comes from the driver, behind a segment or some pages of one."""
        self.counters.reserved += size
        self.counters.raise_peaks()

    def give_back(self, address: int, size: int) -> None:
        """Memory goes to the driver, of a segment or some pages of one."""
        self.counters.reserved -= size

    def _highest_hole(self, size: int) -> int:
        """The highest free stretch: the driver's order, as ties after empty_cache show it."""
        top = ADDRESS_SPACE
        for address in sorted(self.segments, reverse=True):
            end = address + self.segments[address]
            if top - end >= size:
                break
            top = address
        return top - size
