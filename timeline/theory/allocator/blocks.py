"""Blocks, the stretches that a segment is cut into, and the pools of those that are free."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass

Adopted = tuple[int, int, int]
"""A block of an adopted segment: address, size, and the bytes asked for; 0 where it is free."""


class Block:
    """A stretch of a segment: handed out, free, or (in an expandable segment) not yet mapped."""

    __slots__ = (
        "address", "allocated", "born", "expandable", "mapped", "next", "pending", "pool",
        "previous", "requested", "size", "stream", "users",
    )  # fmt: skip

    def __init__(self, address: int, size: int, stream: int, pool: Pool) -> None:
        self.address = address
        self.size = size
        self.stream = stream
        self.pool = pool
        self.requested = 0
        self.allocated = False
        self.mapped = True
        self.expandable: Expandable | None = None
        self.previous: Block | None = None
        self.next: Block | None = None
        self.users: set[int] = set()
        self.pending = 0
        self.born = 0

    @property
    def split(self) -> bool:
        """Whether the segment holds other blocks too."""
        return self.previous is not None or self.next is not None

    @property
    def idle(self) -> bool:
        """Whether nobody has it, and no stream is still at work in it."""
        return not (self.allocated or self.pending or self.users)

    def insert_after(self, before: Block) -> None:
        """Link this block in, right after another of the same segment."""
        self.previous, self.next = before, before.next
        if before.next is not None:
            before.next.previous = self
        before.next = self

    def merge_neighbours(self) -> None:
        """Take in the blocks on both sides that are idle and mapped alike."""
        for neighbour in (self.previous, self.next):
            if neighbour is not None and neighbour.idle and neighbour.mapped == self.mapped:
                self._merge(neighbour)

    def _merge(self, other: Block) -> None:
        if self.previous is other:
            self.address = other.address
            self.previous = other.previous
            if self.previous is not None:
                self.previous.next = self
        else:
            self.next = other.next
            if self.next is not None:
                self.next.previous = self
        # The key that the neighbour is filed under is its own, so it leaves after the links.
        if other.mapped:
            other.pool.erase(other)
        else:
            other.pool.erase_unmapped(other)
        self.size += other.size


class Pool:
    """The free blocks of one size class, found by (stream, size, address)."""

    def __init__(self, *, small: bool) -> None:
        self.small = small
        self.searches = 0
        self._free: list[tuple[int, int, int, Block]] = []
        self._unmapped: list[tuple[int, int, Block]] = []

    def insert(self, block: Block) -> None:
        """Put a free block in; its age for garbage collection begins again."""
        block.born = self.searches
        insort(self._free, (block.stream, block.size, block.address, block), key=lambda e: e[:3])

    def erase(self, block: Block) -> None:
        """Take a free block out."""
        key = (block.stream, block.size, block.address)
        del self._free[bisect_left(self._free, key, key=lambda e: e[:3])]

    def at_least(self, stream: int, size: int) -> int:
        """The place of the smallest free block of that size or more, lowest address first."""
        return bisect_left(self._free, (stream, size, 0), key=lambda e: e[:3])

    def __getitem__(self, place: int) -> Block | None:
        return self._free[place][3] if 0 <= place < len(self._free) else None

    def blocks(self) -> list[Block]:
        """The free blocks, in the order of search."""
        return [entry[3] for entry in self._free]

    def insert_unmapped(self, block: Block) -> None:
        """Put in a stretch of an expandable segment that has no memory behind it."""
        insort(self._unmapped, (block.stream, block.address, block), key=lambda e: e[:2])

    def erase_unmapped(self, block: Block) -> None:
        """Take such a stretch out."""
        key = (block.stream, block.address)
        del self._unmapped[bisect_left(self._unmapped, key, key=lambda e: e[:2])]

    def unmapped(self, stream: int) -> Iterable[Block]:
        """Those of a stream, lowest address first."""
        return [entry[2] for entry in self._unmapped if entry[0] == stream]


@dataclass(frozen=True, slots=True)
class Expandable:
    """An expandable segment: a range of addresses that memory is mapped into page by page."""

    address: int
    size: int
    page: int
