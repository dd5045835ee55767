import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import recording

from timeline.analysis.analyze import analyze
from timeline.analysis.decimation import decimate
from timeline.analysis.types import Curve
from timeline.recording.types import Channel

CHANNEL = Channel("host.rss", "byte", "linux", exact=True)


def curve(t, value, high=None, gaps=()):
    t, value = np.array(t, np.int64), np.array(value, np.int64)
    high = value if high is None else np.array(high, np.int64)
    gaps = np.array(gaps, np.int64).reshape(-1, 2)
    return Curve(CHANNEL, t, value, high, np.ones(len(t), bool), gaps)


@st.composite
def curves(draw):
    steps = draw(st.lists(st.integers(0, 50), max_size=120))
    t = np.cumsum(np.array(steps, np.int64))
    value = np.array(draw(st.lists(st.integers(0, 1 << 45), min_size=len(t), max_size=len(t))))
    above = np.array(draw(st.lists(st.integers(0, 1 << 45), min_size=len(t), max_size=len(t))))
    wide = np.flatnonzero(np.diff(t) > 30)
    return curve(t, value, value + above, np.stack((t[wide], t[wide + 1]), 1))


windows = st.tuples(st.integers(-10, 6000), st.integers(0, 6000)).map(lambda w: (w[0], sum(w)))


@given(curves(), windows, st.integers(1, 40))
def test_every_window_keeps_its_extremes_to_the_byte_and_nothing_from_outside(it, window, buckets):
    start, end = window
    inside = (it.t_ns >= start) & (it.t_ns <= end)
    out = decimate(it, start, end, buckets)
    assert len(out) <= buckets
    assert out.count.sum() == inside.sum()
    if not inside.any():
        assert len(out) == 0
        return
    assert out.low.min() == it.value[inside].min()
    assert out.top.max() == it.value[inside].max()
    assert out.high.max() == it.high[inside].max()
    assert (out.begin_ns[0], out.end_ns[-1]) == (it.t_ns[inside][0], it.t_ns[inside][-1])
    assert (out.first[0], out.last[-1]) == (it.value[inside][0], it.value[inside][-1])


@given(curves(), windows, st.integers(1, 40))
def test_every_bucket_tells_its_own_readings(it, window, buckets):
    out = decimate(it, *window, buckets)
    at = int(np.searchsorted(it.t_ns, window[0]))
    for i, n in enumerate(out.count.tolist()):
        value, high = it.value[at : at + n], it.high[at : at + n]
        assert (out.begin_ns[i], out.end_ns[i]) == (it.t_ns[at], it.t_ns[at + n - 1])
        assert (out.first[i], out.last[i]) == (value[0], value[-1])
        assert (out.low[i], out.top[i], out.high[i]) == (value.min(), value.max(), high.max())
        at += n


@given(curves(), st.integers(1, 40))
def test_no_line_crosses_a_gap_wider_than_a_bucket(it, buckets):
    if not len(it.t_ns):
        return
    span = int(it.t_ns[-1]) + 1
    t, value = decimate(it, 0, span - 1, buckets).line()
    assert (np.isnan(t) == np.isnan(value)).all()
    for left, right in it.gaps_ns.tolist():
        if right - left > -(-span // buckets):
            for a, b in itertools.pairwise(t):
                assert not (a <= left and b >= right), f"{left}..{right} is crossed"


@given(curves(), windows, st.integers(1, 40))
def test_the_line_has_the_extremes_and_both_ends(it, window, buckets):
    inside = (it.t_ns >= window[0]) & (it.t_ns <= window[1])
    t, value = decimate(it, *window, buckets).line()
    if not inside.any():
        assert len(t) == 0
        return
    assert np.nanmax(value) == it.value[inside].max()
    assert np.nanmin(value) == it.value[inside].min()
    assert (value[0], value[-1]) == (it.value[inside][0], it.value[inside][-1])
    assert (np.diff(t[~np.isnan(t)]) >= 0).all()


def test_readings_that_fit_keep_a_bucket_each():
    out = decimate(curve([5, 7, 7, 9], [1, 4, 2, 3]), 0, 10, 4)
    assert out.count.tolist() == [1, 1, 1, 1]
    t, value = out.line()
    assert t.tolist() == [5, 7, 7, 9]
    assert value.tolist() == [1, 4, 2, 3]


def test_a_gap_breaks_the_line_where_it_is():
    out = decimate(curve([0, 1, 9, 10], [1, 2, 3, 4], gaps=[(1, 9)]), 0, 10, 4)
    assert out.broken.tolist() == [False, False, True, False]
    t, _ = out.line()
    assert np.isnan(t).tolist() == [False, False, True, False, False]


def test_a_window_that_starts_after_a_gap_starts_unbroken():
    out = decimate(curve([0, 1, 9, 10], [1, 2, 3, 4], gaps=[(1, 9)]), 5, 10, 4)
    assert out.broken.tolist() == [False, False]


def test_times_of_years_do_not_overflow():
    year = 365 * 86400 * 10**9
    t = np.linspace(0, 200 * year, 10_000).astype(np.int64)
    out = decimate(curve(t, np.arange(10_000)), 0, int(t[-1]), 4000)
    assert out.count.sum() == 10_000
    assert out.high.max() == 9_999
    assert (np.diff(out.begin_ns) > 0).all()


@settings(max_examples=20)
@given(st.integers(0, 100), st.integers(1, 3000))
def test_a_long_recording_keeps_its_peak_at_any_number_of_buckets(seed, buckets):
    analysis = analyze(recording(20_000, 50, seed=seed))
    host = analysis.curves["host.rss"]
    out = decimate(host, 0, analysis.duration_ns, buckets)
    assert out.high.max() == analysis.channels[0].peak
