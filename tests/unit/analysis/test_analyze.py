"""Whole analyses: what hostile and odd recordings come to, and invariants of them all."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import make
from synthetic import MS, MiB, recording

from timeline.analysis.analyze import analyze
from timeline.analysis.types import TextMark
from timeline.recording.types import Channel, Kind, Marks, Series

HOST = "host.rss"
S = 10**9


def column(values):
    return np.array(list(values), np.int64)


def series(t, value, high=None, *, name=HOST, exact=True, reason=""):
    t, value = column(t), column(value)
    high = value if high is None else column(high)
    channel = Channel(name, "byte", "linux", exact, reason)
    return Series(channel, t, t, value, high, np.zeros(len(t), bool))


def marks(*rows, names=("a", "b", "c"), thread=()):
    """Marks of (kind, t, phase, name, rss, parent=-1); without rss (-1) they carry time alone."""
    rows = [(*row, -1)[:6] for row in rows]
    kind, t, phase, name, rss, parent = zip(*rows, strict=True) if rows else [()] * 6
    return Marks(
        kind=np.array(kind, np.uint8),
        begun_ns=column(t),
        t_ns=column(t),
        phase=column(phase),
        parent=column(parent),
        thread=column(thread or [1] * len(rows)),
        name=column(name),
        rss=column(rss),
        high=column(rss),
        unseen=np.zeros(len(rows), np.int64),
        names=names,
    )


def analysis(samples, made=None, *, end=None, interval=10, **run):
    """The analysis of samples and marks; the run starts at 0 and an interval is 10 ns."""
    last = [int(samples.t_ns[-1])] if samples is not None and len(samples) else []
    last += [int(made.t_ns[-1])] if made is not None and len(made) else []
    end = max(last, default=0) if end is None else end
    kept = make(samples, made or Marks.none(), start=0, end=end, interval=interval, **run)
    return analyze(kept)


B, E, T = Kind.BEGIN, Kind.END, Kind.TEXT


def test_a_recording_of_nothing_has_nothing_to_tell_and_claims_nothing():
    it = analysis(series([], []))
    [host] = it.channels
    assert (host.peak, host.exact, host.samples, host.peak_phase) == (0, False, 0, None)
    assert host.reason == "nothing was read"
    assert it.phases == ()
    assert it.outside is None
    assert it.duration_ns == 0
    assert it.curves[HOST].gaps_ns.shape == (0, 2)


def test_phases_of_a_run_that_nothing_was_read_of_are_not_exact():
    it = analysis(series([], []), marks((B, 10, 0, 0, -1), (E, 20, 0, 0, -1)), end=100)
    [phase] = it.phases
    assert (phase.peak[HOST].bytes, phase.peak[HOST].exact) == (0, False)
    assert phase.reason
    assert phase.total_ns == 10
    assert it.instances.peak.tolist() == [-1]
    assert not it.outside.peak[HOST].exact
    assert it.outside.total_ns == 90


def test_marks_without_a_channel_still_have_their_peaks_but_are_not_exact():
    it = analysis(None, marks((B, 10, 0, 0, 5), (E, 20, 0, 0, 9)))
    assert it.channels == ()
    assert it.curves == {}
    [phase] = it.phases
    assert (phase.peak[HOST].bytes, phase.peak[HOST].exact) == (9, False)
    assert phase.reason == "host.rss was not sampled"


def test_only_marks_of_a_channel_make_a_curve():
    it = analysis(series([], []), marks((B, 10, 0, 0, 5), (E, 20, 0, 0, 9)))
    assert it.curves[HOST].t_ns.tolist() == [10, 20]
    assert it.channels[0].peak == 9
    assert it.channels[0].samples == 0
    assert it.phases[0].peak[HOST].exact


def test_one_sample_is_a_peak():
    it = analysis(series([5], [7], [11]), end=10)
    [host] = it.channels
    assert (host.peak, host.peak_ns, host.baseline, host.exact) == (11, 5, 7, True)
    assert it.outside.peak[HOST].bytes == 11
    assert it.outside.share == 1.0


def test_an_end_without_a_begin_is_no_phase():
    it = analysis(series([5], [7]), marks((E, 2, 9, 0, 3)))
    assert it.phases == ()
    assert len(it.instances) == 0


def test_of_two_ends_the_first_counts():
    it = analysis(series([50], [7]), marks((B, 10, 0, 0, 1), (E, 20, 0, 0, 1), (E, 30, 0, 0, 1)))
    assert it.phases[0].total_ns == 10


def test_an_end_before_its_begin_leaves_a_phase_of_no_length():
    it = analysis(series([1, 50], [7, 8]), marks((E, 10, 0, 0, 3), (B, 20, 0, 0, 5)))
    assert it.instances.end_ns.tolist() == [20]
    assert it.phases[0].total_ns == 0
    assert not it.phases[0].peak[HOST].exact


def test_a_parent_that_does_not_exist_or_is_the_phase_itself_is_no_parent():
    it = analysis(
        series([1], [1]),
        marks((B, 10, 0, 0, 1, 77), (E, 20, 0, 0, 1), (B, 30, 1, 1, 1, 1), (E, 40, 1, 1, 1),
              (B, 50, 2, 1, 1, 3), (B, 52, 3, 1, 1, 2), (E, 58, 3, 1, 1), (E, 60, 2, 1, 1)),
    )  # fmt: skip
    assert it.instances.parent.tolist() == [-1, -1, -1, 2]
    assert it.instances.lane.tolist() == [0, 0, 0, 1]


def test_phases_of_no_length_have_no_time_and_no_neighbour_s_memory():
    it = analysis(
        series([1, 20], [100, 100], [100, 900]),
        marks((B, 10, 0, 0, 50), (E, 10, 0, 0, 60), (B, 10, 1, 1, 70), (E, 10, 1, 1, 80)),
    )
    assert {each.path: each.peak[HOST].bytes for each in it.phases} == {"a": 60, "b": 80}
    assert [each.total_ns for each in it.phases] == [0, 0]
    assert it.instances.lane.tolist() == [0, 0]


def test_threads_that_overlap_get_lanes_of_their_own_and_each_its_peak():
    it = analysis(
        series([1], [1]),
        marks((B, 10, 0, 0, 10), (B, 20, 1, 1, 20), (E, 30, 0, 0, 90), (E, 40, 1, 1, 5),
              thread=(1, 2, 1, 2)),
    )  # fmt: skip
    assert it.instances.lane.tolist() == [0, 1]
    assert it.instances.thread.tolist() == [1, 2]
    assert {each.path: each.peak[HOST].bytes for each in it.phases} == {"a": 90, "b": 90}
    assert it.channels[0].peak_phase == "b"


def test_all_samples_unknown_is_a_run_that_nothing_was_read_of():
    it = analysis(series([1, 2, 3], [-1, -1, -1], [-1, -1, -1]))
    assert it.channels[0].samples == 3
    assert it.channels[0].reason == "nothing was read"
    assert it.channels[0].exact is False
    assert len(it.curves[HOST].t_ns) == 0


def test_high_water_marks_that_are_not_known_make_the_run_and_its_phases_inexact():
    it = analysis(
        series([5, 15, 25], [7, 8, 9], [7, -1, 9]), marks((B, 10, 0, 0, 7), (E, 20, 0, 0, 7))
    )
    assert not it.channels[0].exact
    assert it.channels[0].reason == "1 of 5 readings leave it open whether there was more"
    assert not it.phases[0].peak[HOST].exact
    assert it.phases[0].peak[HOST].bytes == 8


def test_a_channel_that_is_not_exact_says_so_of_every_phase():
    samples = series([5, 15], [7, 8], [-1, -1], exact=False, reason="psutil reads no mark")
    it = analysis(samples, marks((B, 10, 0, 0, 7), (E, 20, 0, 0, 7)))
    assert not it.instances.exact.any()
    for each in (*it.phases, it.outside):
        assert each.reason == "psutil reads no mark"
        assert not each.peak[HOST].exact
    assert it.phases[0].peak[HOST].bytes == 8


def test_the_peak_is_the_first_of_equal_ones():
    it = analysis(series([1, 2, 3], [5, 9, 9]))
    assert it.channels[0].peak_ns == 2


def test_host_memory_is_the_first_channel_and_the_others_follow_by_name():
    host = series([1], [5])
    more = [series([1], [5], name=name) for name in ("torch.cuda0.allocated", "children.rss")]
    it = analyze(make(host, Marks.none(), start=0, end=9, more=more))
    assert [each.channel.name for each in it.channels] == [
        HOST, "children.rss", "torch.cuda0.allocated",
    ]  # fmt: skip
    assert list(it.curves) == [each.channel.name for each in it.channels]


def test_marks_are_readings_of_host_memory_only():
    host, other = series([1], [5]), series([1], [5], name="children.rss")
    it = analyze(make(host, marks((B, 3, 0, 0, 9), (E, 4, 0, 0, 9)), start=0, end=9, more=[other]))
    assert len(it.curves[HOST].t_ns) == 3
    assert len(it.curves["children.rss"].t_ns) == 1


# Gaps


def test_a_stretch_of_more_than_five_intervals_without_a_reading_is_a_gap():
    it = analysis(series([0, 10, 60, 111, 120], [1, 1, 1, 1, 1]))
    assert it.curves[HOST].gaps_ns.tolist() == [[60, 111]]
    assert it.channels[0].longest_gap_ns == 51


def test_a_mark_s_reading_within_ends_the_gap():
    it = analysis(series([0, 100], [1, 1]), marks((B, 50, 0, 0, 1), (E, 52, 0, 0, 1)))
    assert it.curves[HOST].gaps_ns.tolist() == []
    assert it.channels[0].longest_gap_ns == 100


def test_without_an_asked_for_interval_it_is_that_of_the_samples_however_dense_the_marks_are():
    dense = [(kind, t + kind, t, 0, 1) for t in range(0, 90, 2) for kind in (B, E)]
    it = analysis(series([0, 100, 200, 300, 1000], [1] * 5), marks(*dense), interval=0)
    assert it.curves[HOST].gaps_ns.tolist() == [[300, 1000]]


def test_samples_at_one_moment_make_no_gaps():
    it = analysis(series([5, 5, 5], [1, 2, 3]), interval=0)
    assert it.curves[HOST].gaps_ns.tolist() == []


# The rest


def test_times_count_from_the_start_of_the_run():
    made = recording(100, 2)
    it = analyze(made)
    assert it.duration_ns == 100 * 10 * MS
    assert (it.curves[HOST].t_ns == made.series[HOST].t_ns[0] - made.run.started_ns).any()
    assert it.instances.begin_ns[0] == 1_000
    assert it.instances.end_ns[-1] <= it.duration_ns


def test_a_run_that_ended_before_it_started_has_no_duration():
    it = analysis(series([5], [7]), end=-50)
    assert it.duration_ns == 0
    assert it.outside is None


def test_text_marks_are_told_in_order_and_are_no_phases():
    it = analysis(
        series([1], [1]),
        marks((T, 3, -1, 1, 5), (T, 7, -1, 0, -1), names=("$x$", "epoch 1")),
    )
    assert it.marks == (TextMark(3, "epoch 1"), TextMark(7, "$x$"))
    assert it.phases == ()


def test_details_go_to_their_instance():
    made = marks((B, 1, 40, 0, 1), (E, 2, 40, 0, 1), (B, 3, 7, 0, 1), (E, 4, 7, 0, 1))
    made = replace(made, details={7: "ResNet", 99: "of a phase that is not there"})
    assert analysis(series([1], [1]), made).instances.detail == {1: "ResNet"}


def test_paths_stand_in_the_order_of_their_first_appearance():
    it = analyze(recording(100, 9, paths=("z", "a", "m")))
    assert it.instances.paths == ("z", "a", "m")
    assert [each.path for each in it.phases] == ["z", "a", "m"]
    assert [each.first for each in it.phases] == [0, 1, 2]
    assert it.instances.path.tolist() == [0, 1, 2] * 3


@pytest.mark.parametrize(
    ("argv", "title"),
    [
        (("train.py", "--lr", "1"), "train.py"),
        (("/a/b/train.py",), "train.py"),
        (("C:\\a\\train.py",), "train.py"),
        (("-m", "package.module", "x"), "-m package.module"),
        (("-m",), "-m"),
        (("a/b/",), "a/b/"),
        ((), "recording"),
    ],
)
def test_the_title_is_the_script_or_the_module(argv, title):
    assert analysis(series([1], [1]), argv=argv).title == title


@pytest.mark.parametrize(
    ("run", "ending"),
    [
        ({"how": "exited", "exit_code": 3}, "exited with code 3"),
        ({"how": "exited", "exit_code": None}, "ended"),
        ({"how": "killed", "signal": "SIGKILL"}, "killed by SIGKILL at 1 B"),
        ({"how": "killed"}, "killed, it is not known by what, at 1 B"),
        ({"how": "running"}, "still running"),
        ({"how": "cut-off"}, "cut off: no end was written, at 1 B"),
    ],
)
def test_the_ending_is_a_sentence(run, ending):
    assert analysis(series([1], [1]), **run).ending == ending


rows = st.lists(
    st.tuples(
        st.sampled_from([B, E, T, Kind.READING]),
        st.integers(0, 60),
        st.integers(-1, 8),
        st.integers(0, 2),
        st.integers(-1, 9),
        st.integers(-1, 8),
    ),
    max_size=25,
)
# A known high-water mark never lies under its value: the reader takes such a one as unknown.
samples = st.lists(
    st.tuples(st.integers(0, 60), st.integers(-1, 9), st.integers(-1, 9)).map(
        lambda row: (*row[:2], row[2] if row[2] >= row[1] else -1)
    ),
    max_size=15,
)


@settings(max_examples=400, deadline=None)
@given(rows, samples, st.integers(0, 70), st.integers(0, 20))
def test_no_recording_however_damaged_breaks_the_analysis_or_its_invariants(
    made, taken, end, interval
):
    made = sorted(made, key=lambda row: row[1])
    taken = sorted(taken)
    it = analysis(
        series([t for t, _, _ in taken], [v for _, v, _ in taken], [h for _, _, h in taken]),
        marks(*made),
        end=end,
        interval=interval,
    )
    n = len(it.instances)
    assert n == sum(row[0] == B for row in made)
    assert sum(each.count for each in it.phases) == n
    assert (it.instances.end_ns >= it.instances.begin_ns).all()
    assert (it.instances.parent < np.arange(n)).all()
    assert sum(each.open for each in it.phases) == it.instances.open.sum()
    [host] = it.channels
    highest = max(it.curves[HOST].high, default=0)
    assert host.peak == highest
    for each in it.phases:
        peak = each.peak[HOST]
        assert 0 <= peak.bytes <= highest
        assert peak.delta >= 0
        assert bool(each.reason) != peak.exact
        assert each.path in it.instances.paths
        own = it.instances.peak[it.instances.path == it.instances.paths.index(each.path)]
        if (own >= 0).any():
            assert peak.bytes == own.max()


@settings(max_examples=60, deadline=None)
@given(st.integers(5, 400), st.integers(0, 40), st.booleans(), st.integers(0, 5))
def test_a_whole_run_s_peak_is_the_largest_of_its_phases_and_of_the_time_outside(
    count, phases, gap, seed
):
    it = analyze(recording(count, phases, gap=gap, seed=seed))
    parts = [each.peak[HOST].bytes for each in (*it.phases, *([it.outside] if it.outside else []))]
    [host] = it.channels
    assert host.exact
    assert max(parts) == host.peak
    where = {each.path: each.peak[HOST].bytes for each in it.phases}
    where[None] = it.outside.peak[HOST].bytes if it.outside else -1
    assert where[host.peak_phase] == host.peak


def test_a_hundred_thousand_phases_come_out_as_they_were():
    it = analyze(recording(1000, 100_000))
    assert len(it.instances) == 100_000
    assert it.instances.lanes == 1
    assert [each.count for each in it.phases] == [20_000] * 5
    assert it.channels[0].peak >= 400 * MiB


def test_last_moments_that_nobody_read_cost_the_run_its_exactness():
    killed = analyze(recording(300, 3, end="killed")).channels[0]
    assert not killed.exact
    assert "before it was killed were not seen" in killed.reason
    cut = analyze(recording(300, 3, end="cut-off")).channels[0]
    assert (cut.exact, "cut off" in cut.reason) == (False, True)
    whole = recording(300, 3)
    assert analyze(whole).channels[0].exact
    left = replace(
        whole, run=replace(whole.run, seen_to_end=False, ended_ns=whole.run.ended_ns + 1)
    )
    assert "before it ended were not seen" in analyze(left).channels[0].reason
    assert not analyze(left).outside.peak["host.rss"].exact
    # Bounded by the kernel's word after the end: under the run's peak, over that outside of phases.
    peak = analyze(whole).channels[0].peak
    bounded = analyze(replace(left, run=replace(left.run, last=peak)))
    assert bounded.channels[0].exact
    assert not bounded.outside.peak["host.rss"].exact
    assert analyze(whole).outside.peak["host.rss"].exact


def test_the_start_is_the_first_reading_that_the_program_took():
    made = recording(phases=1)
    host = analyze(made).channels[0]
    assert host.baseline == made.marks.rss[0] != made.series[HOST].value[0]
