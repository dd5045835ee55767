"""Peaks that are read and reset beside a program, which sees what it would have seen alone."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

pytest.importorskip("torch")

from standin.cuda import Device

from timeline.recorder.hooks.torch_allocator import FIGURES, Allocator
from timeline.theory.allocator import OutOfDeviceMemory

MIB = 1 << 20
CAPACITY = 2 << 30


def as_torch(devices):
    """What of torch._C the recorder knows, over these devices."""
    c = SimpleNamespace(
        _cuda_memoryStats=lambda device: devices[device].nested(),
        _cuda_resetPeakMemoryStats=lambda device: devices[device].reset_peaks(),
        _accelerator_getDeviceStats=lambda device: devices[device].nested(),
        _accelerator_resetPeakStats=lambda device: devices[device].reset_peaks(),
        _cuda_getDevice=lambda: 0,
        _cuda_getDeviceCount=lambda: len(devices),
    )
    return SimpleNamespace(_C=c)


class Truth:
    """The largest of each figure since the reading before, seen at every single step."""

    def __init__(self, device):
        self.device = device
        self.highest = self.now()

    def now(self):
        return [self.device.stats[name]["all"].current for name in FIGURES]

    def look(self):
        self.highest = [max(pair) for pair in zip(self.highest, self.now(), strict=True)]

    def read(self):
        highest, self.highest = self.highest, self.now()
        return highest


@pytest.mark.torch
@pytest.mark.parametrize("seed", range(8))
def test_the_program_sees_what_it_would_see_alone_and_each_interval_its_true_peak(seed):
    chance = random.Random(seed)
    watched, alone = Device(CAPACITY), Device(CAPACITY)
    torch = as_torch([watched])
    allocator = Allocator(torch)
    allocator.exchange()
    truth = Truth(watched)
    live: list[tuple[int, int]] = []
    questions = 0
    for _ in range(600):
        act = chance.choice(
            ("malloc", "malloc", "malloc", "free", "free", "empty", "reset", "ask", "read", "look")
        )
        if act == "malloc":
            size = chance.choice((100, 4000, 700_000, 3 * MIB, 15 * MIB, 60 * MIB, 300 * MIB))
            addresses = []
            for device in (watched, alone):
                try:
                    addresses.append(device.malloc(size))
                except OutOfDeviceMemory:
                    pass
            if addresses:
                live.append((addresses[0], addresses[1]))
        elif act == "free" and live:
            here, there = live.pop(chance.randrange(len(live)))
            watched.free(here)
            alone.free(there)
        elif act == "empty":
            watched.empty_cache()
            alone.empty_cache()
        elif act == "reset":
            chance.choice(
                (torch._C._cuda_resetPeakMemoryStats, torch._C._accelerator_resetPeakStats)
            )(0)
            alone.reset_peaks()
        elif act == "ask":
            asked = chance.choice(
                (torch._C._cuda_memoryStats, torch._C._accelerator_getDeviceStats)
            )(0)
            assert asked == alone.nested()
            questions += 1
        elif act == "read":
            ((_, row),) = allocator.read()
            assert row[1 : 2 * len(FIGURES) : 2] == truth.read()
            assert row[0 : 2 * len(FIGURES) : 2] == truth.now()
        elif act == "look":
            allocator.look()
        truth.look()
    assert questions > 20


def test_what_was_reset_is_still_told_after_the_recording():
    device = Device(CAPACITY)
    torch = as_torch([device])
    own = torch._C._cuda_memoryStats
    allocator = Allocator(torch)
    allocator.exchange()
    address = device.malloc(300 * MIB)
    device.free(address)
    allocator.read()
    allocator.restore()
    stats = torch._C._cuda_memoryStats(0)
    assert stats["allocated_bytes"]["all"]["peak"] == 300 * MIB
    assert torch._C._cuda_memoryStats is not own
    torch._C._cuda_resetPeakMemoryStats(0)
    allocator.restore()
    assert torch._C._cuda_memoryStats is own


def test_what_is_asked_for_wrongly_gets_torchs_own_answer():
    device = Device(CAPACITY)
    torch = as_torch([device])
    Allocator(torch).exchange()
    with pytest.raises(TypeError):
        torch._C._cuda_memoryStats()
    with pytest.raises(IndexError):
        torch._C._cuda_memoryStats(7)
    with pytest.raises(IndexError):
        torch._C._cuda_resetPeakMemoryStats(7)


def test_without_exactness_nothing_is_reset_and_no_maximum_is_claimed():
    device = Device(CAPACITY)
    allocator = Allocator(as_torch([device]))
    allocator.exact = False
    device.free(device.malloc(100 * MIB))
    ((_, row),) = allocator.read()
    assert row[:2] == [0, -1]
    assert device.stats["allocated_bytes"]["all"].peak == 100 * MIB
