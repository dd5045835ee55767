"""A model of PyTorch's CUDA caching allocator: what is reserved when these tensors come and go.

It follows the logic of ``c10/cuda/CUDACachingAllocator.cpp`` (torch 2.6) with the constants of
``c10/core/AllocatorConfig.h`` (torch 2.13), for one device. Given the same requests it reserves
the same bytes as the real one; where the addresses of real segments are given it hands out the
same addresses. It does not know graph capture and private pools, and it allocates nothing.

All sizes are bytes. The names of the parts are those of the original, so that the two can be read
side by side.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from timeline.errors import TimelineError
from timeline.theory.allocator_settings import (
    LARGE_BUFFER,
    LARGE_SEGMENT,
    MIN_BLOCK,
    MIN_LARGE_ALLOC,
    ROUND_LARGE,
    SMALL_BUFFER,
    SMALL_SIZE,
    UNLIMITED,
    Settings,
    format_oom,
)

Adopted = tuple[int, int, int]
"""A block of an adopted segment: address, size, and the bytes asked for; 0 where it is free."""

ADDRESS_SPACE = 1 << 47
"""Where the model's own addresses end; segments are placed from here down."""


class OutOfDeviceMemory(TimelineError):
    """The model's device has no room for a request, whatever is released."""


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

    def insert_after(self, before: Block) -> None:
        """Link this block in, right after another of the same segment."""
        self.previous, self.next = before, before.next
        if before.next is not None:
            before.next.previous = self
        before.next = self


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


class CachingAllocator:
    """The allocator of one device.

    Args:
        settings: what ``PYTORCH_CUDA_ALLOC_CONF`` would say.
        capacity: bytes that the driver can give; None for no end.
        fraction: of the capacity that may be reserved (``set_per_process_memory_fraction``).
        place: gives the address of a new segment of a size, for replays with real addresses.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        capacity: int | None = None,
        fraction: float | None = None,
        place: Callable[[int], int] | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.capacity = capacity
        self.limit = (
            int(fraction * capacity) if fraction is not None and capacity is not None else None
        )
        self.counters = Counters()
        self.segments: dict[int, int] = {}
        self._place = place or self._highest_hole
        self._live: dict[int, Block] = {}
        self._small, self._large = Pool(small=True), Pool(small=False)
        self._waiting: list[Block] = []

    def adopt(self, address: int, size: int, stream: int, blocks: Iterable[Adopted]) -> None:
        """Take over a segment that is already there, as a snapshot shows it.

        Args:
            address, size, stream: of the segment.
            blocks: its blocks in the order of addresses, which together cover it.
        """
        small = size == SMALL_BUFFER
        pool = self._small if small else self._large
        self.segments[address] = size
        before: Block | None = None
        for at, length, requested in blocks:
            block = Block(at, length, stream, pool)
            if before is not None:
                block.insert_after(before)
            before = block
            if requested:
                block.allocated, block.requested = True, requested
                self._live[at] = block
                self.counters.allocated += length
                self.counters.active += length
                self.counters.requested += requested
            else:
                pool.insert(block)
        self._reserve(size)

    def malloc(self, size: int, stream: int = 0) -> int:
        """Hand out a block; returns its address, 0 for zero bytes.

        Raises:
            OutOfDeviceMemory: there is no room, after everything that can be released was.
        """
        if size == 0:
            return 0
        rounded = self.settings.round_size(size)
        pool = self._small if rounded <= SMALL_SIZE else self._large
        block = self._get_free_block(pool, rounded, stream)
        if block is None:
            if self.limit is not None and self.settings.garbage_collection_threshold > 0:
                self._collect_garbage()
            block = self._new_block(pool, rounded, stream)
        if block is None:
            self.counters.ooms += 1
            raise OutOfDeviceMemory(format_oom(size, self.capacity, self.counters.reserved))
        if self._should_split(block, rounded):
            rest = Block(block.address + rounded, block.size - rounded, stream, pool)
            rest.expandable = block.expandable
            rest.insert_after(block)
            block.size = rounded
            pool.insert(rest)
        block.allocated = True
        block.requested = size
        self._live[block.address] = block
        counters = self.counters
        counters.allocated += block.size
        counters.active += block.size
        counters.requested += size
        counters.raise_peaks()
        return block.address

    def free(self, address: int) -> None:
        """Take a block back. One that other streams used stays active until `finish`."""
        if address == 0:
            return
        block = self._live.pop(address)
        block.allocated = False
        self.counters.allocated -= block.size
        if block.users:
            block.pending, block.users = len(block.users), set()
            self._waiting.append(block)
        else:
            self._free_block(block)

    def record_stream(self, address: int, stream: int) -> None:
        """Note that another stream uses a block (``Tensor.record_stream``)."""
        block = self._live[address]
        if stream != block.stream:
            block.users.add(stream)

    def finish(self) -> None:
        """All streams have caught up: blocks that waited for them become free."""
        waiting, self._waiting = self._waiting, []
        for block in waiting:
            block.pending = 0
            self._free_block(block)

    def empty_cache(self) -> None:
        """Give every wholly free segment back to the driver."""
        self._release_cached_blocks()

    def release(self, address: int) -> None:
        """Give one wholly free segment back, as a trace says the real allocator did.

        Raises:
            KeyError: no such segment is wholly free.
        """
        for pool in (self._large, self._small):
            for block in pool.blocks():
                if block.address == address and not block.split:
                    self._release_block(block)
                    return
        raise KeyError(address)

    def size_of(self, address: int) -> int:
        """The bytes that a live block counts for."""
        return self._live[address].size

    def live(self) -> list[tuple[int, int]]:
        """The address and size of every block that is handed out."""
        return [(block.address, block.size) for block in self._live.values()]

    def _get_free_block(self, pool: Pool, size: int, stream: int) -> Block | None:
        if self.limit is not None and self.settings.garbage_collection_threshold > 0:
            pool.searches += 1
        at = pool.at_least(stream, size)
        block = pool[at]
        if block is None or block.stream != stream:
            return None
        if block.expandable is not None:
            # What a block can grow to counts, so a bigger one may grow to less and fit better.
            following = pool[at + 1]
            while (
                block.expandable is not None
                and following is not None
                and following.stream == stream
                and _grown(following) < _grown(block)
            ):
                at += 1
                block, following = following, pool[at + 1]
        limit = self.settings.max_split_size
        if size < limit <= block.size:
            return None
        if size >= limit and block.size >= size + self.settings.max_non_split_rounding:
            return None
        pool.erase(block)
        return block

    def _new_block(self, pool: Pool, size: int, stream: int) -> Block | None:
        block = self._alloc_block(pool, size, stream)
        if block is None and self._release_available_cached_blocks(pool, size, stream):
            block = self._alloc_block(pool, size, stream)
        if block is None:
            self._release_cached_blocks()
            self.counters.retries += 1
            block = self._alloc_block(pool, size, stream)
        return block

    def _alloc_block(self, pool: Pool, size: int, stream: int) -> Block | None:
        segment = get_allocation_size(size)
        if self.limit is not None and self.counters.reserved + segment > self.limit:
            return None
        if self.settings.expandable_segments:
            return self._allocate_expandable(pool, size, stream)
        if not self._driver_has(segment):
            return None
        block = Block(self._place(segment), segment, stream, pool)
        self.segments[block.address] = segment
        self._reserve(segment)
        return block

    def _driver_has(self, size: int) -> bool:
        return self.capacity is None or self.counters.reserved + size <= self.capacity

    def _reserve(self, size: int) -> None:
        self.counters.reserved += size
        self.counters.raise_peaks()

    def _should_split(self, block: Block, size: int) -> bool:
        remaining = block.size - size
        if block.pool.small or self.settings.expandable_segments:
            return remaining >= MIN_BLOCK
        return size < self.settings.max_split_size and remaining > SMALL_SIZE

    def _free_block(self, block: Block) -> None:
        self.counters.active -= block.size
        self.counters.requested -= block.requested
        block.requested = 0
        for neighbour in (block.previous, block.next):
            self._try_merge(block, neighbour)
        block.pool.insert(block)

    def _try_merge(self, into: Block, other: Block | None) -> None:
        if other is None or other.allocated or other.pending or other.users:
            return
        if other.mapped != into.mapped:
            return
        if into.previous is other:
            into.address = other.address
            into.previous = other.previous
            if into.previous is not None:
                into.previous.next = into
        else:
            into.next = other.next
            if into.next is not None:
                into.next.previous = into
        # The key that the neighbour is filed under is its own, so it leaves after the links.
        if other.mapped:
            other.pool.erase(other)
        else:
            other.pool.erase_unmapped(other)
        into.size += other.size

    def _release_block(self, block: Block) -> None:
        block.pool.erase(block)
        del self.segments[block.address]
        self.counters.reserved -= block.size

    def _release_cached_blocks(self) -> None:
        self.finish()
        for pool in (self._large, self._small):
            for block in pool.blocks():
                if block.expandable is not None:
                    self._unmap(block)
                elif not block.split:
                    self._release_block(block)

    def _release_available_cached_blocks(self, pool: Pool, size: int, stream: int) -> bool:
        limit = self.settings.max_split_size
        if limit == UNLIMITED:
            return False
        wanted = max(size, limit)
        at = pool.at_least(stream, wanted)
        block = pool[at]
        if block is not None and block.stream == stream and block.expandable is None:
            self._release_block(block)
            return True
        released = 0
        while released < wanted and at > 0:
            at -= 1
            block = pool[at]
            if block is None or block.stream != stream or block.size < limit:
                break
            if block.expandable is None:
                released += block.size
                self._release_block(block)
        return released >= wanted

    def _collect_garbage(self) -> None:
        assert self.limit is not None
        threshold = int(self.settings.garbage_collection_threshold * self.limit)
        target = self.counters.reserved - threshold
        if target <= 0:
            return
        pool = self._large
        whole = [b for b in pool.blocks() if not b.split]
        age = {id(b): pool.searches - b.born for b in whole}
        freed = True
        reclaimed = 0
        while whole and freed and reclaimed < target:
            mean = sum(age[id(b)] for b in whole) / len(whole)
            old = [b for b in whole if b.expandable is None and age[id(b)] >= mean]
            freed = bool(old)
            for block in old:
                reclaimed += block.size
                self._release_block(block)
            whole = [b for b in whole if b not in old]

    def _allocate_expandable(self, pool: Pool, size: int, stream: int) -> Block | None:
        found = self._find_expandable(pool, size, stream)
        if not found.mapped and not self._map(found, min(found.size, size)):
            return None
        while found.size < size:
            following = found.next
            assert following is not None
            if not self._map(following, min(size - found.size, following.size)):
                return None
            found = following
        pool.erase(found)
        return found

    def _find_expandable(self, pool: Pool, size: int, stream: int) -> Block:
        for block in pool.unmapped(stream):
            before = block.previous
            first = before if before is not None and _free(before) else block
            room, at = 0, first
            while at is not None and room < size and _free(at):
                room += at.size
                at = at.next  # type: ignore[assignment]
            if room >= size:
                return first
        page = SMALL_BUFFER if pool.small else LARGE_BUFFER
        # 1.125 of the device's memory, in whole pages; a model without a capacity has 1 TiB.
        wide = -(-(self.capacity or 1 << 40) * 9 // 8 // page) * page
        address = self._place(wide)
        self.segments[address] = wide
        block = Block(address, wide, stream, pool)
        block.mapped = False
        block.expandable = Expandable(address, wide, page)
        pool.insert_unmapped(block)
        return block

    def _map(self, block: Block, size: int) -> bool:
        assert block.expandable is not None
        page = block.expandable.page
        mapped = -(-size // page) * page
        if not self._driver_has(mapped):
            return False
        pool = block.pool
        pool.erase_unmapped(block)
        block.mapped = True
        if mapped < block.size:
            rest = Block(block.address + mapped, block.size - mapped, block.stream, pool)
            rest.mapped = False
            rest.expandable = block.expandable
            rest.insert_after(block)
            pool.insert_unmapped(rest)
            block.size = mapped
        for neighbour in (block.previous, block.next):
            self._try_merge(block, neighbour)
        pool.insert(block)
        self._reserve(mapped)
        return True

    def _unmap(self, block: Block) -> None:
        segment = block.expandable
        assert segment is not None
        page = segment.page
        start = segment.address + -(-(block.address - segment.address) // page) * page
        stop = segment.address + (block.address + block.size - segment.address) // page * page
        if stop <= start:
            return
        pool = block.pool
        pool.erase(block)
        if block.address < start:
            head = Block(block.address, start - block.address, block.stream, pool)
            head.expandable = segment
            head.previous, head.next = block.previous, block
            if head.previous is not None:
                head.previous.next = head
            block.previous = head
            pool.insert(head)
        if stop < block.address + block.size:
            tail = Block(stop, block.address + block.size - stop, block.stream, pool)
            tail.expandable = segment
            tail.insert_after(block)
            pool.insert(tail)
        block.address, block.size, block.mapped = start, stop - start, False
        for neighbour in (block.previous, block.next):
            self._try_merge(block, neighbour)
        pool.insert_unmapped(block)
        self.counters.reserved -= stop - start
        if not block.split:
            pool.erase_unmapped(block)
            del self.segments[segment.address]

    def _highest_hole(self, size: int) -> int:
        """The highest free stretch: the driver's order, as ties after empty_cache show it."""
        top = ADDRESS_SPACE
        for address in sorted(self.segments, reverse=True):
            end = address + self.segments[address]
            if top - end >= size:
                break
            top = address
        return top - size


def get_allocation_size(size: int) -> int:
    """The segment that is asked of the driver for a block of that size."""
    if size <= SMALL_SIZE:
        return SMALL_BUFFER
    if size < MIN_LARGE_ALLOC:
        return LARGE_SEGMENT
    return -(-size // ROUND_LARGE) * ROUND_LARGE


def _grown(block: Block) -> int:
    following = block.next
    return block.size + (following.size if following is not None and not following.mapped else 0)


def _free(block: Block) -> bool:
    return not (block.allocated or block.pending or block.users)
