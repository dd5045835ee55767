"""Public snapshots of real GPUs, read as recordings; and what a model of expandable ones gives."""

from __future__ import annotations

import os
import pickle  # noqa: TID251 - what torch writes is one
import random
from pathlib import Path

import pytest

import timeline
from timeline.errors import DamagedRecordingError
from timeline.interchange.unpickling import loads
from timeline.theory.allocator import CachingAllocator
from timeline.theory.allocator.device import Device
from timeline.theory.allocator.settings import Settings
from timeline.views import html, text
from timeline.views import json as document

SHARED = (
    Path(
        os.environ.get("TIMELINE_GROUNDTRUTH", Path(__file__).parents[3] / "shared" / "groundtruth")
    )
    / "snapshots"
)
FILES = sorted(SHARED.glob("*.pickle"))
MIB = 1 << 20


@pytest.mark.skipif(not FILES, reason="the public snapshots are not beside the repository")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem[:40])
def test_a_real_gpus_snapshot_adds_up_to_the_byte(path):
    recording = timeline.load(path)
    analysis = timeline.analyze(recording)
    allocated = recording.series["torch.cuda0.allocated"].value
    reserved = recording.series["torch.cuda0.reserved"].value
    segments = loads(path.read_bytes())["segments"]
    # The GPU's own account at the end, which the curves reach event by event.
    assert allocated[-1] == sum(each["allocated_size"] for each in segments)
    assert reserved[-1] == sum(each["total_size"] for each in segments)
    assert recording.damage == ()
    assert all(each.exact for each in analysis.channels)
    assert sum(each.bytes for each in analysis.alive) == allocated.max()
    assert [each.bytes for each in analysis.alive] == sorted(
        (each.bytes for each in analysis.alive), reverse=True
    )
    assert analysis.devices[0].peak.allocated == allocated.max()


@pytest.mark.skipif(not FILES, reason="the public snapshots are not beside the repository")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem[:40])
def test_both_peaks_are_those_of_the_trace_added_up_by_hand(path):
    found = loads(path.read_bytes())
    (trace,) = (each for each in found["device_traces"] if each)
    signs = {"segment_alloc": (0, 1), "segment_free": (0, -1),
             "alloc": (1, 1), "free_completed": (1, -1)}  # fmt: skip
    net, most = [0, 0], [0, 0]
    for event in trace:
        if event["action"] in signs:
            which, sign = signs[event["action"]]
            net[which] += sign * event["size"]
            most[which] = max(most[which], net[which])
    # What was there before the trace began is what its end leaves over.
    ends = (
        sum(each[key] for each in found["segments"]) for key in ("total_size", "allocated_size")
    )
    reserved, allocated = (
        end - last + peak for end, last, peak in zip(ends, net, most, strict=True)
    )
    recording = timeline.load(path)
    assert recording.series["torch.cuda0.reserved"].value.max() == reserved
    assert int(recording.run.facts["peak_by_trace"]) == allocated
    # A block takes up to a rounding more than the trace says: what the GPU's own counters count.
    counted = recording.series["torch.cuda0.allocated"].value.max()
    assert counted == pytest.approx(allocated, rel=0.01)


@pytest.mark.skipif(not FILES, reason="the public snapshots are not beside the repository")
def test_the_peak_by_the_traces_own_sizes_is_what_was_published():
    published = {"128": 7_021_691_392, "512": 12_435_476_996}
    reserved = {"128": 7_235_174_400, "512": 12_660_506_624}
    for length in published:
        path = SHARED / f"wedsonlin_cs336_medium_{length}_training_memory_snapshot.pickle"
        recording = timeline.load(path)
        assert int(recording.run.facts["peak_by_trace"]) == published[length]
        assert recording.series["torch.cuda0.reserved"].value.max() == reserved[length]


@pytest.mark.skipif(not FILES, reason="the public snapshots are not beside the repository")
def test_what_was_alive_is_told_by_place_and_part_of_the_step():
    analysis = timeline.analyze(
        timeline.load(SHARED / "niu_cs336_forward_and_backward_memory_snapshot_150.pickle")
    )
    by_place = {(each.place, each.during): each for each in analysis.alive}
    softmax = by_place["modules/softmax.py:14 in forward", "forward"]
    assert (softmax.blocks, softmax.operation) == (16, "exp")
    assert {"forward", "backward", "optimizer"} <= {each.during for each in analysis.alive}
    shown = text.render(analysis, width=120)
    assert "alive at the peak" in shown
    assert "modules/softmax.py:14 in forward (exp)" in shown
    assert "What was alive at the peak" in html.render(analysis)
    assert document.document(analysis)["alive_at_peak"][0]["bytes"] == analysis.alive[0].bytes


def frame(file, line, name):
    return {"filename": file, "line": line, "name": name}


class TracedDevice(Device):
    """A device of 2 GiB that tells of the pages that come and go."""

    def __init__(self, note):
        super().__init__(2 << 30, None, None)
        self.note = note

    def reserve(self, address, size):
        super().reserve(address, size)
        self.note("segment_map", address, size)

    def give_back(self, address, size):
        super().give_back(address, size)
        self.note("segment_unmap", address, size)


class Traced(CachingAllocator):
    """The allocator's model, writing the trace that torch would write of expandable segments."""

    def __init__(self):
        super().__init__(Settings(expandable_segments=True))
        self._device = TracedDevice(self.note)
        self.counters = self._device.counters
        self.trace = []

    def note(self, action, address, size, frames=()):
        self.trace.append({
            "action": action, "addr": address, "size": size, "stream": 0,
            "time_us": 1000 + len(self.trace), "frames": list(frames),
        })  # fmt: skip

    def snapshot(self):
        segments = []
        blocks = sorted(
            [*self._live.values(), *self._small.blocks(), *self._large.blocks()],
            key=lambda block: block.address,
        )
        for block in blocks:
            last = segments[-1] if segments else None
            if last is None or last["address"] + last["total_size"] != block.address:
                segments.append({
                    "device": 0, "address": block.address, "total_size": 0, "allocated_size": 0,
                    "stream": 0, "is_expandable": True, "blocks": [],
                })  # fmt: skip
                last = segments[-1]
            last["total_size"] += block.size
            last["allocated_size"] += block.size if block.allocated else 0
            last["blocks"].append({
                "address": block.address, "size": block.size,
                "requested_size": block.requested,
                "state": "active_allocated" if block.allocated else "inactive", "frames": [],
            })  # fmt: skip
        return {
            "segments": segments, "device_traces": [self.trace],
            "allocator_settings": {"expandable_segments": True},
        }  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("from_zero", [True, False])
def test_expandable_segments_add_up_from_whatever_moment(tmp_path, seed, from_zero):
    chance = random.Random(seed)
    model = Traced()
    live, highest, most_reserved = [], 0, 0
    for step in range(500):
        if step == 120 and not from_zero:
            # The history begins here, with what is there by now.
            model.trace.clear()
            highest = most_reserved = 0
        act = chance.random()
        if act < 0.55 or not live:
            size = chance.choice((100, 5000, 900_000, 3 * MIB, 14 * MIB, 33 * MIB + 7))
            try:
                address = model.malloc(size)
            except timeline.TimelineError:
                continue
            model.note("alloc", address, size, [frame("train.py", size % 97, "main")])
            live.append((address, size))
        elif act < 0.97:
            address, size = live.pop(chance.randrange(len(live)))
            model.note("free_requested", address, size)
            model.note("free_completed", address, size)
            model.free(address)
        else:
            model.empty_cache()
        highest = max(highest, model.counters.allocated)
        most_reserved = max(most_reserved, model.counters.reserved)
    path = tmp_path / "expandable.pickle"
    path.write_bytes(pickle.dumps(model.snapshot()))
    recording = timeline.load(path)
    assert recording.damage == ()
    assert recording.series["torch.cuda0.allocated"].value[-1] == model.counters.allocated
    assert recording.series["torch.cuda0.reserved"].value[-1] == model.counters.reserved
    assert recording.series["torch.cuda0.allocated"].value.max() == highest
    assert recording.series["torch.cuda0.reserved"].value.max() == most_reserved
    assert sum(each.bytes for each in recording.alive) == highest


def test_frames_that_are_no_frames_cost_their_words_only(tmp_path):
    alloc = {"action": "alloc", "addr": 1 << 20, "size": 512, "stream": 0, "time_us": 1}
    segment = {
        "device": 0, "address": 1 << 20, "total_size": 2 * MIB, "allocated_size": 512, "stream": 0,
        "blocks": [{"address": 1 << 20, "size": 512, "requested_size": 512,
                    "state": "active_allocated"},
                   {"address": (1 << 20) + 512, "size": 2 * MIB - 512, "requested_size": 0,
                    "state": "inactive"}],
    }  # fmt: skip
    mapped = {"action": "segment_alloc", "addr": 1 << 20, "size": 2 * MIB, "stream": 0}
    for frames in (None, "text", [None], [{"filename": 3, "line": "x", "name": b""}], 7):
        snapshot = {
            "segments": [segment],
            "device_traces": [[mapped, {**alloc, "frames": frames}]],
        }
        path = tmp_path / "odd.pickle"
        path.write_bytes(pickle.dumps(snapshot))
        try:
            (only,) = timeline.load(path).alive
        except DamagedRecordingError:
            continue
        assert (only.bytes, only.place) == (512, "")
