"""The host's sampling loop, by a timer of the kernel and by the clock."""

from __future__ import annotations

import sys
import threading

import pytest

from timeline.recorder.host_sampler import TAKEN, HostSampler
from timeline.recorder.pace import LEAST_NS, Pace

MS = 1_000_000
HOUR = 3600_000 * MS
TIMER = pytest.param(True, marks=pytest.mark.skipif(sys.platform != "linux", reason="no timerfd"))
both_ways = pytest.mark.parametrize("timer", [TIMER, False], ids=["timer", "clock"])


class Probe:
    """Reads a list of pairs of an RSS and a mark; the time is the number of the reading."""

    def __init__(self, pairs):
        self.pairs = iter(pairs)
        self.number = 0
        self.on = {}

    def read(self):
        self.number += 1
        if self.number in self.on:
            self.on[self.number]()
        pair = next(self.pairs)
        return None if pair is None else (self.number, 0, 1, *pair)

    def readings(self):
        return iter(self.read, None)


def sampled(probe, pace, keep=lambda *row: True, aside=lambda t: t, held=1, writes=None):
    rows = []

    def kept(new):
        rows.extend(new)
        if writes is not None:
            writes.append([row[3] for row in new])
        return keep(*new[-1])

    sampler = HostSampler(probe.readings(), kept, pace, aside, held=held)
    done = []
    thread = threading.Thread(target=lambda: done.append(sampler.run()), daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    pace.close()
    return sampler, done[0], [row[3:] for row in rows]


@both_ways
def test_rows_come_until_told_and_then_once_more(timer):
    pace, probe = Pace(MS, timer=timer), Probe([(5, 5), (7, 9), (6, 8), (1, 1)])
    probe.on[3] = pace.set
    sampler, well, rows = sampled(probe, pace)
    assert well
    assert rows == [(5, 5), (7, 9), (6, 8), (1, 1)]
    assert (sampler.high, sampler.rss) == (9, 1)


@both_ways
@pytest.mark.parametrize("early", [False, True], ids=["while it waits", "before it began"])
def test_who_waits_for_an_hour_is_told_at_once(timer, early):
    pace, probe = Pace(HOUR, timer=timer), Probe([(5, 5), (6, 6)])
    if early:
        pace.set()
    else:
        threading.Timer(0.05, pace.set).start()
    _, well, rows = sampled(probe, pace)
    assert well
    assert rows == [(5, 5), (6, 6)]


@both_ways
def test_a_process_that_is_gone_ends_the_loop_without_a_row(timer):
    sampler, well, rows = sampled(Probe([(5, 6), (4, -1), None]), Pace(MS, timer=timer))
    assert well
    assert rows == [(5, 6), (4, -1)]
    assert (sampler.high, sampler.rss) == (6, 4)


def test_an_rss_without_a_mark_counts_as_the_largest():
    sampler, _, _ = sampled(Probe([(5, -1), (7, -1), (6, -1), None]), Pace(MS))
    assert (sampler.high, sampler.rss) == (7, 6)


@both_ways
def test_a_row_that_cannot_be_kept_ends_the_loop(timer):
    keep = lambda t, *_: t < 3  # noqa: E731
    _, well, rows = sampled(Probe([(1, 1)] * 9), Pace(MS, timer=timer), keep=keep)
    assert not well
    assert len(rows) == 3


def test_rows_that_tell_nothing_wait_for_each_other():
    low = [(9, 9), *[(5, 5)] * 7, None]
    writes = []
    _, well, rows = sampled(Probe(low), Pace(MS), held=3, writes=writes)
    assert well
    assert writes == [[9], [5, 5, 5], [5, 5, 5], [5]], "and the rest as the process is gone"
    assert len(rows) == 8


def test_the_highest_so_far_and_a_mark_that_was_reset_are_written_at_once_after_those_before():
    reset, slight = (6, 6 + TAKEN + 1), (6, 6 + TAKEN)
    pairs = [(9 + TAKEN, -1), (5, 5), (9 + TAKEN, 10 + TAKEN), (6, 6), reset, slight, (7, 7), None]
    writes = []
    sampled(Probe(pairs), Pace(MS), held=99, writes=writes)
    assert writes == [[9 + TAKEN], [5, 9 + TAKEN], [6, 6], [6, 7]]


def test_told_to_end_or_broken_off_it_leaves_no_row_unwritten():
    pace, probe, writes = Pace(MS), Probe([(9, 9), *[(5, 5)] * 4]), []
    probe.on[4] = pace.set
    sampled(probe, pace, held=99, writes=writes)
    assert writes == [[9], [5, 5, 5, 5]]

    def breaks_at_3(t_ns):
        if t_ns == 3:
            raise ValueError
        return t_ns

    written = []
    sampler = HostSampler(
        Probe([(9, 9), (5, 5), (6, 6)]).readings(),
        lambda rows: not written.extend(rows),
        Pace(MS),
        breaks_at_3,
        held=99,
    )
    with pytest.raises(ValueError):
        sampler.run()
    assert [row[3] for row in written] == [9, 5, 6]


def test_what_is_done_aside_is_done_again_when_it_said():
    asked = []
    aside = lambda t: asked.append(t) or t + 3  # noqa: E731
    sampled(Probe([*[(1, 1)] * 9, None]), Pace(MS), aside=aside)
    assert asked == [1, 4, 7]


class Clock:
    """Moves only when somebody works."""

    def __init__(self):
        self.ns = 1_000 * MS

    def now(self):
        return self.ns


def test_by_the_clock_deadlines_are_multiples_of_the_interval_and_those_missed_are_left_out():
    clock = Clock()
    pace, waits = Pace(10 * MS, timer=False, now=clock.now), []
    pace._told.wait = lambda seconds: waits.append(round(seconds * 1e9))
    wait = pace.begin()
    for worked in (0, 3, 7, 47):
        clock.ns += worked * MS
        wait()
        clock.ns += waits[-1]
    assert waits == [10 * MS, 7 * MS, 3 * MS, 3 * MS]
    assert clock.ns % (10 * MS) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="no timerfd")
def test_a_timer_that_nobody_waited_for_returns_at_once_and_without_a_burst():
    pace = Pace(20 * MS)
    wait = pace.begin()
    wait()
    threading.Event().wait(0.2)
    missed = int.from_bytes(wait(), sys.byteorder)
    assert missed >= 9, "one return for all of them"
    pace.close()


def test_intervals_that_a_reading_may_not_keep_up_with_go_by_the_clock():
    pace = Pace(LEAST_NS - 1)
    pace.begin()
    assert pace._fd == -1
