"""Expandable segments: ranges of addresses that memory is mapped into, and taken from, by pages."""

from __future__ import annotations

from timeline.theory.allocator.blocks import Block, Expandable, Pool
from timeline.theory.allocator.device import Device
from timeline.theory.allocator.settings import LARGE_BUFFER, SMALL_BUFFER


def allocate(device: Device, pool: Pool, size: int, stream: int) -> Block | None:
    """A free block of that size or more, which is in no pool; None where there is no memory."""
    found = _find(device, pool, size, stream)
    if not found.mapped and not _map(device, found, min(found.size, size)):
        return None
    while found.size < size:
        following = found.next
        assert following is not None
        if not _map(device, following, min(size - found.size, following.size)):
            return None
        found = following
    pool.erase(found)
    return found


def unmap(device: Device, block: Block) -> None:
    """Give the whole pages of a free block back."""
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
    block.merge_neighbours()
    pool.insert_unmapped(block)
    device.give_back(start, stop - start)
    if not block.split:
        pool.erase_unmapped(block)
        del device.segments[segment.address]


def grown(block: Block) -> int:
    """What a free block can grow to: itself and what follows it without memory."""
    following = block.next
    return block.size + (following.size if following is not None and not following.mapped else 0)


def _find(device: Device, pool: Pool, size: int, stream: int) -> Block:
    """Where a block can come to be: a free one that can grow, or the first of a new segment."""
    for block in pool.unmapped(stream):
        before = block.previous
        first = before if before is not None and before.idle else block
        room, at = 0, first
        while at is not None and room < size and at.idle:
            room += at.size
            at = at.next  # type: ignore[assignment]
        if room >= size:
            return first
    page = SMALL_BUFFER if pool.small else LARGE_BUFFER
    # 1.125 of the device's memory, in whole pages; a model without a capacity has 1 TiB.
    wide = -(-(device.capacity or 1 << 40) * 9 // 8 // page) * page
    address = device.segment(wide)
    block = Block(address, wide, stream, pool)
    block.mapped = False
    block.expandable = Expandable(address, wide, page)
    pool.insert_unmapped(block)
    return block


def _map(device: Device, block: Block, size: int) -> bool:
    """Put memory behind the beginning of a block; False where there is none."""
    assert block.expandable is not None
    page = block.expandable.page
    mapped = -(-size // page) * page
    if not device.has(mapped):
        return False
    pool = block.pool
    start = block.address
    pool.erase_unmapped(block)
    block.mapped = True
    if mapped < block.size:
        rest = Block(block.address + mapped, block.size - mapped, block.stream, pool)
        rest.mapped = False
        rest.expandable = block.expandable
        rest.insert_after(block)
        pool.insert_unmapped(rest)
        block.size = mapped
    block.merge_neighbours()
    pool.insert(block)
    device.reserve(start, mapped)
    return True
