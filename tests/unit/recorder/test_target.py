"""How a process ended, found out by one that is not its parent."""

from __future__ import annotations

import subprocess
import sys

import pytest
from running import tells_how_others_ended

from timeline.recorder.processes.family import Family
from timeline.recorder.processes.ledger import Ledger
from timeline.recorder.processes.notices import Notices
from timeline.recorder.target import Target, words_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's files are Linux's")

# The middle one waits for its child when it is told to, and not before.
MIDDLE = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import os, signal; input(); " + sys.argv[1]],
                         stdin=subprocess.PIPE)
print(child.pid, flush=True)
sys.stdin.readline()
child.stdin.write(b"\\n")
child.stdin.close()
os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
print("a zombie", flush=True)
sys.stdin.readline()
child.wait()
print("waited for", flush=True)
sys.stdin.readline()
"""

ENDS = [
    ("os.kill(os.getpid(), signal.SIGKILL)", {"end": "killed", "signal": "SIGKILL"}),
    ("signal.raise_signal(signal.SIGSEGV)", {"end": "killed", "signal": "SIGSEGV"}),
    ("os.kill(os.getpid(), 40)", {"end": "killed", "signal": "signal 40"}),
    ("os._exit(3)", {"end": "exited", "exit_code": 3}),
    ("os._exit(0)", {"end": "exited", "exit_code": 0}),
]


class Grandchild:
    """A process whose parent, a child of this one, does what it is told."""

    def __init__(self, ends: str) -> None:
        self._middle = subprocess.Popen(
            [sys.executable, "-c", MIDDLE, ends],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.pid = int(self._middle.stdout.readline())

    def goes_on(self) -> None:
        self._middle.stdin.write("\n")
        self._middle.stdin.flush()
        assert self._middle.stdout.readline()

    def close(self) -> None:
        self._middle.communicate("\n\n\n")


@pytest.fixture(params=ENDS, ids=[each for each, _ in ENDS])
def grandchild(request):
    made = Grandchild(request.param[0])
    yield made, request.param[1]
    made.close()


def test_a_zombie_tells_how_it_ended_unless_it_ended_well(grandchild):
    made, words = grandchild
    target = Target(made.pid)
    assert target.lives()
    made.goes_on()
    assert not target.lives()
    status = target.status()
    if words == {"end": "exited", "exit_code": 0}:
        # A 0 is what the kernel shows to strangers, too.
        assert status is None
        words = {"end": "killed"}
    assert words_of(status) == words


@pytest.mark.skipif(not tells_how_others_ended(), reason="a pidfd tells since Linux 6.15")
def test_who_was_waited_for_by_another_is_told_of_by_its_pidfd(grandchild):
    made, words = grandchild
    target = Target(made.pid)
    made.goes_on()
    made.goes_on()
    assert words_of(target.status()) == words


def test_of_who_went_before_it_was_looked_at_nobody_tells():
    gone = subprocess.Popen(["true"])
    gone.wait()
    target = Target(gone.pid)
    assert not target.lives()
    assert words_of(target.status()) == {"end": "killed"}


def test_the_kernels_notices_tell_how_the_target_ended(grandchild, tmp_path):
    try:
        Notices().close()
    except (OSError, AttributeError) as error:
        pytest.skip(f"the kernel gives no notices here: {error}")
    made, words = grandchild
    ledger = Ledger(str(tmp_path), guest=False)
    family = Family(made.pid, ledger)
    family.look(all=True)
    assert family.status is None
    made.goes_on()
    made.goes_on()
    family.close()
    ledger.close()
    assert words_of(family.status) == words


def test_a_target_whose_thread_runs_a_new_program_goes_on(tmp_path):
    try:
        Notices().close()
    except (OSError, AttributeError) as error:
        pytest.skip(f"the kernel gives no notices here: {error}")
    # The kernel gives that thread the number of the first one, and tells of the first one's end.
    text = "import os, sys, threading, time; input(); threading.Thread(target=os.execv, args=("
    text += "sys.executable, [sys.executable, '-c', 'print(1, flush=True); input(); exit(7)'])"
    text += ").start(); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        bufsize=1,
    )  # fmt: skip
    ledger = Ledger(str(tmp_path), guest=False)
    family = Family(process.pid, ledger)
    family.look(all=True)
    process.stdin.write("\n")
    assert process.stdout.readline() == "1\n"
    family.look(all=False)
    process.communicate("\n")
    family.close()
    ledger.close()
    assert words_of(family.status) == {"end": "exited", "exit_code": 7}
