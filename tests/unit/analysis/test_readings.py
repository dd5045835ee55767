import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from timeline.analysis.readings import NO_CEILING, all_true, first_largest, held, largest, merge
from timeline.recording.format import LIMIT
from timeline.recording.types import Channel, Kind, Marks, Series

CHANNEL = Channel("host.rss", "byte", "linux", exact=True)
US = 1_000


def column(values):
    return np.array(values, np.int64)


def series(*rows):
    """Samples of (begun, t, value, high, unseen)."""
    rows = [(*row, 0)[:5] for row in rows]
    begun, t, value, high, unseen = zip(*rows, strict=True) if rows else [()] * 5
    return Series(CHANNEL, column(begun), column(t), column(value), column(high), column(unseen))


def marks(*rows):
    """Bare readings of (begun, t, rss, high, unseen)."""
    rows = [(*row, 0)[:5] for row in rows]
    begun, t, rss, high, unseen = zip(*rows, strict=True) if rows else [()] * 5
    none = column([-1] * len(rows))
    kind = np.full(len(rows), Kind.READING, np.uint8)
    return Marks(
        kind, column(begun), column(t), none, none, none, none, column(rss), column(high),
        column(unseen), names=(),
    )  # fmt: skip


def test_samples_and_marks_come_in_one_order_of_time():
    out = merge(series((9, 10, 1, 2), (29, 30, 3, 6)), marks((19, 20, 5, 6), (39, 40, 7, 8)))
    assert out.t_ns.tolist() == [10, 20, 30, 40]
    assert out.value.tolist() == [1, 5, 3, 7]
    assert out.high.tolist() == out.own.tolist() == [2, 6, 6, 8]
    assert out.of_mark.tolist() == [1, 3]
    assert out.known.all()
    assert (out.ceiling == out.high).all()
    assert out.placed.all()


def test_marks_with_time_alone_are_no_readings():
    out = merge(series((9, 10, 1, 2)), marks((5, 5, -1, -1), (20, 20, 5, 6), (30, 30, -1, -1)))
    assert out.t_ns.tolist() == [10, 20]
    assert out.of_mark.tolist() == [-1, 1, -1]


def test_a_sample_that_could_not_be_had_is_left_out():
    out = merge(series((9, 10, -1, -1), (19, 20, 3, 4)), None)
    assert out.t_ns.tolist() == [20]


def test_a_high_water_mark_that_is_not_known_is_at_least_the_value():
    out = merge(series((9, 10, 7, -1)), None)
    assert (out.high.tolist(), out.known.tolist(), out.ceiling.tolist()) == (
        [7],
        [False],
        [NO_CEILING],
    )


def test_neither_samples_nor_marks_make_no_readings():
    for out in (merge(None, None), merge(series(), marks()), merge(None, marks((1, 1, -1, -1)))):
        assert len(out) == 0
    assert merge(None, marks((1, 1, -1, -1))).of_mark.tolist() == [-1]


def test_marks_alone_are_readings_too():
    out = merge(None, marks((1, 2, 3, 4)))
    assert (out.high.tolist(), out.ceiling.tolist()) == ([4], [4])


def test_a_sample_that_ran_past_a_mark_and_saw_no_more_than_it_belongs_to_neither_side():
    out = merge(series((10, 30, 1, 9)), marks((18, 20, 1, 9)))
    assert out.t_ns.tolist() == [20, 30]
    assert out.own.tolist() == [9, -1]
    assert out.placed.all()  # it took 20 ns: too short for anything to hide in


def test_a_sample_that_ran_past_a_mark_and_saw_more_saw_it_after():
    out = merge(series((10, 30, 1, 11)), marks((18, 20, 1, 9)))
    assert out.own.tolist() == [9, 11]


def test_a_sample_held_up_past_a_mark_is_not_relied_on():
    out = merge(series((10, 10 + 500 * US, 1, 9)), marks((18, 20, 1, 9)))
    assert out.known.tolist() == [True, True]
    assert out.placed.tolist() == [True, False]


def test_a_sample_that_was_over_before_the_mark_counts_before_it():
    out = merge(series((10, 19, 1, 99)), marks((18, 20, 1, 9)))
    assert out.own.tolist() == [99, 9]


def test_what_grew_unseen_behind_a_sample_is_over_what_each_reading_saw_up_to_the_next_sample():
    out = merge(
        series((9, 10, 1, 2, 100), (49, 50, 3, 4), (69, 70, 3, 4)),
        marks((19, 20, 5, 6), (29, 30, 7, 8), (59, 60, 5, 6)),
    )
    assert out.t_ns.tolist() == [10, 20, 30, 50, 60, 70]
    assert out.known.all()
    assert out.ceiling.tolist() == [2, 101, 105, 107, 6, 5]


def test_what_grew_unseen_in_a_mark_lies_before_it():
    out = merge(series((9, 10, 1, 2)), marks((19, 20, 5, 6, 100), (29, 30, 5, 200)))
    assert out.ceiling.tolist() == [2, 105, 200]


def test_a_fall_behind_a_sample_leaves_what_it_saw_itself():
    out = merge(series((9, 10, 50, 60), (29, 30, 1, 2)), marks((39, 40, 1, 2)))
    assert out.ceiling.tolist() == [60, 50, 2]


def test_nobody_sees_what_grew_unseen_behind_the_last_sample():
    assert merge(series((9, 10, 1, 2, 100)), None).ceiling.tolist() == [101]


def test_growth_that_is_not_known_has_no_ceiling():
    out = merge(series((9, 10, 1, 2, LIMIT), (19, 20, 1, 2)), None)
    assert out.ceiling.tolist() == [2, NO_CEILING]


@given(
    st.lists(st.integers(-1, 50), min_size=1, max_size=40),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=20),
)
def test_the_largest_of_each_stretch_is_python_s_max(values, stretches):
    n = len(values)
    pairs = [(min(a, n), min(b, n)) for a, b in stretches]
    start, stop = column([a for a, _ in pairs]), column([b for _, b in pairs])
    out = largest(column(values), start, stop)
    assert out.tolist() == [max(values[a:b], default=-1) for a, b in pairs]
    flags = np.array(values) > 10
    every = all_true(flags, start, stop)
    assert every.tolist() == [all(flags[a:b]) for a, b in pairs]


def test_of_equal_largest_the_first_counts():
    assert first_largest(column([9, 1, 5, 5, 2]), 1, 5) == 2


def test_between_two_changes_nothing_moved():
    found = merge(
        series((10, 10, 1, 1), (11, 11, 3, 3), (9_000, 9_000, 7, 7), (50_000, 50_000, 2, 2)), None
    )
    steps = held(found)
    assert steps.t_ns.tolist() == [10, 11, 8_999, 9_000, 49_999, 50_000]
    assert steps.value.tolist() == [1, 3, 3, 7, 7, 2]
    assert steps.high.tolist() == steps.value.tolist()
