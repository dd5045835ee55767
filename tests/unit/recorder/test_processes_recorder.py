"""How a target's children are found and read, of real processes and by each way there is."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest

from timeline.recorder.processes import family as families
from timeline.recorder.processes import finding
from timeline.recorder.processes.children import open_stream
from timeline.recorder.processes.elsewhere import PsutilFamily
from timeline.recorder.processes.family import Family
from timeline.recorder.processes.ledger import Ledger
from timeline.recorder.processes.member import Member
from timeline.recorder.streams import Unavailable, Watched

MIB = 1 << 20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the files of Linux")

TREE = """
import os, subprocess, sys, threading, time
held = bytearray(10 << 20)
started = []
def start():
    code = "import time; held = bytearray(20 << 20); print(flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child.stdout.readline()
    started.append(child)
    time.sleep(60)
threading.Thread(target=start, daemon=True).start()
grandchild = "import subprocess, sys, time; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); time.sleep(60)"
below = subprocess.Popen([sys.executable, "-c", grandchild], stdout=subprocess.PIPE)
last = int(below.stdout.readline())
while not started:
    time.sleep(0.01)
print(started[0].pid, below.pid, last, flush=True)
sys.stdin.readline()
os.kill(last, 9)
below.kill(); below.wait(); started[0].kill(); started[0].wait()
print(flush=True)
time.sleep(60)
"""  # noqa: E501


@pytest.fixture
def tree():
    """A process with a child of a thread, a child, and a grandchild, and the pids of these."""
    process = subprocess.Popen(
        [sys.executable, "-c", TREE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    pids = list(map(int, process.stdout.readline().split()))
    yield process, pids
    for pid in pids:
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            pass
    process.kill()
    process.communicate()


def test_a_target_that_is_gone_leaves_a_sentence_and_nothing_open(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)  # of a socket that nobody closed
        with pytest.raises(Unavailable, match="the program had ended before any were looked for"):
            open_stream(Watched(ended.pid, str(tmp_path), interval_ns=10_000_000))
        gc.collect()
    assert [str(each.message) for each in caught] == []


def test_a_target_that_was_not_waited_for_yet_is_gone_as_well(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(Unavailable, match="the program had ended before any were looked for"):
            open_stream(Watched(ended.pid, str(tmp_path), interval_ns=10_000_000))


@pytest.mark.parametrize("way", ["notices", "lists", "parents", "psutil"])
def test_every_way_finds_children_of_threads_and_grandchildren_and_sees_them_go(
    way, tree, tmp_path, monkeypatch
):
    process, (of_thread, child, grandchild) = tree
    if way != "notices":
        monkeypatch.setattr(families, "_kin_of", lambda pid: None)
    if way == "parents":
        monkeypatch.setattr(families, "best_finder", finding.ByParents)
    ledger = Ledger(str(tmp_path), guest=False)
    kind = PsutilFamily if way == "psutil" else Family
    family = kind(process.pid, ledger)
    try:
        assert family.look(all=True)
        assert not family.look(all=True)
        assert family.read() > 10 * MIB
        found = {member.pid: member for member in family.living}
        assert set(found) == {of_thread, child, grandchild}
        assert found[of_thread].rss > 20 * MIB
        assert found[grandchild].up == found[child].number
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        # A process that was killed is not gone yet when kill returns, and of the grandchild's end
        # nobody there is told.
        until = time.monotonic() + 30
        while family.living and time.monotonic() < until:
            family.look(all=True)
            family.read()
        assert family.living == ()
        process.kill()
        process.wait()
        assert family.read() is None
    finally:
        family.close()
        ledger.close()
    lines = [json.loads(line) for line in (tmp_path / "processes.jsonl").open()]
    assert [line["k"] for line in lines] == ["found"] * 3 + ["gone"] * 3
    rows = np.load(tmp_path / "samples.processes.npy")
    assert set(rows["process"].tolist()) == {1, 2, 3}


def test_a_member_goes_on_meaning_its_process_when_that_has_ended():
    process = subprocess.Popen(["sleep", "60"])
    member = Member(process.pid, 1, 0)
    try:
        assert member.read(None)
        assert abs(time.monotonic_ns() - member.began_ns) < 30e9
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not member.read(None)  # a zombie
        process.wait()
        assert not member.read(None)
        assert member.find() == ()
    finally:
        member.close()


def test_what_does_not_change_is_not_written_again(tmp_path):
    # A parent with no other child than this: one that sleeps, and has what it had.
    command = ["sh", "-c", "sleep 60 & echo $!; wait"]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    ledger = Ledger(str(tmp_path), guest=False)
    while True:
        with open(f"/proc/{pid}/stat") as file:
            if "(sleep) S" in file.read():  # it has come to where it stays
                break
    family = Family(parent.pid, ledger)
    try:
        family.look(all=True)
        for _ in range(100):
            family.read()
    finally:
        family.close()
        ledger.close()
        os.kill(pid, 9)
        parent.communicate()
    assert len(np.load(tmp_path / "samples.processes.npy")) == 1


def test_a_file_that_cannot_be_made_costs_the_table_and_not_the_sums(tmp_path):
    process = subprocess.Popen(["sleep", "60"])
    (tmp_path / "processes.jsonl").write_text("another's")
    ledger = Ledger(str(tmp_path), guest=False)
    family = Family(os.getpid(), ledger)
    try:
        family.look(all=True)
        assert family.read() > 0
        assert process.pid in [member.pid for member in family.living]
    finally:
        family.close()
        ledger.close()
        process.kill()
        process.wait()
    assert "processes.jsonl ends early" in ledger.lost
    assert (tmp_path / "processes.jsonl").read_text() == "another's"
