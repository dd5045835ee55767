"""What the host's sampler sees in passing wakes the stream that sleeps."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

from timeline.recorder.processes import family as families
from timeline.recorder.processes.children import Children
from timeline.recorder.processes.family import Family
from timeline.recorder.processes.ledger import Ledger
from timeline.recorder.sampler import Sampler
from timeline.recorder.streams import Watched
from timeline.recorder.told import Told

MS = 1_000_000


def test_who_is_woken_waits_on_and_who_is_told_ends():
    told = Told()
    told.wake()
    told.wake()
    assert not told.wait(10)
    told.set()
    told.set()
    assert told.wait(10)


def test_a_sampler_that_is_woken_reads_before_its_time_and_then_on_time():
    told, read = Told(), []

    class Probe:
        def read(self):
            read.append(time.monotonic())
            return ()

    sampler = Sampler(
        Probe(), lambda: True, interval_ns=3600_000 * MS, now=time.monotonic_ns, wait=told.wait
    )
    thread = threading.Thread(target=sampler.run)
    thread.start()
    while len(read) < 3:
        told.wake()
        time.sleep(0.001)
    told.set()
    thread.join(10)
    assert not thread.is_alive()


def test_a_sampler_that_has_spent_its_share_is_not_woken_into_spending_more():
    clock, waits, spent = [0], [], [0]

    def wait(seconds):
        waits.append(seconds)
        clock[0] += min(int(seconds * 1e9), MS) or 1  # always woken after a millisecond
        return clock[0] > 60_000 * MS

    class Probe:
        readings = 0

        def read(self):
            self.readings += 1
            spent[0] += MS
            return ()

    probe = Probe()
    Sampler(
        probe, lambda: True, interval_ns=50 * MS, now=lambda: clock[0], wait=wait, share=0.005,
        spent=lambda: spent[0],
    ).run()  # fmt: skip
    # 0.5 % of a minute is 300 ms, and 100 ms were saved at the start.
    assert 300 <= probe.readings <= 420


def test_a_look_in_passing_tells_of_a_child_that_came_and_of_one_that_went(tmp_path, monkeypatch):
    monkeypatch.setattr(families, "_kin_of", lambda pid: None)  # by the kernel's lists
    program = "import subprocess, sys; input(); subprocess.run(['sleep', '0.3']); print(); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as target:
        ledger = Ledger(str(tmp_path), guest=False)
        watched = Watched(target.pid, str(tmp_path), interval_ns=10 * MS)
        family = Family(target.pid, ledger)
        stream = Children(watched, family, ledger)
        try:
            if not family.tells:
                return
            assert stream.interval_ns == 50 * MS
            assert not family.stirs()
            target.stdin.write("\n")
            target.stdin.flush()
            until = time.monotonic() + 10
            while not family.stirs():
                assert time.monotonic() < until
            assert not family.stirs()
            assert stream.read()[-1] == 1, "found and read at once"
            target.stdout.readline()
            assert family.stirs()
            assert not family.stirs()
            assert not stream.glance() or not stream.glance(), "and not more often than worth it"
            target.stdin.write("\n")
            target.stdin.flush()
        finally:
            stream.close()
