"""A CUDA for torch where there is none: its allocator's counters alone, by the exact model of it.

`install` puts functions in the place of those of ``torch._C`` that initialise CUDA and count its
memory, and leaves all of torch.cuda's own Python above them as it is. What is counted follows
``timeline.theory.allocator``, which reproduces real traces to the byte; how it is counted (peaks,
pools, resets) follows ``c10/core/CachingDeviceAllocator.h``. No tensor lives there.
"""

from __future__ import annotations

import time
import traceback
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
        self.trace = []
        self.stats = {name: {pool: Stat() for pool in POOLS} for name in (*COUNTS, *BYTES)}

    def malloc(self, size):
        before = dict(self.model.segments)
        try:
            address = self.model.malloc(size)
        except OutOfDeviceMemory:
            self.changed(before)
            self.note("oom", 0, size)
            raise
        finally:
            self.count()
        self.changed(before)
        self.note("alloc", address, size)
        return address

    def free(self, address):
        size = self.model._live[address].requested
        self.note("free_requested", address, size)
        self.note("free_completed", address, size)
        self.model.free(address)
        self.count()

    def changed(self, before):
        for segment in before.keys() - self.model.segments.keys():
            self.note("segment_free", segment, before[segment])
        for segment in self.model.segments.keys() - before.keys():
            self.note("segment_alloc", segment, self.model.segments[segment])

    def note(self, action, address, size):
        if history["on"]:
            self.trace.append({
                "action": action, "addr": address, "size": size, "stream": 0,
                "time_us": time.time_ns() // 1000,
                "frames": [{"filename": f.filename, "line": f.lineno, "name": f.name}
                           for f in reversed(traceback.extract_stack()[:-2])
                           if "standin" not in f.filename],
            })  # fmt: skip
            del self.trace[: -history["most"]]

    def segments(self):
        blocks = sorted(
            [*self.model._live.values(), *self.model._small.blocks(), *self.model._large.blocks()],
            key=lambda block: block.address,
        )
        return [
            {
                "device": devices.index(self), "address": address, "total_size": size, "stream": 0,
                "allocated_size": sum(b.size for b in blocks
                                      if b.allocated and address <= b.address < address + size),
                "blocks": [
                    {"address": b.address, "size": b.size, "requested_size": b.requested,
                     "state": "active_allocated" if b.allocated else "inactive", "frames": []}
                    for b in blocks if address <= b.address < address + size
                ],
            }
            for address, size in self.model.segments.items()
        ]  # fmt: skip

    def empty_cache(self):
        before = dict(self.model.segments)
        self.model.empty_cache()
        self.changed(before)
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
            # One private pool that holds everything.
            "reserved_bytes_by_private_pools": {
                (0, 1): {pool: dict(found["reserved_bytes"][pool]) for pool in POOLS}
            },
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
history = {"on": False, "most": 1 << 60}
observers = []
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
    c._cuda_record_memory_history = record_history
    c._cuda_memorySnapshot = lambda _: {
        "segments": [segment for device in devices for segment in device.segments()],
        "device_traces": [list(device.trace) for device in devices],
        "allocator_settings": {},
    }
    c._cuda_attach_out_of_memory_observer = observers.append
    torch.cuda._get_device_properties = lambda device: SimpleNamespace(
        uuid=uuids[device], major=9, minor=0, name="stand-in", total_memory=capacity
    )
    return devices


def record_history(enabled, context, stacks, most, *rest):
    """As torch does it, of Python's stacks alone."""
    history.update(on=enabled is not None, most=most)


def malloc(size: int, device: int = 0) -> int:
    """Allocate; torch's own error where there is no room."""
    try:
        return devices[device].malloc(size)
    except OutOfDeviceMemory as error:
        for observer in observers:
            observer(device, size, devices[device].model.capacity, 0)
        raise torch.OutOfMemoryError(f"CUDA out of memory. {error}") from None
