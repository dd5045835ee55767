"""The sampling loop with a clock that takes no time."""

from __future__ import annotations

from timeline.recorder.sampler import Sampler

MS = 1_000_000


class Clock:
    """A clock that moves only when somebody waits or works."""

    def __init__(self, told_after=10):
        self.ns = 1_000 * MS
        self.waits = []
        self.told_after = told_after

    def now(self):
        return self.ns

    def wait(self, seconds):
        self.waits.append(round(seconds * 1e9))
        self.ns += round(seconds * 1e9)
        return len(self.waits) >= self.told_after


class Probe:
    """Reads a list of sizes, each read taking as long as it is told."""

    exact = True
    reason = ""

    def __init__(self, clock, sizes, takes=0):
        self.clock = clock
        self.sizes = iter(sizes)
        self.takes = takes

    def read(self):
        size = next(self.sizes)
        if size is None:
            return None
        takes = self.takes(size) if callable(self.takes) else self.takes
        self.clock.ns += takes
        return self.clock.ns, takes, 1, size, size


def sampled(clock, probe, interval=10 * MS, keep=lambda row: True):
    rows = []

    def emit(*row):
        rows.append(row)
        return keep(row)

    ended = Sampler(probe, emit, interval_ns=interval, now=clock.now, wait=clock.wait).run()
    return ended, rows


def test_rows_come_at_each_multiple_of_the_interval_and_once_more_when_told_to_end():
    clock = Clock(told_after=3)
    ended, rows = sampled(clock, Probe(clock, range(100)))
    assert ended
    assert rows == [
        (1000 * MS, 0, 1, 0, 0),
        (1010 * MS, 0, 1, 1, 1),
        (1020 * MS, 0, 1, 2, 2),
        (1030 * MS, 0, 1, 3, 3),
    ]


def test_the_time_that_a_read_takes_does_not_make_the_pace_drift():
    clock = Clock(told_after=50)
    _, rows = sampled(clock, Probe(clock, range(100), takes=3 * MS))
    begun = [t - takes for t, takes, *_ in rows]
    assert begun == [(1000 + 10 * i) * MS for i in range(51)]


def test_a_read_longer_than_the_interval_skips_deadlines_and_makes_no_burst():
    clock = Clock(told_after=6)
    _, rows = sampled(clock, Probe(clock, range(100), takes=lambda n: 47 * MS if n == 2 else 0))
    begun = [(t - takes) // MS for t, takes, *_ in rows]
    assert begun == [1000, 1010, 1020, 1070, 1080, 1090, 1100]
    assert all(wait > 0 for wait in clock.waits)


def test_a_sleep_that_oversleeps_leaves_a_gap_and_no_burst():
    clock = Clock(told_after=4)
    on_time = clock.wait

    def late(seconds):
        told = on_time(seconds)
        if len(clock.waits) == 2:
            clock.ns += 1_234 * MS
        return told

    clock.wait = late
    _, rows = sampled(clock, Probe(clock, range(100)))
    assert [row[0] // MS for row in rows] == [1000, 1010, 2254, 2260, 2270]


def test_a_process_that_is_gone_ends_the_loop_without_a_row():
    clock = Clock()
    ended, rows = sampled(clock, Probe(clock, [5, 6, None]))
    assert ended
    assert [row[3] for row in rows] == [5, 6]
    assert len(clock.waits) == 2


def test_a_process_that_is_gone_when_told_to_end_makes_no_row():
    clock = Clock(told_after=1)
    ended, rows = sampled(clock, Probe(clock, [5, None]))
    assert ended
    assert len(rows) == 1


def test_a_row_that_cannot_be_kept_ends_the_loop():
    clock = Clock()
    ended, rows = sampled(clock, Probe(clock, range(9)), keep=lambda row: row[3] < 3)
    assert not ended
    assert len(rows) == 4


def test_a_million_rows_are_at_the_millionth_deadline():
    clock = Clock(told_after=1_000)
    _, rows = sampled(clock, Probe(clock, range(2_000)), interval=333_333)
    assert rows[-1][0] == 1_000 * MS + 1_000 * 333_333


def test_what_pauses_is_read_again_at_the_deadline_after_it_or_when_woken():
    clock = Clock(told_after=7)
    probe = Probe(clock, range(100), takes=MS)
    pauses = iter([0, 40 * MS, 40 * MS, 0, 0, 0, 0, 0])
    rows, woken = [], clock.wait

    def wait(seconds):
        # Somebody wakes it in the second pause, after 7 ms of 49.
        return woken(0.007 if len(rows) == 3 else seconds)

    Sampler(
        probe,
        lambda *row: rows.append(row) is None,
        interval_ns=10 * MS,
        now=clock.now,
        wait=wait,
        paused=lambda: next(pauses),
    ).run()
    began = [row[0] - row[1] - rows[0][0] + MS for row in rows]
    assert began[:5] == [0, 10 * MS, 60 * MS, 68 * MS, 70 * MS]
