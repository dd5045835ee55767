"""`Recorder`: what it refuses, the states it goes through, and what it shows of itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from gpus import apart_from_gpus

from timeline import Recorder
from timeline.errors import (
    RecorderStateError,
    RecordingError,
    RecordingExistsError,
    TimelineError,
    UsageError,
)
from timeline.recorder import session as sessions
from timeline.recorder.session import phase
from timeline.recording.types import UNKNOWN, Kind


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"interval_s": 0}, "interval_s is 0: give seconds over 0"),
        ({"interval_s": -1}, "interval_s is -1"),
        ({"interval_s": "0.01"}, "interval_s is '0.01'"),
        ({"interval_s": float("nan")}, "interval_s is nan"),
        ({"interval_s": float("inf")}, "interval_s is inf"),
        ({"interval_s": True}, "interval_s is True"),
        ({"interval_s": 1e9}, "up to an hour"),
        ({"interval_s": 1e-12}, "over 0"),
        ({"interval_s": None}, "interval_s is None"),
        ({"sampler": "fork"}, "'process' or 'thread'"),
        ({"backend": "valgrind"}, "valgrind"),
        ({"directory": 3}, "directory is 3"),
        ({"directory": ""}, "directory is ''"),
        ({"directory": b"bytes"}, "directory is b'bytes'"),
        ({"directory": "nul\0"}, "give the path of a directory"),
        ({"name": 3}, "name is 3"),
        ({"name": ""}, "name is ''"),
    ],
)
def test_arguments_that_cannot_be_are_refused_at_once(arguments, says):
    with pytest.raises(UsageError, match=says):
        Recorder(**arguments)
    assert os.listdir() == []


def test_numbers_of_other_kinds_are_seconds_too():
    Recorder(interval_s=np.float32(0.5))
    Recorder(interval_s=1)


def test_it_records_once():
    recorder = Recorder(charts=False, sampler="thread")
    with pytest.raises(RecorderStateError, match="was not started, so it cannot be stopped"):
        recorder.stop()
    recorder.start()
    with pytest.raises(RecorderStateError, match="is running"):
        recorder.start()
    recorder.stop()
    with pytest.raises(RecorderStateError, match="has ended, so it cannot be stopped"):
        recorder.stop()
    with pytest.raises(RecorderStateError, match="make a new one"):
        recorder.start()


def test_a_block_may_stop_its_recorder_itself():
    with Recorder(charts=False, sampler="thread") as recorder:
        recorder.stop()
    assert recorder.recording().run.end == "exited"


def test_the_recording_can_be_read_while_it_runs_and_after():
    recorder = Recorder("run", charts=False, sampler="thread")
    with pytest.raises(RecordingError, match="was not started"):
        recorder.recording()
    with recorder, phase("a"):
        assert recorder.directory == os.path.abspath("run")
        assert recorder.recording().run.end == "running"
    recording = recorder.recording()
    assert recording.run.end == "exited"
    assert recording.run.pid == os.getpid()
    assert {m.name for m in recording.marks if m.kind is Kind.BEGIN} == {"a"}
    assert len(recording.series["host.rss"]) > 0
    assert apart_from_gpus(recording.missing) == ()
    assert recording.damage == ()


def test_with_another_backend_marks_carry_time_alone():
    with Recorder(backend="psutil", sampler="thread", charts=False) as recorder, phase("here"):
        pass
    marks = recorder.recording().marks
    assert len(marks) == 2
    assert (marks.rss == UNKNOWN).all()
    assert (marks.high == UNKNOWN).all()


def test_a_recorder_inside_another_is_a_phase_of_it():
    with Recorder("outer", charts=False, sampler="thread") as outer:
        with Recorder("inner", name="inside") as inner:
            with phase("deeper"):
                pass
            assert inner.absorbed
            assert inner.directory == outer.directory
        with pytest.raises(RecorderStateError):
            inner.start()
        assert sessions.current is not None
    assert os.listdir() == ["outer"]
    marks = outer.recording().marks
    assert [m.name for m in marks if m.kind is Kind.BEGIN] == ["inside", "deeper"]


def test_a_default_directory_is_numbered_and_nothing_is_overwritten(monkeypatch):
    monkeypatch.setattr("time.strftime", lambda _: "20260801-120000")
    for _ in range(3):
        with Recorder(name="my run/1", charts=False, sampler="thread"):
            pass
    stem = "my-run-1-20260801-120000"
    assert sorted(os.listdir()) == [f"{stem}{n}.timeline" for n in ("-2", "-3", "")]


def test_a_given_directory_is_overwritten_only_by_force(here):
    with Recorder(here / "run", charts=False, sampler="thread"):
        pass
    with pytest.raises(RecordingExistsError):
        Recorder("run").start()
    with Recorder("run", charts=False, sampler="thread", force=True) as again, phase("second"):
        pass
    assert "second" in again.recording().marks.names
    assert sessions.current is None


def test_a_directory_that_cannot_be_made_is_told_before_anything_runs():
    Path("file").write_text("")
    with pytest.raises(TimelineError, match="file"):
        Recorder("file/run").start()
    assert sessions.current is None


def test_an_exception_is_recorded_and_passes():
    with (
        pytest.raises(ArithmeticError),
        Recorder(charts=False, sampler="thread") as recorder,
        phase("a"),
    ):
        raise ArithmeticError
    recording = recorder.recording()
    assert recording.run.facts["exception"] == "ArithmeticError"
    assert [m.kind for m in recording.marks if m.name == "a"] == [Kind.BEGIN, Kind.END]


def test_a_fork_of_the_program_may_stop_it_without_harm():
    recorder = Recorder(charts=False, sampler="thread").start()
    pid = os.fork()
    if pid == 0:
        try:
            recorder.stop()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    with phase("after"):
        pass
    recorder.stop()
    assert "after" in recorder.recording().marks.names
    assert recorder.recording().run.end == "exited"


def test_it_shows_its_chart_in_a_notebook_once_there_is_one():
    recorder = Recorder("a<b>", charts=False, sampler="thread")
    assert "was not started" in recorder._repr_html_()
    with recorder:
        assert "is running" in recorder._repr_html_()
    assert "&lt;b&gt;" in recorder._repr_html_()
    assert "<b>" not in recorder._repr_html_()
    Path("a<b>", "report.png").write_bytes(b"\x89PNG")
    assert "data:image/png;base64,iVBORw==" in recorder._repr_html_()


def test_an_interrupt_anywhere_in_a_start_leaves_nothing_that_records(tmp_path):
    """The n-th call or return in these two modules is where Ctrl-C comes, for each n."""
    places = ("recorder/recorder.py", "recorder/running.py")

    def start(recorder, at):
        seen = 0

        def look(frame, event, arg):
            nonlocal seen
            if frame.f_code.co_filename.endswith(places):
                seen += 1
                if seen == at:
                    sys.setprofile(None)
                    raise KeyboardInterrupt

        before = sys.getprofile()
        sys.setprofile(look)
        try:
            recorder.start()
        finally:
            sys.setprofile(before)

    for at in range(1, 500):
        recorder = Recorder(str(tmp_path / str(at)), sampler="thread", charts=False)
        try:
            start(recorder, at)
        except KeyboardInterrupt:
            pass
        else:
            recorder.stop()
            break
        if "is running" in repr(recorder):
            recorder.stop()
        assert sessions.current is None, at
        with pytest.raises(RecorderStateError):
            recorder.stop()
    assert 20 < at < 499
