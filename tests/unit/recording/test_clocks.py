"""Clocks that were set, and machines that slept, between the start of a run and its end."""

from __future__ import annotations

import json
import shutil

import pytest

from timeline import analyze
from timeline.recording.reader import load_directory

from .conftest import GOLDEN

SECOND = 1_000_000_000


@pytest.fixture
def with_clocks(tmp_path):
    """A recording whose clocks went on so far, in seconds, from its start to its end."""

    def make(*, wall: int, monotonic: int, boot: int | None):
        copy = tmp_path / "run.timeline"
        shutil.copytree(GOLDEN, copy)
        meta, summary = (
            json.loads((copy / name).read_text()) for name in ("meta.json", "summary.json")
        )
        start = meta["started"]
        if boot is not None:
            start["boottime_ns"] = start["monotonic_ns"] + 7 * SECOND
            summary["ended"]["boottime_ns"] = start["boottime_ns"] + boot * SECOND
        summary["ended"]["time_ns"] = start["time_ns"] + wall * SECOND
        summary["ended"]["monotonic_ns"] = start["monotonic_ns"] + monotonic * SECOND
        (copy / "meta.json").write_text(json.dumps(meta))
        (copy / "summary.json").write_text(json.dumps(summary))
        return load_directory(copy)

    return make


def test_sleep_is_no_part_of_the_run_and_is_told(with_clocks):
    recording = with_clocks(wall=7210, monotonic=10, boot=7210)
    assert (recording.run.slept_ns, recording.run.jumped_ns) == (7200 * SECOND, 0)
    analysis = analyze(recording)
    assert analysis.duration_ns == 10 * SECOND
    assert any("slept for 2 h" in note for note in analysis.notes)


@pytest.mark.parametrize(("set_to", "words"), [(3610, "forward by 1 h"), (-3590, "back by 1 h")])
def test_a_wall_clock_that_was_set_moves_no_time(with_clocks, set_to, words):
    recording = with_clocks(wall=set_to, monotonic=10, boot=10)
    assert abs(recording.run.jumped_ns) == 3600 * SECOND
    analysis = analyze(recording)
    assert analysis.duration_ns == 10 * SECOND
    assert any(words in note for note in analysis.notes)


def test_without_the_clock_that_goes_on_nothing_is_said(with_clocks):
    recording = with_clocks(wall=3610, monotonic=10, boot=None)
    assert (recording.run.slept_ns, recording.run.jumped_ns) == (0, 0)
    assert not any("clock" in note for note in analyze(recording).notes)
