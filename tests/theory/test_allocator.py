"""The allocator's model against real GPUs' traces, and against its own books."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timeline.errors import UsageError
from timeline.theory.allocator import CachingAllocator, OutOfDeviceMemory
from timeline.theory.allocator.settings import Settings
from timeline.units import GiB, MiB

SNAPSHOTS = (
    Path(
        os.environ.get("TIMELINE_GROUNDTRUTH", Path(__file__).parents[3] / "shared" / "groundtruth")
    )
    / "snapshots"
)


def test_zero_bytes_take_no_block():
    allocator = CachingAllocator()
    assert allocator.malloc(0) == 0
    allocator.free(0)
    assert allocator.counters.reserved == 0


@pytest.mark.parametrize(
    ("asked", "block", "segment"),
    [
        (1, 512, 2 * MiB),
        (513, 1024, 2 * MiB),
        (MiB, MiB, 2 * MiB),
        (MiB + 1, MiB + 512, 20 * MiB),
        (10 * MiB - 512, 10 * MiB - 512, 20 * MiB),
        (10 * MiB, 10 * MiB, 10 * MiB),
        (11 * MiB - 1, 12 * MiB, 12 * MiB),
        (20 * MiB + 1, 20 * MiB + 512, 22 * MiB),
    ],
)
def test_sizes_and_segments_are_rounded_as_torch_rounds_them(asked, block, segment):
    allocator = CachingAllocator()
    address = allocator.malloc(asked)
    # A rest of 1 MiB or less of a large segment is not split off: it counts as allocated.
    assert allocator.size_of(address) == block
    assert allocator.counters.reserved == segment


def test_a_rest_of_one_mebibyte_stays_with_its_block_and_a_larger_one_is_split():
    allocator = CachingAllocator()
    assert allocator.size_of(allocator.malloc(19 * MiB)) == 20 * MiB
    assert allocator.size_of(allocator.malloc(19 * MiB - 512)) == 19 * MiB - 512


def test_freed_neighbours_merge_and_are_used_again():
    allocator = CachingAllocator()
    blocks = [allocator.malloc(4 * MiB) for _ in range(5)]
    for block in (blocks[1], blocks[3], blocks[2]):
        allocator.free(block)
    assert allocator.malloc(9 * MiB) == blocks[1]
    assert allocator.counters.reserved == 20 * MiB


def test_a_block_of_one_stream_never_serves_another():
    allocator = CachingAllocator()
    allocator.free(allocator.malloc(4 * MiB, stream=0))
    allocator.malloc(4 * MiB, stream=7)
    assert allocator.counters.reserved == 40 * MiB


def test_a_block_that_another_stream_uses_stays_active_until_that_finishes():
    allocator = CachingAllocator()
    address = allocator.malloc(4 * MiB)
    allocator.record_stream(address, 7)
    allocator.free(address)
    assert (allocator.counters.allocated, allocator.counters.active) == (0, 4 * MiB)
    allocator.finish()
    assert allocator.counters.active == 0
    assert allocator.malloc(4 * MiB) == address


def test_before_it_is_out_of_memory_it_gives_back_what_is_wholly_free():
    allocator = CachingAllocator(capacity=100 * MiB)
    allocator.free(allocator.malloc(60 * MiB))
    kept = allocator.malloc(30 * MiB)
    allocator.free(kept)
    allocator.malloc(90 * MiB)
    assert allocator.counters.retries == 1
    with pytest.raises(
        OutOfDeviceMemory, match=r"50\.0 MiB asked for with 90\.0 MiB of 100\.0 MiB"
    ):
        allocator.malloc(50 * MiB)
    assert allocator.counters.ooms == 1


def test_max_split_size_keeps_large_blocks_whole_and_for_large_requests():
    allocator = CachingAllocator(Settings.parse("max_split_size_mb:64"))
    allocator.free(allocator.malloc(100 * MiB))
    small = allocator.malloc(10 * MiB)
    assert allocator.counters.reserved == 110 * MiB
    assert allocator.malloc(90 * MiB) != small
    assert allocator.counters.reserved == 110 * MiB


def test_expandable_segments_grow_by_pages_and_shrink_inside():
    allocator = CachingAllocator(Settings.parse("expandable_segments:True"), capacity=GiB)
    first = allocator.malloc(30 * MiB)
    second = allocator.malloc(30 * MiB)
    assert (second, allocator.counters.reserved) == (first + 30 * MiB, 60 * MiB)
    third = allocator.malloc(5 * MiB)
    allocator.free(first)
    allocator.empty_cache()
    assert allocator.counters.reserved == 60 * MiB
    allocator.free(second)
    allocator.free(third)
    allocator.empty_cache()
    assert (allocator.counters.reserved, allocator.segments) == (0, {})


def test_garbage_collection_gives_back_old_segments_past_the_threshold():
    settings_ = Settings.parse("garbage_collection_threshold:0.5")
    allocator = CachingAllocator(settings_, capacity=100 * MiB, fraction=1.0)
    allocator.free(allocator.malloc(30 * MiB))
    for _ in range(3):
        allocator.free(allocator.malloc(12 * MiB))
    allocator.malloc(40 * MiB)
    assert allocator.counters.reserved < 100 * MiB
    assert allocator.counters.retries == 0


def test_power_of_two_divisions_are_read_by_size():
    rules = Settings.parse("roundup_power2_divisions:[256:1,512:2,1024:4,>:8]")
    assert rules.round_size(300 * MiB) == 300 * MiB
    assert rules.round_size(700 * MiB) == 768 * MiB
    assert rules.round_size(1100 * MiB) == 1280 * MiB
    assert rules.round_size(2100 * MiB) == 2304 * MiB
    assert Settings.parse("roundup_power2_divisions:4").round_size(1200) == 1536
    assert Settings.parse("roundup_power2_divisions:4").round_size(1 << 21) == 1 << 21


@pytest.mark.parametrize(
    "text",
    ["max_split_size_mb", "max_split_size_mb:ten", "max_split_size_mb:20", "speed:1",
     "expandable_segments:yes", "garbage_collection_threshold:1.5", "roundup_power2_divisions:3"],
)  # fmt: skip
def test_a_setting_that_torch_refuses_is_refused(text):
    with pytest.raises(UsageError):
        Settings.parse(text)


def test_settings_that_change_no_size_are_passed_over():
    assert Settings.parse("backend:native, max_split_size_mb:128,") == Settings(
        max_split_size=128 * MiB
    )


CONFIGURATIONS = [
    "",
    "max_split_size_mb:32",
    "expandable_segments:True",
    "roundup_power2_divisions:4",
    "garbage_collection_threshold:0.6",
]


@settings(max_examples=60, deadline=None)
@given(
    configuration=st.sampled_from(CONFIGURATIONS),
    steps=st.lists(
        st.tuples(
            st.sampled_from(
                ["malloc", "malloc", "malloc", "free", "free", "share", "empty", "finish"]
            ),
            st.integers(1, 60 * MiB),
            st.integers(0, 2),
        ),
        max_size=120,
    ),
)
def test_no_two_live_blocks_overlap_nothing_leaks_and_the_books_agree(configuration, steps):
    allocator = CachingAllocator(Settings.parse(configuration), capacity=512 * MiB, fraction=1.0)
    live: dict[int, int] = {}
    for what, number, stream in steps:
        if what == "malloc":
            size = number if number % 3 else number % (3 * MiB) + 1
            try:
                live[allocator.malloc(size, stream)] = size
            except OutOfDeviceMemory:
                continue
        elif what in ("free", "share") and live:
            address = sorted(live)[number % len(live)]
            if what == "share":
                allocator.record_stream(address, stream)
            else:
                del live[address]
                allocator.free(address)
        elif what == "empty":
            allocator.empty_cache()
        elif what == "finish":
            allocator.finish()
        blocks = sorted(allocator.live())
        assert {a for a, _ in blocks} == set(live)
        for (a, size), (b, _) in itertools.pairwise(blocks):
            assert a + size <= b
        assert allocator.counters.allocated == sum(size for _, size in blocks)
        assert allocator.counters.requested >= sum(live.values())
        assert allocator.counters.allocated <= allocator.counters.active
        assert allocator.counters.active <= allocator.counters.reserved <= 512 * MiB
        for address, size in blocks:
            assert any(
                s <= address and address + size <= s + w for s, w in allocator.segments.items()
            )
    for address in live:
        allocator.free(address)
    allocator.empty_cache()
    counters = allocator.counters
    assert (counters.allocated, counters.active, counters.requested, counters.reserved) == (
        0,
        0,
        0,
        0,
    )
    assert allocator.segments == {}


@pytest.mark.skipif(
    not SNAPSHOTS.is_dir(), reason="the public snapshots are not beside the project"
)
@pytest.mark.parametrize("path", sorted(SNAPSHOTS.glob("*.pickle")), ids=lambda p: p.stem[:24])
def test_every_address_and_every_segment_of_a_real_trace_is_met(path):
    from timeline.interchange import cuda_snapshot

    recording = cuda_snapshot.read(path)
    assert recording.damage == ()
    assert all(series.channel.exact for series in recording.series.values())


def test_an_environment_is_read_by_its_first_variable_and_a_fault_is_told_with_its_name():
    told = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
    assert Settings.of({}) is None
    assert Settings.of({**told, "PYTORCH_ALLOC_CONF": ""}) == Settings(expandable_segments=True)
    both = {**told, "PYTORCH_ALLOC_CONF": "backend:cudaMallocAsync"}
    assert Settings.of(both) == Settings(backend="cudaMallocAsync")
    for fault in ("backend:other", "nonsense", "expandable_segments:maybe"):
        with pytest.raises(UsageError, match=f"^PYTORCH_ALLOC_CONF={fault}: "):
            Settings.of({"PYTORCH_ALLOC_CONF": fault})
