"""Streams beside the host's: each in its own thread, and none at another's cost."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest

from timeline.recorder import streams
from timeline.recorder.sampler import Sampler
from timeline.recorder.streams import Streams, Unavailable, Watched

MS = 1_000_000


class Counting:
    """Counts its readings; each may be slow or fail, and some rows may be left out."""

    fields = (("t_ns", "<i8"), ("count", "<i8"))
    share = 1.0

    def __init__(self, name, act=None, most=1 << 60):
        self.name = name
        self.interval_ns = MS
        self.numbers = itertools.count()
        self.act = act or (lambda number: None)
        self.most = most
        self.closed = 0

    def channels(self):
        return {f"{self.name}.count": {"stream": self.name, "value": "count", "exact": False}}

    def missing(self):
        return []

    def read(self):
        number = next(self.numbers)
        if number >= self.most:
            return None
        self.act(number)
        return () if number % 2 else (time.monotonic_ns(), number)

    def close(self):
        self.closed += 1


class Recorded:
    """What `timeline.recorder.beside` would write into meta.json."""

    def __init__(self):
        self.channels = {}
        self.missing = []

    def add(self, channels, missing):
        self.channels.update(channels)
        self.missing += missing


@pytest.fixture
def hosted(tmp_path):
    """Makes the streams of these openers."""
    made = []

    def make(**openers):
        recorded = Recorded()
        watched = Watched(1, str(tmp_path), interval_ns=MS)
        made.append(Streams(watched, recorded.add, openers))
        made[-1].start()
        return made[-1], recorded

    yield make
    for each in made:
        each.stop()


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_each_stream_has_its_file_its_channels_and_its_end(hosted, tmp_path):
    one, two = Counting("one"), Counting("two", most=8)
    all_of_them, recorded = hosted(a=lambda watched: one, b=lambda watched: two)
    until(lambda: all_of_them.rows.get("one", 0) > 5 and two.closed)
    all_of_them.stop()
    assert sorted(recorded.channels) == ["one.count", "two.count"]
    assert (recorded.missing, all_of_them.missing()) == ([], [])
    assert (one.closed, two.closed) == (1, 1)
    assert np.load(tmp_path / "samples.two.npy")["count"].tolist() == [0, 2, 4, 6]
    assert len(np.load(tmp_path / "samples.one.npy")) == all_of_them.rows["one"]


def test_a_reading_that_hangs_delays_no_other_stream_and_no_end(hosted, monkeypatch):
    monkeypatch.setattr(streams, "END_WITHIN_S", 0.2)
    let_go = threading.Event()
    slow = Counting("slow", act=lambda number: let_go.wait(60))
    quick = Counting("quick")
    both, _ = hosted(slow=lambda watched: slow, quick=lambda watched: quick)
    until(lambda: both.rows.get("quick", 0) > 20)
    began = time.monotonic()
    both.stop()
    assert time.monotonic() - began < 20
    assert both.missing() == ["samples of slow end early: a reading took too long"]
    let_go.set()


def test_an_error_costs_its_stream_alone_and_leaves_a_sentence(hosted):
    def fail(number):
        if number == 4:
            raise OSError("the driver is gone")

    bad, good = Counting("bad", act=fail), Counting("good")
    both, _ = hosted(bad=lambda watched: bad, good=lambda watched: good)
    until(lambda: bad.closed)
    rows = both.rows.get("good", 0)
    until(lambda: both.rows.get("good", 0) > rows)
    both.stop()
    assert both.missing() == ["samples of bad end early: OSError: the driver is gone"]
    assert both.rows["bad"] == 2


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (Unavailable("no GPU: driver not loaded"), "no GPU: driver not loaded"),
        (ImportError("no module named pynvml"), "no samples of gpu: ImportError: no module named"),
    ],
)
def test_a_stream_that_cannot_be_opened_is_a_sentence_from_the_start(hosted, error, sentence):
    def open_stream(watched):
        raise error

    one, recorded = hosted(gpu=open_stream)
    until(lambda: recorded.missing)
    one.stop()
    assert recorded.missing[0].startswith(sentence)
    assert one.missing() == recorded.missing
    assert (one.rows, recorded.channels) == ({}, {})


def test_a_file_that_is_there_already_costs_the_stream(hosted, tmp_path):
    (tmp_path / "samples.one.npy").write_bytes(b"another's")
    one, _ = hosted(one=lambda watched: Counting("one"))
    until(one.missing)
    one.stop()
    assert "samples.one.npy" in one.missing()[0]
    assert (tmp_path / "samples.one.npy").read_bytes() == b"another's"


class Spending:
    """A clock of which a part is CPU time."""

    def __init__(self, told_after):
        self.ns = 0
        self.spent = 0
        self.waits = 0
        self.told_after = told_after

    def wait(self, seconds):
        self.ns += round(seconds * 1e9)
        self.waits += 1
        return self.waits >= self.told_after

    def read(self):
        begun = self.ns
        self.ns += 30 * MS
        self.spent += 2 * MS
        return (begun,)


def test_readings_keep_to_their_share_of_a_cpu_and_to_the_grid_once_the_savings_are_spent():
    clock = Spending(told_after=200)
    begun = []
    Sampler(
        clock,
        lambda t: begun.append(t) or True,
        interval_ns=10 * MS,
        now=lambda: clock.ns,
        wait=clock.wait,
        share=0.01,
        spent=lambda: clock.spent,
    ).run()
    apart = [(after - before) // MS for before, after in itertools.pairwise(begun)]
    # 2 ms in each 200; the 28 ms that a reading was held up have cost nobody anything. First,
    # every 40 ms, come those that the savings pay for.
    assert set(apart[:120]) == {40}
    assert set(apart[130:]) == {200}
