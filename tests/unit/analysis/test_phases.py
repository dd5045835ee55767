"""Phases against a simulated process of which everything is known."""

import itertools

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from simulated import World

from timeline.analysis.analyze import analyze
from timeline.analysis.phases import lanes

HOST = "host.rss"

actions = st.lists(
    st.one_of(
        st.tuples(st.just("change"), st.integers(1, 1000)),
        st.tuples(st.just("begin"), st.sampled_from("abc")),
        st.tuples(st.just("end"), st.sampled_from([-1, -1, 0, 1])),
        st.just(("sampler",)),
        st.just(("sampler",)),
        st.just(("sample",)),
    ),
    max_size=40,
)


def played(actions, *, dense):
    """The world after these actions, all phases ended and everything read once more."""
    world = World()
    exact = iter(dense)
    for name, *what in actions:
        if name == "begin":
            world.begin(*what, not next(exact, False))
        elif name == "end":
            world.end(not next(exact, False), *what)
        else:
            getattr(world, name)(*what)
    while world.reading:
        world.sampler()
    while world.open:
        world.end(not next(exact, False))
    world.sample()
    return world


def spans_of(world):
    """(path, begin, end) of every phase, by the marks' own times."""
    begins = {row[5]: (row[7], row[2]) for row in world.marks if row[0] == 0}
    ends = {row[5]: row[2] for row in world.marks if row[0] == 1}
    return [(path, t, ends[number]) for number, (path, t) in sorted(begins.items())]


def check_never_more_than_the_truth(analysis, world):
    """No peak is above the truth, and one that is called exact is the truth."""
    truth = {}
    for i, (path, begin, end) in enumerate(spans_of(world)):
        true = world.highest(begin, end)
        peak = int(analysis.instances.peak[i])
        assert peak <= true
        if analysis.instances.exact[i]:
            assert peak == true
        truth[path] = max(truth.get(path, 0), true)
    assert {each.path for each in analysis.phases} == set(truth)
    for each in analysis.phases:
        peak = each.peak[HOST]
        if "no reading was taken" not in each.reason:
            assert peak.bytes <= truth[each.path]
        if peak.exact:
            event("a phase is exact")
            assert peak.bytes == truth[each.path]
            assert each.reason == ""
        else:
            event("a phase is not exact")
            assert each.reason


@settings(max_examples=600, deadline=None)
@given(actions)
def test_a_peak_that_is_called_exact_is_the_truth(actions):
    world = played(actions, dense=[])
    analysis = analyze(world.recording())
    check_never_more_than_the_truth(analysis, world)


@settings(max_examples=600, deadline=None)
@given(actions, st.lists(st.booleans(), max_size=30))
def test_it_is_also_where_marks_carry_time_alone(actions, dense):
    world = played(actions, dense=dense)
    check_never_more_than_the_truth(analyze(world.recording()), world)


@settings(max_examples=300, deadline=None)
@given(actions)
def test_with_a_reading_at_every_border_and_none_disturbed_every_peak_is_exact(actions):
    calm = [("sample",) if each == ("sampler",) else each for each in actions]
    world = played(calm, dense=[])
    analysis = analyze(world.recording())
    assert all(each.peak[HOST].exact for each in analysis.phases)
    assert analysis.instances.exact.all()
    assert analysis.channels[0].exact
    assert analysis.channels[0].peak == world.highest(0, world.clock)
    outside = analysis.outside
    assert outside is None or outside.peak[HOST].exact


@settings(max_examples=400, deadline=None)
@given(actions, st.lists(st.booleans(), max_size=30))
def test_the_run_and_the_time_outside_are_never_above_the_truth(actions, dense):
    world = played(actions, dense=dense)
    analysis = analyze(world.recording())
    [host] = analysis.channels
    true = world.highest(0, world.clock)
    assert host.peak <= true
    if host.exact:
        assert host.peak == true
    spans = spans_of(world)
    moments = [(t, level) for t, level in world.history]
    edges = sorted({t for _, begin, end in spans for t in (begin, end)} | {0, world.clock})
    stretches = [
        (left, right)
        for left, right in itertools.pairwise(edges)
        if not any(begin <= left and right <= end for _, begin, end in spans)
    ]
    assert moments
    if analysis.outside is None:
        assert not any(right > world.recording().run.started_ns for _, right in stretches)
        return
    outside = max(world.highest(*each) for each in stretches)
    peak = analysis.outside.peak[HOST]
    if "no reading was taken" not in analysis.outside.reason:
        assert peak.bytes <= outside
    if peak.exact:
        assert peak.bytes == outside
    covered = sum(right - max(left, world.history[0][0]) for left, right in stretches)
    assert analysis.outside.total_ns == covered


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20), st.integers(0, 9)), max_size=30))
def test_no_two_phases_overlap_in_a_lane_and_a_child_is_under_its_parent(rows):
    rows = sorted(rows)
    begin = np.array([row[0] for row in rows], np.int64)
    end = begin + np.array([row[1] for row in rows], np.int64)
    parent = np.array([i - 1 - row[2] for i, row in enumerate(rows)], np.int64)
    parent = np.maximum(parent, -1)
    lane = lanes(begin, end, parent)
    assert (lane >= 0).all()
    for i in range(len(rows)):
        if parent[i] >= 0:
            assert lane[i] > lane[parent[i]]
        for j in range(i):
            if lane[i] == lane[j]:
                assert end[j] <= begin[i] or end[i] <= begin[j]


def test_a_lane_is_used_again_as_soon_as_it_is_free():
    begin, end = np.array([0, 5, 10, 12]), np.array([10, 15, 20, 14])
    none = np.full(4, -1)
    assert lanes(begin, end, none).tolist() == [0, 1, 0, 2]


def test_phases_nested_a_thousand_deep_get_a_lane_each():
    n = 1000
    begin, end = np.arange(n), 3 * n - np.arange(n)
    assert lanes(begin, end, np.arange(n) - 1).tolist() == list(range(n))


def test_no_phase_has_no_lane():
    none = np.empty(0, np.int64)
    assert lanes(none, none, none).tolist() == []


def test_a_peak_just_before_a_phase_is_not_its_peak():
    world = World()
    world.change(900)
    world.change(100)
    world.begin("a", True)
    world.change(300)
    world.change(50)
    world.end(True)
    world.change(700)
    world.change(60)
    world.sample()
    analysis = analyze(world.recording())
    [phase] = analysis.phases
    peak = phase.peak[HOST]
    assert (peak.bytes, peak.delta, peak.kept, peak.exact) == (300, 200, -50, True)
    assert analysis.outside.peak[HOST].bytes == 900
    assert analysis.channels[0].peak_phase is None


def test_a_spike_inside_a_child_is_also_the_parent_s_and_named_by_the_child():
    world = World()
    world.begin("a", True)
    world.begin("b", True)
    world.change(800)
    world.change(100)
    world.end(True)
    world.change(200)
    world.end(True)
    analysis = analyze(world.recording())
    assert {each.path: each.peak[HOST].bytes for each in analysis.phases} == {"a": 800, "b": 800}
    assert analysis.channels[0].peak_phase == "b"
    assert analysis.instances.parent.tolist() == [-1, 0]
    assert analysis.instances.lane.tolist() == [0, 1]


def test_a_sample_taken_around_a_mark_counts_for_no_phase_that_it_may_not_belong_to():
    world = World()
    world.change(900)
    world.change(100)
    world.sampler()  # begins
    world.sampler()  # looks: 900
    world.begin("a", True)
    world.sampler()  # is stamped within the phase
    world.sampler()
    world.end(True)
    analysis = analyze(world.recording())
    assert analysis.phases[0].peak[HOST].bytes == 100
    assert analysis.phases[0].peak[HOST].exact


def test_what_a_sampler_s_reset_wiped_out_after_a_begin_makes_that_phase_inexact():
    world = World()
    world.sampler()
    world.sampler()
    world.sampler()  # looked and stamped, but not reset
    world.begin("a", True)
    world.change(900)
    world.change(100)
    world.sampler()  # resets: 900 is lost
    world.end(True)
    analysis = analyze(world.recording())
    peak = analysis.phases[0].peak[HOST]
    assert (peak.bytes, peak.exact) == (100, False)
    assert "could not be relied on" in analysis.phases[0].reason
    assert not analysis.channels[0].exact


def test_a_sample_s_reading_that_reset_before_the_mark_looked_still_counts_before_it():
    world = World()
    world.begin("a", True)
    world.change(900)
    world.change(100)
    world.sample()
    begun, t, *_ = world.samples[0]
    world.end(True)
    # The end began to read while the sampler's reading was not over yet.
    kind, _, *rest = world.marks[1]
    world.marks[1] = (kind, (begun + t) // 2, *rest)
    peak = analyze(world.recording()).phases[0].peak[HOST]
    assert (peak.bytes, peak.exact) == (900, True)


def test_between_marks_of_time_alone_a_flat_stretch_is_still_exact():
    world = World()
    world.sample()
    world.begin("a", False)
    world.sample()
    world.end(False)
    world.sample()
    phase = analyze(world.recording()).phases[0]
    assert (phase.peak[HOST].bytes, phase.peak[HOST].exact) == (100, True)


def test_between_marks_of_time_alone_a_spike_nearby_makes_it_inexact():
    world = World()
    world.sample()
    world.begin("a", False)
    world.sample()
    world.end(False)
    world.change(700)
    world.change(100)
    world.sample()
    phase = analyze(world.recording()).phases[0]
    assert (phase.peak[HOST].bytes, phase.peak[HOST].exact) == (100, False)
    assert phase.reason == "an instance of it began or ended without a reading of its own"


def test_a_phase_without_any_reading_inside_says_so():
    world = World()
    world.change(250)
    world.sample()
    world.begin("a", False)
    world.end(False)
    world.sample()
    analysis = analyze(world.recording())
    phase = analysis.phases[0]
    assert (phase.peak[HOST].bytes, phase.peak[HOST].exact) == (250, False)
    assert "no reading was taken inside" in phase.reason
    assert analysis.instances.peak.tolist() == [-1]
    assert analysis.instances.exact.tolist() == [False]


def test_a_phase_with_the_exact_peak_of_the_run_is_exact_whatever_its_borders_tell():
    world = World()
    world.begin("a", False)
    world.change(400)
    world.sample()
    world.change(50)
    world.end("a", False)
    world.sample()
    analysis = analyze(world.recording())
    assert analysis.channels[0].exact
    assert analysis.channels[0].peak == analysis.phases[0].peak[HOST].bytes == 400
    assert analysis.phases[0].peak[HOST].exact
    assert not analysis.phases[0].reason


def test_an_open_phase_reaches_to_the_end_and_is_not_exact():
    world = World()
    world.change(500)
    world.change(100)
    world.begin("a", True)
    world.change(400)
    world.sample()
    world.tick(1_000_000)
    analysis = analyze(world.recording())
    phase = analysis.phases[0]
    assert (phase.count, phase.open) == (1, 1)
    assert phase.peak[HOST].bytes == 400
    assert not phase.peak[HOST].exact
    assert phase.reason == "an instance of it never ended"
    assert phase.peak[HOST].kept == 0
    assert analysis.instances.end_ns[0] == analysis.duration_ns


def test_counts_times_and_what_is_kept_are_summed_over_the_instances():
    world = World()
    for level in (300, 500, 450):
        world.begin("a", True)
        world.change(level)
        world.end(True)
    analysis = analyze(world.recording())
    [phase] = analysis.phases
    spans = spans_of(world)
    assert phase.count == 3
    assert phase.total_ns == sum(end - begin for _, begin, end in spans)
    assert phase.share == pytest.approx(phase.total_ns / analysis.duration_ns)
    assert phase.peak[HOST].bytes == 500
    assert phase.peak[HOST].delta == 200
    assert phase.peak[HOST].kept == 350
    assert phase.peak[HOST].t_ns == spans[1][2] - world.history[0][0]
