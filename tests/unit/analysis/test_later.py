"""What a look at the heap explains of a later step's higher peak."""

from dataclasses import replace

import numpy as np
import pytest

from timeline.analysis.later import Later, kept_later
from timeline.analysis.types import Instances
from timeline.recording.anatomy import NO_MOMENT, HeapLook, Moment, WeighedPhase
from timeline.recording.weighed.facts import CATEGORIES

MIB = 1 << 20
PATH = "step/backward"


def phase(path=PATH, **moments):
    begin, end = Moment(1, 0, 10, 300, 20), Moment(2, 0, 10, 100, 220)
    sizes = dict.fromkeys(CATEGORIES, 0)
    begin, end = (
        replace(each, file=each.file * MIB, in_use=each.in_use * MIB, free=each.free * MIB)
        for each in (begin, end)
    )
    weighed = WeighedPhase(path, "", NO_MOMENT, 500 * MIB, 0, 0, sizes, (), begin=begin, end=end)
    return replace(weighed, **moments)


def instances(*peaks, path=PATH):
    count = len(peaks)
    begin = np.arange(count) * 10
    none, no = np.full(count, -1), np.zeros(count, bool)
    peak = np.array(peaks) * MIB
    number = np.arange(count)
    return Instances(
        np.zeros(count, int), begin, begin + 5, no, none, none, number, none, peak, none, ~no, {},
        (path,),
    )  # fmt: skip


def look(number, begin, end, most=-1):
    sizes = ([x if x == -1 else int(x * MIB) for x in state] for state in (begin, end, [most]))
    begin, end, (most,) = map(tuple, sizes)
    return HeapLook(number, begin, end, most)


def told(looks, peaks=(500, 530), path=PATH, most=-1, **moments):
    found = kept_later(
        phase(path, **moments),
        instances(*peaks, path=path),
        looks,
        most if most < 0 else most * MIB,
    )
    return found.kept / MIB, found.files / MIB


def test_what_malloc_kept_more_is_named_where_as_much_was_in_use():
    assert told([look(1, (300, 20, 10), (100, 250, 10))]) == (30, 0)
    assert told([look(1, (300, 45, 10), (100, 220, 10))]) == (25, 0)


def test_files_that_came_in_go_first_and_both_are_no_more_than_it_went_higher():
    assert told([look(1, (300, 20, 10), (100, 290, 18))]) == (22, 8)


@pytest.mark.parametrize(("begin", "end"), [(302, 100), (300, 102), (320, 105)])
def test_an_instance_that_did_something_else_explains_nothing(begin, end):
    assert told([look(1, (begin, 20, 10), (end, 250, 10))]) == (0, 0)


@pytest.mark.parametrize(("begin", "end", "kept"), [(300.5, 100, 29.5), (307, 107, 23)])
def test_what_is_more_in_use_all_the_time_is_not_called_kept(begin, end, kept):
    assert told([look(1, (begin, 20, 10), (end, 290, 10))]) == (kept, 0)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_more_in_use_after_a_forward_is_its_own_unless_it_was_so_between_steps(order):
    unlooked = (-1, -1, -1)
    others = replace(phase(), path="step/optimizer"), replace(phase(), path="step/loss")
    peaks = instances(500, 530, 500)
    paths = ("step/forward", "step/optimizer", "step/loss")
    peaks = replace(peaks, path=np.array([1, 0, 2]), paths=paths)

    def kept(between, number=0):
        looks = [look(number, unlooked, (between, 220, 10)), look(1, unlooked, (107, 250, 10))]
        looks = [looks[i] for i in order]
        found = kept_later(phase("step/forward"), peaks, looks, -1, others)
        return found.kept / MIB

    assert kept(107) == 23
    assert kept(100) == kept(120) == 0
    assert kept(107, number=2) == 0  # after a loss the graph is there


def test_what_was_given_back_before_the_end_is_told_by_how_large_the_heap_had_been():
    at, after = Moment(1, 480 * MIB, 0, 0, 0, 300 * MIB), Moment(2, 490 * MIB, 0, 0, 0, 310 * MIB)
    moments = {"at": at, "after": after}

    def kept(most, when_weighed=325, **other):
        looks = [look(1, (300, 20, 10), (100, 220, 10), most)]
        return told(looks, most=when_weighed, **{**moments, **other})[0]

    # The weighed phase went 20 MiB above its first moment: its heap was 320 at the peak.
    assert kept(345) == 25
    assert kept(360) == 30  # and no more than it went higher
    assert kept(325) == kept(310) == 0  # that large it was before
    assert kept(345, -1) == kept(-1) == 0
    assert kept(345, at=replace(at, heap=-1)) == 0


def test_a_backward_is_known_by_both_its_ends_and_others_by_what_they_leave():
    looks = [look(1, (-1, -1, -1), (100, 250, 10))]
    assert told(looks) == (0, 0)
    assert told(looks, path="step/forward") == (30, 0)
    assert told([look(1, (-1, -1, -1), (102, 250, 10))], path="step/forward") == (0, 0)


def test_the_highest_that_was_looked_at_counts_and_the_rest_stays_unexplained():
    looks = [look(1, (300, 20, 10), (100, 230, 10)), look(2, (300, 20, 10), (100, 235, 10))]
    assert told(looks, (500, 510, 515, 522)) == (15, 0)


def test_of_an_inference_nothing_is_concluded():
    assert told([look(1, (300, 20, 10), (100, 250, 10))], path="inference") == (0, 0)


def test_what_is_not_known_explains_nothing():
    unknown = HeapLook(1, (-1, -1, -1), (-1, -1, -1))
    assert kept_later(phase(), instances(500, 530), [unknown]) == Later()
    gone = [look(7, (300, 20, 10), (100, 250, 10))]
    assert told(gone) == (0, 0)
