"""A CUDA for torch where there is none: its allocator's counters alone, by the exact model of it.

`install` puts functions in the place of those of ``torch._C`` that initialise CUDA and count its
memory, and leaves all of torch.cuda's own Python above them as it is. What is counted follows
``timeline.theory.allocator``, which reproduces real traces to the byte; how it is counted (peaks,
pools, resets) follows ``c10/core/CachingDeviceAllocator.h``. No tensor lives there.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch

from timeline.theory.allocator import CachingAllocator, OutOfDeviceMemory

POOLS = ("all", "small_pool", "large_pool")
BYTES = ("allocated_bytes", "reserved_bytes", "active_bytes", "inactive_split_bytes",
         "requested_bytes")  # fmt: skip
COUNTS = ("allocation", "segment", "active", "inactive_split")


class Stat:
    """One figure, as c10's Stat."""

    def __init__(self):
        self.current = self.peak = self.allocated = self.freed = 0

    def now(self, value):
        grown = value - self.current
        self.allocated += max(grown, 0)
        self.freed += max(-grown, 0)
        self.current = value
        self.peak = max(self.peak, value)

    def reset(self):
        self.peak = self.current


class Device:
    """The allocator of one device and its counters."""

    def __init__(self, capacity):
        self.model = CachingAllocator(capacity=capacity)
        self.stats = {name: {pool: Stat() for pool in POOLS} for name in (*COUNTS, *BYTES)}

    def malloc(self, size):
        try:
            return self.model.malloc(size)
        finally:
            self.count()

    def free(self, address):
        self.model.free(address)
        self.count()

    def empty_cache(self):
        self.model.empty_cache()
        self.count()

    def count(self):
        model = self.model
        live = list(model._live.values())
        idle = [*model._small.blocks(), *model._large.blocks()]
        for pool, small in (("small_pool", True), ("large_pool", False)):
            mine = [block for block in live if block.pool.small is small]
            rest = [block for block in idle if block.pool.small is small and block.split]
            segments = [s for s in model.segments.values() if (s == 2 << 20) is small]
            sizes = [block.size for block in mine]
            for name, found in (
                ("allocated_bytes", sum(sizes)),
                ("active_bytes", sum(sizes)),
                ("requested_bytes", sum(block.requested for block in mine)),
                ("reserved_bytes", sum(segments)),
                ("inactive_split_bytes", sum(block.size for block in rest)),
                ("allocation", len(mine)),
                ("active", len(mine)),
                ("segment", len(segments)),
                ("inactive_split", len(rest)),
            ):
                self.stats[name][pool].now(found)
        for figure in self.stats.values():
            figure["all"].now(figure["small_pool"].current + figure["large_pool"].current)
        # The model's own counters are the oracle for these.
        assert self.stats["allocated_bytes"]["all"].current == model.counters.allocated
        assert self.stats["reserved_bytes"]["all"].current == model.counters.reserved

    def nested(self):
        counters = self.model.counters
        found = {
            name: {pool: dict(vars(stat)) for pool, stat in figure.items()}
            for name, figure in self.stats.items()
        }
        none = dict(vars(Stat()))
        return {
            **found,
            "oversize_allocations": dict(none),
            "oversize_segments": dict(none),
            "reserved_bytes_by_private_pools": {(0, 1): {pool: dict(none) for pool in POOLS}},
            "num_alloc_retries": counters.retries,
            "num_ooms": counters.ooms,
            "num_sync_all_streams": 0,
            "num_device_alloc": 0,
            "num_device_free": 0,
            "max_split_size": -1,
        }

    def reset_peaks(self):
        for figure in self.stats.values():
            for stat in figure.values():
                stat.reset()


devices: list[Device] = []
current = 0


def install(count: int = 1, capacity: int = 8 << 30, uuids=("aaaa", "abbb")) -> list[Device]:
    """Let torch have so many devices. CUDA is not initialised yet: torch.cuda.init() does it."""
    devices[:] = [Device(capacity) for _ in range(count)]
    c = torch._C

    def checked(number):
        if not 0 <= number < count:
            raise RuntimeError(f"Invalid device argument {number}: did you call init?")
        return devices[number]

    c._cuda_init = lambda: None
    c._cuda_getDeviceCount = lambda: count
    c._cuda_getDevice = lambda: current
    c._cuda_memoryStats = lambda device: checked(device).nested()
    c._cuda_resetPeakMemoryStats = lambda device: checked(device).reset_peaks()
    c._accelerator_getDeviceStats = lambda device: checked(device).nested()
    c._accelerator_resetPeakStats = lambda device: checked(device).reset_peaks()
    c._accelerator_isAllocatorInitialized = lambda: True
    c._accelerator_getDeviceIndex = lambda: current
    torch.cuda._get_device_properties = lambda device: SimpleNamespace(
        uuid=uuids[device], major=9, minor=0, name="stand-in", total_memory=capacity
    )
    return devices


def malloc(size: int, device: int = 0) -> int:
    """Allocate; torch's own error where there is no room."""
    try:
        return devices[device].malloc(size)
    except OutOfDeviceMemory as error:
        raise torch.OutOfMemoryError(f"CUDA out of memory. {error}") from None
