"""What is read of a recording's children: as it was written, and of files cut or changed."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from timeline.analysis.analyze import analyze
from timeline.errors import TimelineError
from timeline.recorder.processes.ledger import MOST_WRITTEN, Ledger
from timeline.recorder.processes.notices import Account
from timeline.recording.format import PROCESS_PSS_FIELDS
from timeline.recording.reader import load_directory
from timeline.recording.writer import SampleWriter

from .conftest import GOLDEN

MIB = 1 << 20
MS = 1_000_000
T = 81_234_567_890 + 100 * MS
FILES = ("processes.jsonl", "samples.processes.npy", "samples.processes_pss.npy")


@dataclass
class Child:
    """What the ledger is told of a process."""

    number: int
    pid: int
    t_ns: int = T
    up: int = 0
    name: str = "python"
    command: str = "python train.py"
    forked: bool = True
    borrowed: bool = False
    began_ns: int = T - 5 * MS
    rss: int = 10 * MIB
    mark: int = 12 * MIB


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """The golden recording with three children, one of which became another program and ended."""
    directory = tmp_path_factory.mktemp("family") / "x.timeline"
    shutil.copytree(GOLDEN, directory)
    ledger = Ledger(str(directory), guest=False)
    children = [Child(1, 5001), Child(2, 5002), Child(3, 5001, up=2)]
    for child in children:
        ledger.comes(child)
    for _ in range(5):
        for child in children:
            ledger.reads(child)
            child.t_ns += 10 * MS
            child.rss += 4 * MIB
            child.mark = child.rss
    ended = children[0]
    ended.name, ended.command, ended.forked = "größe", "größe --x", False
    ended.mark = ended.rss = 3 * MIB
    ledger.becomes(ended)
    ledger.reads(ended)
    ledger.goes(ended, ended.t_ns + 20 * MS)
    ledger.close()
    pss = SampleWriter(str(directory / FILES[2]), PROCESS_PSS_FIELDS)
    for i in range(4):
        pss.append(T + i * 20 * MS, 2, (5 + i) * MIB)
    pss.close()
    return directory


def test_the_kernels_last_word_is_the_peak_of_one_that_ended_read_or_not(tmp_path):
    directory = tmp_path / "x.timeline"
    shutil.copytree(GOLDEN, directory)
    ledger = Ledger(str(directory), guest=False)
    read, unread, untold = Child(1, 5001), Child(2, 5002, rss=0, mark=0, command=""), Child(3, 5003)
    for child in (read, unread, untold):
        ledger.comes(child)
    ledger.reads(read)
    ledger.reads(untold)
    ledger.goes(read, T + MS, 40 * MIB, Account("named late", True, 40 * MIB, 0))
    ledger.goes(unread, T + 2 * MS, 7 * MIB, signal="SIGKILL")
    ledger.goes(untold, T + 3 * MS, signal="SIGKILL<b>")
    ledger.close()
    recording = load_directory(directory)
    assert recording.damage == ()
    first, second, third = recording.processes
    assert (first.peak, first.name, second.peak, third.peak) == (
        40 * MIB,
        "named late",
        7 * MIB,
        -1,
    )
    assert len(second.t_ns) == 0
    assert [each.signal for each in recording.processes] == ["", "SIGKILL", ""]
    peaks = [(each.peak, each.exact) for each in analyze(recording).processes]
    assert peaks == [(40 * MIB, True), (7 * MIB, True), (12 * MIB, False)]


def test_children_are_read_as_they_were_written(family):
    recording = load_directory(family)
    assert recording.damage == ()
    first, second, third = recording.processes
    assert (first.name, first.command, first.forked) == ("größe", "größe --x", False)
    assert first.gone_ns == first.t_ns[-1] + 20 * MS
    assert first.rss.tolist() == [10 * MIB, 14 * MIB, 18 * MIB, 22 * MIB, 26 * MIB, 3 * MIB]
    assert (second.gone_ns, second.pss.tolist()) == (0, [5 * MIB, 6 * MIB, 7 * MIB, 8 * MIB])
    assert (third.pid, third.up) == (first.pid, 2)  # a pid that came again
    of_first, of_second, of_third = analyze(recording).processes
    assert (of_first.label, of_first.peak, of_first.exact) == ("größe --x", 3 * MIB, False)
    assert (of_second.label, of_second.peak) == ("train.py (forked)", 26 * MIB)
    assert (of_second.pss, of_third.parent) == (8 * MIB, 5002)


def test_more_children_than_are_written_are_counted(tmp_path):
    ledger = Ledger(str(tmp_path), guest=False)
    for number in (1, MOST_WRITTEN, MOST_WRITTEN + 1, MOST_WRITTEN + 2):
        child = Child(number, 5000 + number)
        ledger.comes(child)
        ledger.reads(child)
        ledger.goes(child, T)
    ledger.close()
    lines = [json.loads(line) for line in (tmp_path / FILES[0]).open()]
    assert {line["i"] for line in lines} == {1, MOST_WRITTEN}
    assert ledger.beyond == 2
    assert len(np.load(tmp_path / FILES[1])) == 2


def test_without_its_rows_a_process_is_known_and_its_peak_is_not(family, tmp_path):
    copy = tmp_path / "x.timeline"
    shutil.copytree(family, copy)
    (copy / FILES[1]).unlink()
    (summary, *_) = analyze(load_directory(copy)).processes
    assert (summary.peak, summary.exact) == (-1, False)


@pytest.mark.parametrize(
    "line",
    [
        b"[]", b"{}", b'{"k":"found"}', b"\xff\xfe", b"[" * 5000, b'{"k":"gone","i":77,"t":5}',
        b'{"k":"found","i":1e99,"t":5}', b'{"k":"found","i":-4,"t":5}',
        b'{"k":"found","i":9,"t":99999999999999999999}',
        b'{"k":"found","i":true,"t":5}', b'{"k":"runs","i":88,"t":5,"name":"x"}',
    ],
)  # fmt: skip
def test_a_line_that_says_nothing_is_left_out_and_said(family, tmp_path, line):
    copy = tmp_path / "x.timeline"
    shutil.copytree(family, copy)
    with (copy / FILES[0]).open("ab") as file:
        file.write(line + b"\n")
    recording = load_directory(copy)
    assert len(recording.processes) == 3
    assert recording.damage == ("processes.jsonl: 1 line says nothing that can be read: left out",)


def test_values_that_are_no_values_are_taken_as_unknown(family, tmp_path):
    copy = tmp_path / "x.timeline"
    shutil.copytree(family, copy)
    line = {"k": "found", "i": 9, "t": T, "pid": "7", "up": -3, "began": [], "name": 5,
            "command": "\ud800", "forked": "no"}  # fmt: skip
    with (copy / FILES[0]).open("a") as file:
        file.write(json.dumps(line) + "\n")
    last = load_directory(copy).processes[-1]
    assert (last.pid, last.up, last.began_ns, last.name, last.forked) == (-1, 0, -1, "", False)
    assert last.command == "\ufffd"
    analyze(load_directory(copy))


@settings(
    max_examples=150,
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    name=st.sampled_from(FILES),
    place=st.floats(0, 1),
    new=st.binary(max_size=40),
    how=st.sampled_from(["cut", "over", "insert"]),
)
def test_files_cut_and_changed_anywhere_cost_no_more_than_themselves(
    family, tmp_path_factory, name, place, new, how
):
    copy = tmp_path_factory.getbasetemp() / "damaged.timeline"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(family, copy)
    old = (family / name).read_bytes()
    at = int(place * len(old))
    rest = {"cut": b"", "over": new + old[at + len(new) :], "insert": new + old[at:]}[how]
    (copy / name).write_bytes(old[:at] + rest)
    try:
        recording = load_directory(copy)
    except TimelineError as error:
        pytest.fail(f"one file of children cost the recording: {error}")
    assert len(recording.series["host.rss"]) == 60
    for process in recording.processes:
        assert (np.diff(process.t_ns) >= 0).all()
        assert process.rss.min(initial=0) >= 0
        assert process.mark.min(initial=0) >= 0
    analyze(recording)
