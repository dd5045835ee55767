"""A command that is ended while it follows a script: nothing of it stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from running import TIME_LIMIT_S, begin

pytest.importorskip("torch")

pytestmark = pytest.mark.torch

SCRIPT = """
import os, time
with open("written", "w") as file:
    file.write("x" * 1000)
os.rename("written", "at-work-%d" % os.getpid())
time.sleep(1000)
"""


def wait_for(look, process):
    """What ``look()`` gives, as soon as that is something."""
    end = time.monotonic() + TIME_LIMIT_S
    while time.monotonic() < end and process.poll() is None:
        found = look()
        if found:
            return found
        time.sleep(0.01)
    pytest.fail(f"it never came so far: {process.communicate()[1]}")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


def heed_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def started(write_script, tmp_path):
    """The command at work, and where its temporary files are."""
    place = tmp_path / "temporary"
    place.mkdir()
    command = [sys.executable, "-m", "timeline", "estimate", str(write_script(SCRIPT))]
    # Whoever runs the tests in the background may ignore them, which is handed down.
    process = begin(command, cwd=tmp_path, env={"TMPDIR": str(place)}, preexec_fn=heed_signals)
    yield process, place
    process.kill()
    process.communicate()


def ends_by(process: subprocess.Popen[str], number: int) -> None:
    process.communicate(timeout=TIME_LIMIT_S)
    # Python turns the first into an exception, and the command that into the shell's code for it.
    assert process.returncode == (130 if number == signal.SIGINT else -number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_signal_ends_the_script_and_takes_the_scratch_directory_away(started, number):
    process, place = started
    (found,) = wait_for(lambda: list(place.glob("timeline-estimate-*/files/**/at-work-*")), process)
    process.send_signal(number)
    ends_by(process, number)
    assert list(place.iterdir()) == []
    assert not is_alive(int(found.name.rpartition("-")[2]))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_a_signal_before_the_script_has_begun_leaves_nothing_either(started, number):
    process, place = started
    wait_for(lambda: list(place.glob("timeline-estimate-*")), process)
    process.send_signal(number)
    process.send_signal(number)  # a second one does not stop the putting away
    ends_by(process, number)
    assert list(place.iterdir()) == []
