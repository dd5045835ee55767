"""The allocator itself: handing out, taking back, and the books."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from timeline.errors import TimelineError
from timeline.theory.allocator import expandable
from timeline.theory.allocator.blocks import Adopted, Block, Pool
from timeline.theory.allocator.device import Device
from timeline.theory.allocator.releasing import (
    collect_garbage,
    release_available_cached_blocks,
    release_block,
    release_cached_blocks,
)
from timeline.theory.allocator.settings import (
    LARGE_SEGMENT,
    MIN_BLOCK,
    MIN_LARGE_ALLOC,
    ROUND_LARGE,
    SMALL_BUFFER,
    SMALL_SIZE,
    Settings,
    format_oom,
)


class OutOfDeviceMemory(TimelineError):
    """The model's device has no room for a request, whatever is released."""


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
        limit = int(fraction * capacity) if fraction is not None and capacity is not None else None
        self._device = Device(capacity, limit, place)
        self.counters = self._device.counters
        self._live: dict[int, Block] = {}
        self._small, self._large = Pool(small=True), Pool(small=False)
        self._waiting: list[Block] = []
        self._collects = limit is not None and self.settings.garbage_collection_threshold > 0

    @property
    def capacity(self) -> int | None:
        """Bytes that the driver can give; None for no end."""
        return self._device.capacity

    @property
    def segments(self) -> dict[int, int]:
        """By address, the bytes of each segment; of one that grows, those of its range."""
        return self._device.segments

    def adopt(self, address: int, size: int, stream: int, blocks: Iterable[Adopted]) -> None:
        """Take over a segment that is already there, as a snapshot shows it.

        Args:
            address, size, stream: of the segment.
            blocks: its blocks in the order of addresses, which together cover it.
        """
        small = size == SMALL_BUFFER
        pool = self._small if small else self._large
        self._device.segments[address] = size
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
        self._device.reserve(address, size)

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
            if self._collects:
                collect_garbage(self._device, self.settings, self._large)
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
        self.finish()
        release_cached_blocks(self._device, (self._large, self._small))

    def release(self, address: int) -> None:
        """Give one wholly free segment back, as a trace says the real allocator did.

        Raises:
            KeyError: no such segment is wholly free.
        """
        for pool in (self._large, self._small):
            for block in pool.blocks():
                if block.address == address and not block.split:
                    release_block(self._device, block)
                    return
        raise KeyError(address)

    def size_of(self, address: int) -> int:
        """The bytes that a live block counts for."""
        return self._live[address].size

    def live(self) -> list[tuple[int, int]]:
        """The address and size of every block that is handed out."""
        return [(block.address, block.size) for block in self._live.values()]

    def _get_free_block(self, pool: Pool, size: int, stream: int) -> Block | None:
        if self._collects:
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
                and expandable.grown(following) < expandable.grown(block)
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
        device = self._device
        block = self._alloc_block(pool, size, stream)
        if block is None and release_available_cached_blocks(
            device, self.settings, pool, size, stream
        ):
            block = self._alloc_block(pool, size, stream)
        if block is None:
            self.empty_cache()
            self.counters.retries += 1
            block = self._alloc_block(pool, size, stream)
        return block

    def _alloc_block(self, pool: Pool, size: int, stream: int) -> Block | None:
        device = self._device
        segment = get_allocation_size(size)
        if not device.allows(segment):
            return None
        if self.settings.expandable_segments:
            return expandable.allocate(device, pool, size, stream)
        if not device.has(segment):
            return None
        block = Block(device.segment(segment), segment, stream, pool)
        device.reserve(block.address, segment)
        return block

    def _should_split(self, block: Block, size: int) -> bool:
        remaining = block.size - size
        if block.pool.small or self.settings.expandable_segments:
            return remaining >= MIN_BLOCK
        return size < self.settings.max_split_size and remaining > SMALL_SIZE

    def _free_block(self, block: Block) -> None:
        self.counters.active -= block.size
        self.counters.requested -= block.requested
        block.requested = 0
        block.merge_neighbours()
        block.pool.insert(block)


def get_allocation_size(size: int) -> int:
    """The segment that is asked of the driver for a block of that size."""
    if size <= SMALL_SIZE:
        return SMALL_BUFFER
    if size < MIN_LARGE_ALLOC:
        return LARGE_SEGMENT
    return -(-size // ROUND_LARGE) * ROUND_LARGE
