"""What the probes read of real processes, with psutil and the process itself as the oracle."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from timeline.errors import UsageError
from timeline.recorder.overall import make_overall
from timeline.recorder.probes import BACKENDS, open_probe, resolve
from timeline.recorder.probes.linux import LinuxProbe
from timeline.recording.format import BLIND, HIGH_IS_KNOWN, UNSEEN_SHIFT, UNSEEN_UNIT

MIB = 1 << 20

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads the files of Linux")

OBEYS = """
import mmap, os, sys
held = []
print(flush=True)
for line in sys.stdin:
    what, size = line.split()
    if what in ("hold", "spike"):
        block = mmap.mmap(-1, int(size) << 20)
        block.write(b"x" * (int(size) << 20))
        held.append(block)
    if what in ("drop", "spike"):
        held.pop().close()
    print(flush=True)
"""


class Target:
    """A small process that grows and shrinks as it is told."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", OBEYS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid
        self.process.stdout.readline()

    def tell(self, what, size=0):
        self.process.stdin.write(f"{what} {size}\n")
        self.process.stdin.flush()
        self.process.stdout.readline()


@pytest.fixture
def target():
    target = Target()
    yield target
    target.process.kill()
    target.process.communicate()


def near(a, b, within=MIB):
    return abs(a - b) <= within


@linux
@pytest.mark.parametrize(
    "backend",
    [each for each in BACKENDS if each not in ("memory_profiler:psutil_uss",)],
)
def test_every_backend_reads_what_psutil_reads(backend, target):
    target.tell("hold", 50)
    probe = open_probe(resolve(backend), target.pid)
    t, read_ns, flags, rss, high = probe.read()
    process = psutil.Process(target.pid)
    pss = backend.endswith("pss")
    expected = process.memory_full_info().pss if pss else process.memory_info().rss
    assert near(rss, expected)
    assert 0 < read_ns < t
    assert probe.exact == (flags & HIGH_IS_KNOWN == HIGH_IS_KNOWN) == (high >= rss)
    assert probe.exact or (high == -1 and probe.reason.endswith("peaks are the largest samples"))
    probe.close()


def test_uss_is_less_than_rss(target):
    uss = open_probe(resolve("memory_profiler:psutil_uss"), target.pid).read()[3]
    assert 0 < uss < psutil.Process(target.pid).memory_info().rss


@linux
def test_a_spike_between_two_reads_is_in_the_later_one_and_only_there(target):
    probe = LinuxProbe(target.pid)
    base = probe.read()[3]
    for size in (64, 200, 3):
        target.tell("spike", size)
        _, _, flags, rss, high = probe.read()
        assert flags == HIGH_IS_KNOWN
        # The line that is written is a bytes object of the same size.
        assert near(high, base + 2 * size * MIB)
        assert near(rss, base)
        assert near(probe.read()[4], base)


@linux
def test_where_spikes_follow_each_other_each_has_its_own_height_by_one_read(target, monkeypatch):
    probe = LinuxProbe(target.pid)
    base = probe.read()[3]
    target.tell("spike", 64)
    probe.read()
    real, reads = os.pread, []
    monkeypatch.setattr(os, "pread", lambda *args: reads.append(args[0]) or real(*args))
    for size in (100, 40, 60, 50):
        target.tell("spike", size)
        del reads[:]
        _, _, flags, rss, high = probe.read()
        assert flags == HIGH_IS_KNOWN
        assert near(high, base + 2 * size * MIB)
        assert near(rss, base)
        # The page faults before, and then the memory, once.
        assert len(reads) == len(set(reads)) == 2


@linux
def test_while_memory_only_grows_the_mark_is_left_alone(target, monkeypatch):
    probe = LinuxProbe(target.pid)
    probe.read()
    writes = []
    monkeypatch.setattr(os, "write", lambda *args: writes.append(args))
    target.tell("hold", 1)
    probe.read()
    before = len(writes)
    monkeypatch.undo()
    target.tell("spike", 20)
    assert probe.read()[4] - probe.read()[4] > 15 * MIB
    assert before <= 1


@linux
def test_its_descriptors_are_out_of_the_programs_way(target, tmp_path):
    probe = LinuxProbe(target.pid)
    with open(tmp_path / "programs own", "wb") as file:
        assert probe.read() is not None
        held = {int(fd) for fd in os.listdir("/proc/self/fd")} - {file.fileno()}
    probe.close()
    opened = held - {int(fd) for fd in os.listdir("/proc/self/fd")}
    assert len([fd for fd in opened if fd >= 500]) == 3


@linux
def test_without_exactness_nothing_is_ever_reset(target):
    target.tell("spike", 100)
    probe = LinuxProbe(target.pid, exact=False)
    assert not probe.exact
    assert "as asked" in probe.reason
    assert probe.read()[2:] == (0, probe.read()[3], -1)
    status = Path(f"/proc/{target.pid}/status").read_text()
    assert int(status.split("VmHWM:")[1].split()[0]) > 100 * 1024


@linux
def test_a_mark_that_cannot_be_reset_is_a_sentence(target, monkeypatch):
    real = os.open

    def refuse(path, *args, **kwargs):
        if str(path).endswith("clear_refs"):
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    probe = LinuxProbe(target.pid)
    assert not probe.exact
    assert "clear_refs cannot be written (Permission denied)" in probe.reason
    assert probe.read()[2] == 0
    assert probe.read()[4] == -1


@linux
@pytest.mark.parametrize("meanwhile", [200, 0])
def test_a_late_reset_tells_how_much_can_have_grown_meanwhile(meanwhile, target, monkeypatch):
    probe = LinuxProbe(target.pid)
    target.tell("spike", 50)
    real = os.write

    def late(fd, data):
        if data == b"5" and meanwhile:
            target.tell("spike", meanwhile)
        elif data == b"5":
            time.sleep(0.01)
        return real(fd, data)

    monkeypatch.setattr(os, "write", late)
    flags = probe.read()[2]
    unseen = (flags >> UNSEEN_SHIFT) * UNSEEN_UNIT
    assert flags & HIGH_IS_KNOWN
    assert bool(flags & BLIND) == bool(meanwhile)
    assert (unseen >= 200 * MIB) if meanwhile else unseen == 0
    monkeypatch.undo()
    assert probe.read()[2] == HIGH_IS_KNOWN


@linux
@pytest.mark.parametrize("backend", ["linux", "psutil", "memory_profiler:psutil"])
def test_a_process_that_ended_is_gone_before_and_after_it_is_waited_for(backend):
    target = Target()
    probe = open_probe(backend, target.pid)
    assert probe.read()
    target.process.kill()
    os.waitid(os.P_PID, target.pid, os.WEXITED | os.WNOWAIT)
    assert probe.read() is None
    target.process.communicate()
    assert probe.read() is None
    probe.close()
    with pytest.raises(OSError):
        open_probe(backend, target.pid)


@linux
def test_the_probe_follows_its_process_through_an_exec():
    code = "import os, sys; input(); os.execv(sys.executable, [sys.executable, '-c', 'input()'])"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, text=True)
    probe = LinuxProbe(process.pid)
    assert probe.read()
    process.stdin.write("\n")
    process.stdin.flush()
    for _ in range(200):
        assert probe.read() is not None
    assert probe.exact
    process.communicate("\n")


@linux
def test_the_overall_mark_is_noted_before_it_is_reset(target):
    overall = make_overall()
    probe = LinuxProbe(target.pid, overall=overall)
    target.tell("spike", 80)
    high = probe.read()[4]
    assert overall.bytes == high > 80 * MIB
    probe.read()
    assert overall.bytes == high
    overall.close()


@linux
def test_the_overall_mark_is_shared_through_its_descriptor():
    overall = make_overall()
    pid = os.fork()
    if pid == 0:
        overall.note(123 * MIB)
        os._exit(0)
    os.waitpid(pid, 0)
    assert overall.bytes == 123 * MIB
    overall.note(5)
    assert overall.bytes == 123 * MIB
    overall.close()
    overall.close()
    assert overall.bytes == 0
    overall.note(7)


@linux
def test_closing_a_probe_leaves_no_descriptor(target):
    before = len(os.listdir("/proc/self/fd"))
    probe = LinuxProbe(target.pid)
    probe.read()
    probe.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("name", ["", "none", "memory_profiler:", "memory_profiler:tracemalloc"])
def test_an_unknown_backend_is_a_sentence_with_the_choices(name):
    with pytest.raises(UsageError, match="choose one of auto, linux, psutil, memory_profiler"):
        resolve(name)


def test_a_backend_that_cannot_be_imported_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "memory_profiler", None)
    with pytest.raises(UsageError, match="install memory-profiler, or choose auto"):
        resolve("memory_profiler:psutil_uss")


def test_off_linux_auto_is_psutil_and_linux_is_a_sentence(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert resolve("auto") == "psutil"
    with pytest.raises(UsageError, match="choose auto or psutil"):
        resolve("linux")


@linux
def test_a_samples_time_is_after_all_that_it_read_also_where_it_had_to_search(monkeypatch):
    asked = []
    read = os.pread

    def pread(*arguments):
        asked.append("read")
        return read(*arguments)

    def now():
        asked.append("time")
        return time.monotonic_ns()

    probe = LinuxProbe(os.getpid(), exact=False, now=now)
    monkeypatch.setattr(os, "pread", pread)
    try:
        for reads in (2, 1):  # first it searches; then it knows where to look
            asked.clear()
            assert probe.read() is not None
            assert (asked.count("read"), asked[0], asked[-1]) == (reads, "time", "time")
    finally:
        probe.close()
