from __future__ import annotations

import os
import random
import signal
import time

import numpy as np
import pytest
from invariants import check_invariants

from timeline.errors import TimelineError
from timeline.recording.alive import writer_identity
from timeline.recording.format import HEADER_BYTES, HOST_FIELDS
from timeline.recording.reader import load_directory
from timeline.recording.writer import (
    HEADER_EVERY,
    SampleWriter,
    new_run_directory,
    write_json,
)

ROUNDS = 60


def write_until_killed(directory, said):
    """Write a recording and say on a pipe what has been written: M(eta), R(ow), E(vent)."""
    new_run_directory(directory)
    started = {"time_ns": time.time_ns(), "monotonic_ns": time.monotonic_ns()}
    channel = {"stream": "host", "value": "rss", "high": "hwm", "exact": True}
    meta = {
        "timeline": 1,
        "started": started,
        "channels": {"host.rss": channel},
        "pid": os.getpid(),
    }
    write_json(directory, "meta.json", {**meta, **writer_identity()})
    os.write(said, b"M")
    writer = SampleWriter(f"{directory}/samples.host.npy", HOST_FIELDS)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    events = os.open(f"{directory}/events.{os.getpid()}.jsonl", flags)
    i = 0
    while True:
        t = time.monotonic_ns()
        if writer.append(t, 0, 1, i, i):
            os.write(said, b"R")
        line = f'{{"k":"m","p":"{"x" * 50}","th":1,"t":{t},"d":0,"rss":{i},"hwm":{i}}}\n'
        os.write(events, line.encode())
        os.write(said, b"E")
        i += 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork and no kill here")
def test_a_killed_writer_loses_nothing_that_it_had_acknowledged(tmp_path):
    dice = random.Random(9)
    ended_early = 0
    for i in range(ROUNDS):
        directory = tmp_path / f"{i}.timeline"
        heard, said = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(heard)
                write_until_killed(str(directory), said)
            finally:
                os._exit(1)
        os.close(said)
        time.sleep(dice.uniform(0, 0.025))
        os.kill(pid, signal.SIGKILL)
        # Read before it is reaped: a zombie is no writer that lives.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with open(heard, "rb") as pipe:
            acknowledged = pipe.read()
        try:
            recording = load_directory(directory)
        except TimelineError:
            assert acknowledged == b""
            ended_early += 1
            continue
        finally:
            os.waitpid(pid, 0)
        rows, lines = acknowledged.count(b"R"), acknowledged.count(b"E")
        check_invariants(recording)
        assert recording.run.end == "cut-off"
        series = recording.series["host.rss"]
        assert rows <= len(series) <= rows + 1
        assert lines <= len(recording.marks) <= lines + 1
        assert series.value.tolist() == list(range(len(series)))
        assert recording.marks.rss.tolist() == list(range(len(recording.marks)))
        path = directory / "samples.host.npy"
        if rows:
            assert rows - HEADER_EVERY < len(np.load(path)) <= len(series)
            grown = np.memmap(path, list(HOST_FIELDS), offset=HEADER_BYTES, mode="r")
            assert grown["rss"][:rows].tolist() == list(range(rows))
    assert ended_early < ROUNDS / 2
