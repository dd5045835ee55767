"""The exact reading: what it tells of this process, against the kernel's own figures."""

from __future__ import annotations

import mmap
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from timeline.recorder.reading import open_own_memory, out_of_the_way

MiB = 1 << 20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's files")


@pytest.fixture
def own():
    own, why = open_own_memory()
    assert own is not None, why
    yield own
    own.close()


def spike(size):
    with mmap.mmap(-1, size) as memory:
        for at in range(0, size, mmap.PAGESIZE):
            memory[at] = 1


def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key))


def test_a_spike_is_seen_by_the_next_reading_and_by_no_later_one(own):
    _, _, before, _, _ = own.read()
    spike(50 * MiB)
    _, _, _, high, _ = own.read()
    _, _, after, calm, _ = own.read()
    assert 49 * MiB <= high - before <= 52 * MiB  # the counters lag by some pages
    assert calm - after < 2 * MiB


def test_a_reading_agrees_with_the_kernels_status(own):
    _, _, rss, _, _ = own.read()
    assert abs(rss - status("VmRSS:")) < 2 * MiB


def test_the_mark_is_never_under_the_rss(own):
    for _ in range(100):
        begun, t, rss, high, _ = own.read()
        assert high >= rss > 0
        assert begun <= t


def test_what_one_thread_takes_is_not_dated_after_another_threads_reading(own):
    others = []
    other = threading.Thread(target=lambda: others.append(own.read()))
    calls = []

    def now():
        calls.append(None)
        if len(calls) == 3:  # after the reset
            other.start()
            other.join(0.2)
        return time.monotonic_ns()

    _, t, _, _, _ = own.read(now)
    other.join()
    assert others[0][1] > t


def test_a_thread_that_is_held_up_in_a_reading_tells_the_memory_of_its_time(own):
    own.read()
    held = []

    def now():
        # As after pread, when others have the GIL: the second call comes right behind it.
        if len(held) == 1:
            # Pages of its own: of a bytearray's the heap of a grown process may have enough.
            held.append(mmap.mmap(-1, 60 * MiB))
            held[-1].write(b"x" * (60 * MiB))
            time.sleep(0.01)
        else:
            held.append(None)
        return time.monotonic_ns()

    before = own.read()[2]
    begun, t, rss, high, unseen = own.read(now)
    assert t - begun > 10_000_000
    assert rss - before > 50 * MiB
    assert high >= rss
    assert unseen == 0


def test_the_largest_of_all_readings_is_kept(own):
    own.read()
    spike(30 * MiB)
    _, _, _, high, _ = own.read()
    own.read()
    assert own.overall >= high


def test_getrusage_follows_the_reset_of_the_mark(own):
    # Another test that recorded this process may have left our function in the kernel's place.
    kernels = getattr(resource.getrusage, "real", resource.getrusage)
    spike(50 * MiB)
    own.read()
    _, _, rss, _, _ = own.read()
    assert abs((kernels(resource.RUSAGE_SELF).ru_maxrss << 10) - rss) < 4 * MiB


def test_a_process_started_by_a_large_one_does_not_report_its_parents_peak(tmp_path):
    child = (
        "from timeline.recorder.reading import open_own_memory\n"
        "own, why = open_own_memory()\n"
        "print(own.read()[3], own.overall)\n"
    )
    ballast = bytearray(200 * MiB)
    said = subprocess.run(
        [sys.executable, "-c", child], capture_output=True, text=True, check=True
    ).stdout
    del ballast
    high, overall = map(int, said.split())
    assert 0 < high <= overall < 100 * MiB


def test_a_closed_reader_says_so(own):
    own.close()
    with pytest.raises(OSError, match="descriptor"):
        own.read()


def test_a_descriptor_is_moved_out_of_the_programs_way(tmp_path):
    (tmp_path / "file").write_text("text")
    low = os.open(tmp_path / "file", os.O_RDONLY)
    high = out_of_the_way(low)
    try:
        assert high >= 500
        assert os.read(high, 10) == b"text"
        assert not os.get_inheritable(high)
        with pytest.raises(OSError, match="descriptor"):
            os.fstat(low)
    finally:
        os.close(high)
