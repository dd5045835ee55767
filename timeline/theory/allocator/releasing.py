"""What gives memory back to the driver: all that is free, some of it, or what is old."""

from __future__ import annotations

from collections.abc import Iterable

from timeline.theory.allocator.blocks import Block, Pool
from timeline.theory.allocator.device import Device
from timeline.theory.allocator.expandable import unmap
from timeline.theory.allocator.settings import UNLIMITED, Settings


def release_block(device: Device, block: Block) -> None:
    """Give back a segment that is one free block."""
    block.pool.erase(block)
    del device.segments[block.address]
    device.give_back(block.address, block.size)


def release_cached_blocks(device: Device, pools: Iterable[Pool]) -> None:
    """Give back every segment that is wholly free, and the free pages of those that grow."""
    for pool in pools:
        for block in pool.blocks():
            if block.expandable is not None:
                unmap(device, block)
            elif not block.split:
                release_block(device, block)


def release_available_cached_blocks(
    device: Device, settings: Settings, pool: Pool, size: int, stream: int
) -> bool:
    """Give back blocks that are too large to be split, as many as a request needs."""
    limit = settings.max_split_size
    if limit == UNLIMITED:
        return False
    wanted = max(size, limit)
    at = pool.at_least(stream, wanted)
    block = pool[at]
    if block is not None and block.stream == stream and block.expandable is None:
        release_block(device, block)
        return True
    released = 0
    while released < wanted and at > 0:
        at -= 1
        block = pool[at]
        if block is None or block.stream != stream or block.size < limit:
            break
        if block.expandable is None:
            released += block.size
            release_block(device, block)
    return released >= wanted


def collect_garbage(device: Device, settings: Settings, pool: Pool) -> None:
    """Past the threshold, give back free segments of more than the mean age, the mean anew."""
    assert device.limit is not None
    threshold = int(settings.garbage_collection_threshold * device.limit)
    target = device.counters.reserved - threshold
    if target <= 0:
        return
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
            release_block(device, block)
        whole = [b for b in whole if b not in old]
