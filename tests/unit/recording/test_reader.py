from __future__ import annotations

import json
import os
import subprocess
import time

import pytest
from invariants import check_invariants

from timeline.analysis.analyze import analyze
from timeline.errors import (
    DamagedRecordingError,
    NewerFormatError,
    NoRecordingError,
)
from timeline.recording.alive import writer_identity, writer_lives
from timeline.recording.format import HOST_FIELDS
from timeline.recording.reader import load_directory
from timeline.recording.writer import SampleWriter, write_json


def refused(kind, path, words):
    with pytest.raises(kind, match=words) as caught:
        load_directory(path)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


def test_nothing_there(tmp_path):
    refused(NoRecordingError, tmp_path / "no", "no such directory")
    refused(NoRecordingError, tmp_path / "x\0y", "cannot be opened")
    refused(NoRecordingError, tmp_path / ("x" * 300), "cannot be opened")


def test_an_empty_directory(tmp_path):
    refused(NoRecordingError, tmp_path, "empty directory")


def test_a_file(tmp_path):
    (tmp_path / "train.py").write_text("")
    refused(DamagedRecordingError, tmp_path / "train.py", "is a file")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.py", ""),
        ("meta.json", "{}"),
        ("meta.json", '{"title": "x"}'),
        ("meta.json", '{"timeline": "yes"}'),
        ("meta.json", '{"timeline": true}'),
        ("meta.json", '{"timeline": 0}'),
        ("meta.json", "{"),
        ("meta.json", ""),
        ("meta.json", "[" * 100_000),
    ],
)
def test_a_foreign_directory(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    refused(DamagedRecordingError, tmp_path, "is not a recording")


def test_a_newer_version(golden, edit_json):
    edit_json(golden / "meta.json", timeline=2)
    refused(NewerFormatError, golden, "of format 2 .* reads up to 1: upgrade memory-timeline")


def test_a_recording_of_which_nothing_is_left(golden):
    for path in golden.iterdir():
        path.write_bytes(b"")
    refused(DamagedRecordingError, golden, "nothing left to read")


def test_a_run_that_was_killed_right_after_its_start(golden):
    for path in golden.iterdir():
        if path.name != "meta.json":
            path.unlink()
    recording = load_directory(golden)
    assert recording.run.argv[0] == "train.py"
    assert recording.run.end == "cut-off"
    assert len(recording.series["host.rss"]) == len(recording.marks) == 0
    check_invariants(recording)


def test_without_meta_the_rest_is_read(golden):
    (golden / "meta.json").write_bytes((golden / "meta.json").read_bytes()[:100])
    recording = load_directory(golden)
    assert recording.damage == ("meta.json cannot be read: it is not JSON",)
    assert len(recording.series["host.rss"]) == 60
    assert recording.run.pid == 4711
    assert recording.run.argv == ()
    assert recording.run.started_ns == 81_235_567_890, "its first line"
    check_invariants(recording)


def test_an_unended_run_ends_with_the_last_thing_read(golden):
    (golden / "summary.json").unlink()
    recording = load_directory(golden)
    run = recording.run
    assert run.end == "cut-off"
    assert run.ended_ns == recording.series["host.rss"].t_ns[-1]
    assert (run.exit_code, run.signal) == (None, None)


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        ({"end": "exited", "exit_code": 0}, ("exited", 0, None)),
        ({"end": "exited", "exit_code": None}, ("exited", None, None)),
        ({"end": "exited", "exit_code": "0", "signal": "SIGTERM"}, ("exited", None, None)),
        ({"end": "killed", "signal": "SIGKILL", "exit_code": 3}, ("killed", None, "SIGKILL")),
        ({"end": "killed"}, ("killed", None, None)),
        ({"end": "lost"}, ("cut-off", None, None)),
        ({"end": ["exited"]}, ("cut-off", None, None)),
        ([], ("cut-off", None, None)),
    ],
)
def test_how_it_ended(golden, summary, expected):
    (golden / "summary.json").write_text(json.dumps(summary))
    recording = load_directory(golden)
    run = recording.run
    assert (run.end, run.exit_code, run.signal) == expected
    assert bool(recording.damage) == (run.end == "cut-off" or summary.get("exit_code") == "0")
    check_invariants(recording)


@pytest.mark.parametrize(
    "wrong",
    [
        None, True, -1, 10**30, 1.5, float("nan"), float("inf"), "x", "\udc80", [], [1], [[[]]], {},
        {"x": {}}, {"monotonic_ns": -5, "time_ns": 10**40}, {"monotonic_ns": 1 << 60, "time_ns": 0},
        {"host.rss": 1}, {"host.rss": {"stream": 1, "value": [], "exact": "yes", "unit": 5}},
        {"\udc80": {"stream": "host", "value": "t_ns", "high": "flags", "exact": True}},
    ],
)  # fmt: skip
def test_any_key_may_hold_anything(golden, edit_json, wrong):
    keys = [*json.loads((golden / "meta.json").read_text()), "ended", "samples", "end", "exit_code"]
    keys.remove("timeline")
    content = {path: path.read_text() for path in golden.glob("*.json")}
    for key in keys:
        for path, text in content.items():
            path.write_text(text)
            edit_json(path, **{key: wrong})
        recording = load_directory(golden)
        check_invariants(recording)
        assert 60 in map(len, recording.series.values())


def test_a_document_too_long_to_be_one_is_not_read(golden):
    with open(golden / "meta.json", "ab") as file:
        file.truncate(1 << 34)
    recording = load_directory(golden)
    assert recording.damage[0] == "meta.json cannot be read: it is too long"


@pytest.mark.parametrize(
    "name", ["meta.json", "summary.json", "samples.host.npy", "events.4711.jsonl"]
)
@pytest.mark.parametrize("kind", ["directory", "pipe", "dangling link", "endless"])
def test_what_is_no_file_is_passed_over(golden, name, kind):
    path = golden / name
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "endless" else "nowhere")
    recording = load_directory(golden)
    assert recording.damage
    check_invariants(recording)


def test_a_growing_recording_is_read_again_and_again(golden):
    for path in golden.glob("samples.*"):
        path.unlink()
    (golden / "summary.json").unlink()
    meta = json.loads((golden / "meta.json").read_text())
    started = {"time_ns": time.time_ns(), "monotonic_ns": time.monotonic_ns()}
    write_json(str(golden), "meta.json", {**meta, **writer_identity(), "started": started})
    writer = SampleWriter(str(golden / "samples.host.npy"), HOST_FIELDS)
    path = golden / "events.4711.jsonl"
    lines = path.read_bytes()
    for i in range(1, 30):
        t = started["monotonic_ns"] + i
        writer.append(t, 0, 1, i, i)
        lines += b'{"k":"m","p":"x","th":1,"t":%d}\n' % t
        path.write_bytes(lines + b'{"k":"m",')
        recording = load_directory(golden)
        assert recording.run.end == "running"
        assert len(recording.series["host.rss"]) == i
        assert recording.run.ended_ns == t
        assert recording.damage == ()
        check_invariants(recording)
    writer.close()
    write_json(str(golden), "summary.json", {"timeline": 1, "end": "exited", "exit_code": 0})
    assert load_directory(golden).run.end == "exited"


def test_a_writer_lives_until_it_is_dead():
    process = subprocess.Popen(["sleep", "60"])
    now = {"time_ns": time.time_ns(), "monotonic_ns": time.monotonic_ns()}
    meta = {**writer_identity(), "sampler_pid": process.pid, "started": now}
    try:
        assert writer_lives(meta)
        assert not writer_lives({**meta, "host": "another"})
        assert not writer_lives({**meta, "sampler_pid": True})
        assert not writer_lives({**meta, "sampler_pid": 1 << 80})
        if meta["boot"]:
            assert not writer_lives({**meta, "boot": "another"})
        # A pid that was used again: its process began after the recording.
        assert not writer_lives({**meta, "started": {"time_ns": 1, "monotonic_ns": 1}})
        # A clock of another boot.
        late = {"time_ns": time.time_ns(), "monotonic_ns": time.monotonic_ns() + 10**15}
        assert not writer_lives({**meta, "started": late})
    finally:
        process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not writer_lives(meta), "a zombie writes nothing"
    process.wait()
    assert not writer_lives(meta)


def test_psutil_tells_the_same_where_there_is_no_proc(monkeypatch):
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    test_a_writer_lives_until_it_is_dead()


def lost_peaks(recording):
    analysis = analyze(recording)
    exact = [peak.exact for each in analysis.phases for peak in each.peak.values()]
    host = next(each for each in analysis.channels if each.channel.name == "host.rss")
    return not any([*exact, host.exact]) and host.reason


def test_a_mark_that_was_lost_is_a_peak_that_was_lost(golden):
    marks = golden / "events.4711.jsonl"
    whole = marks.read_bytes()
    assert load_directory(golden).series["host.rss"].channel.exact
    lines = whole.splitlines(keepends=True)
    for left, why in (
        (b"".join(lines[:2]), "the program's marks have no end"),
        (whole[: len(whole) // 2], "events.4711.jsonl: a torn last line was dropped"),
        (b"".join([*lines[:3], b"garbage\n", *lines[4:]]), "events.4711.jsonl: 1 line"),
        (whole[:-1], "events.4711.jsonl is cut: its last line has no end"),
    ):
        marks.write_bytes(left)
        assert why in lost_peaks(load_directory(golden))
    marks.unlink()
    assert "the program's marks are not there" in lost_peaks(load_directory(golden))


def test_a_file_of_marks_cut_between_two_lines_is_told_by_its_size(golden, edit_json):
    marks = golden / "events.4711.jsonl"
    lines = marks.read_bytes().splitlines(keepends=True)
    without_stop = b"".join(lines[:-1])
    marks.write_bytes(without_stop)
    edit_json(golden / "summary.json", events={marks.name: len(without_stop)}, last=1)
    recording = load_directory(golden)
    assert recording.series["host.rss"].channel.exact
    assert "left by os._exit" in recording.damage[0]
    marks.write_bytes(b"".join(lines[:-2]))
    assert f"is cut: {len(lines[-2])} bytes" in lost_peaks(load_directory(golden))


def test_a_row_that_was_lost_is_a_peak_that_was_lost(golden):
    samples = golden / "samples.host.npy"
    samples.write_bytes(samples.read_bytes()[:-32])
    assert "samples.host.npy is cut" in lost_peaks(load_directory(golden))
