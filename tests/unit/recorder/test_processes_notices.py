"""Children by the kernel's own notices: none is too brief, and what may not be told is counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from timeline.recorder.processes import notices
from timeline.recorder.processes.family import Family
from timeline.recorder.processes.ledger import Ledger

MIB = 1 << 20

TOLD = """
import json, os, subprocess, sys
def fails():
    try:
        subprocess.run(["/no/such"])
    except OSError:
        pass
print(flush=True)
for line in sys.stdin:
    said = None
    exec(line)
    print(json.dumps(said), flush=True)
"""


def why_none() -> str:
    """Why the kernel gives no notices here; empty where it does."""
    try:
        given = notices.Notices()
    except (OSError, AttributeError) as error:
        return str(error)
    given.close()
    return "" if given.accounted else "no accounts of what ends"


pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads the files of Linux"),
    pytest.mark.skipif(
        sys.platform == "linux" and bool(why_none()),
        reason="the kernel's notices and accounts are for root outside of containers",
    ),
]


class Program:
    """A process that does what it is told, with its family as it is recorded."""

    def __init__(self, directory):
        self.process = subprocess.Popen(
            [sys.executable, "-c", TOLD],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.process.stdout.readline()
        self.directory = directory
        self.ledger = Ledger(str(directory), guest=False)
        self.family = Family(self.process.pid, self.ledger)
        self.family.look(all=True)

    def does(self, line):
        """Run a line of Python there, to its end. Returns what it put into ``said``."""
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def commands(self):
        """What the living run, once none is in the middle of an exec."""
        until = time.monotonic() + 10
        while True:
            self.family.read()
            found = {each.command for each in self.family.living}
            if all(found) or time.monotonic() > until:
                return found

    def lines(self):
        """By pid, the line of each child found, with what it ran last, and that of its end."""
        self.family.look(all=False)
        self.family.read()
        self.family.close()
        self.ledger.close()
        path = self.directory / "processes.jsonl"
        lines = [json.loads(each) for each in path.open()] if path.exists() else []
        gone = {each["i"]: each for each in lines if each["k"] == "gone"}
        found = {each["i"]: each for each in lines if each["k"] == "found"}
        for each in lines:
            for key in ("name", "forked"):
                if each["k"] != "found" and key in each:
                    found[each["i"]][key] = each[key]
        return {each["pid"]: (each, gone.get(number)) for number, each in found.items()}


@pytest.fixture
def program(tmp_path):
    made = []

    def make():
        made.append(Program(tmp_path))
        return made[-1]

    yield make
    for each in made:
        each.family.close()
        each.ledger.close()
        each.process.kill()
        each.process.stdin.close()
        each.process.stdout.close()  # not read to its end: a child that is left has it, too
        each.process.wait()


BRIEF = (
    "said = [(os.fork() or (bytearray(MIB * 1048576), os._exit(0))) for MIB in range(10, 60)]; "
    "[os.waitpid(pid, 0) for pid in said]"
)


def test_children_that_nobody_could_read_have_their_lives_and_exact_peaks(program):
    made = program()
    pids = made.does(BRIEF)
    found = made.lines()
    assert set(found) == set(pids)
    assert made.family.unread == 0
    assert made.family.told
    for size, pid in zip(range(10, 60), pids, strict=True):
        began, ended = found[pid]
        assert size * MIB < ended["peak"] < (size + 30) * MIB
        assert began["began"] < ended["t"]
        assert began["forked"]


def test_programs_have_their_names_and_a_daemon_its_line_through_parents_that_were_gone(program):
    made = program()
    made.does("subprocess.run(['true'])")
    made.does("subprocess.run(['sh', '-c', 'sh -c \"setsid sleep 30 & exit 0\" & wait'])")
    try:
        for _ in range(500):
            made.family.look(all=False)
            made.family.read()
            if [each.name for each in made.family.living] == ["sleep"]:
                break
        (daemon,) = made.family.living
        with open(f"/proc/{daemon.pid}/stat") as file:
            parent = int(file.read().rpartition(")")[2].split()[1])
        assert parent != made.process.pid  # it was adopted, and by nobody of ours
    finally:
        subprocess.run(["kill", *[str(each.pid) for each in made.family.living]])
    found = made.lines()
    names = sorted(began["name"] for began, _ in found.values())
    assert names == ["sh", "sh", "sleep", "true"]
    assert not any(began["forked"] for began, _ in found.values())


def test_a_child_that_never_left_its_parents_memory_has_no_peak(program):
    made = program()
    made.does("held = bytearray(200 << 20)")
    made.does("fails()")
    ((_, ended),) = made.lines().values()
    assert "peak" not in ended


def test_without_accounts_those_that_nobody_could_read_are_counted_all(program, monkeypatch):
    def refused():
        raise PermissionError("not for you")

    monkeypatch.setattr(notices, "Accounts", refused)
    made = program()
    made.does(BRIEF)
    assert made.lines() == {}
    assert (made.family.unread, made.family.numbers, made.family.told) == (50, 50, True)


def test_where_more_comes_than_is_read_the_lists_tell_who_is_there(program, monkeypatch):
    monkeypatch.setattr(notices, "KEPT_BYTES", 4096)
    made = program()
    made.does("living = subprocess.Popen(['sleep', '60'])")
    made.does("[subprocess.run(['true']) for _ in range(40)]")
    made.does("later = subprocess.Popen(['sleep', '61'])")
    try:
        made.family.look(all=False)
        assert not made.family.told
        assert made.commands() == {"sleep 60", "sleep 61"}
    finally:
        made.does("[each.kill() or each.wait() for each in (living, later)]")


def test_on_a_machine_that_starts_more_than_can_be_followed_lists_go_on_alone(program, monkeypatch):
    monkeypatch.setattr(notices, "KEPT_BYTES", 4096)
    made = program()
    made.does("living = subprocess.Popen(['sleep', '60'])")
    for _ in range(8):
        made.does("[subprocess.run(['true']) for _ in range(40)]")
        made.family.look(all=True)
        made.family.read()
    made.does("later = subprocess.Popen(['sleep', '61'])")
    assert made.family.stirs()  # by the list: the socket is closed
    made.family.look(all=True)
    assert made.commands() == {"sleep 60", "sleep 61"}
    made.does("[each.kill() or each.wait() for each in (living, later)]")
    made.family.read()
    assert made.family.living == ()


def test_without_root_there_are_notices_and_no_accounts():
    if tuple(map(int, os.uname().release.split(".")[:2])) < (6, 6) or os.geteuid():
        pytest.skip("the connector is for everyone from Linux 6.6 on, and this needs root to leave")
    listen, tell = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.setgroups([])
            os.setresuid(65534, 65534, 65534)
            given = notices.Notices()
            child = os.fork()
            if not child:
                os._exit(0)
            os.waitpid(child, 0)
            kinds = [what for what, _, who, _ in given.take() if who == child]
            os.write(tell, repr((given.accounted, kinds)).encode())
        except BaseException as error:
            os.write(tell, repr(error).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(tell)
    with os.fdopen(listen) as file:
        assert file.read() == repr((False, [notices.BEGAN, notices.ENDED]))
