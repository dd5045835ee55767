"""What a look at the heap explains of a later step's higher peak."""

from dataclasses import replace

import numpy as np
import pytest

from timeline.analysis.later import Later, kept_later
from timeline.analysis.types import Instances
from timeline.recording.anatomy import CATEGORIES, NO_MOMENT, HeapLook, Moment, WeighedPhase

MIB = 1 << 20
PATH = "step/backward"


def phase(path=PATH):
    begin, end = Moment(1, 0, 10, 300, 20), Moment(2, 0, 10, 100, 220)
    sizes = dict.fromkeys(CATEGORIES, 0)
    begin, end = (
        replace(each, file=each.file * MIB, in_use=each.in_use * MIB, free=each.free * MIB)
        for each in (begin, end)
    )
    return WeighedPhase(path, "", NO_MOMENT, 500 * MIB, 0, 0, sizes, (), begin=begin, end=end)


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


def look(number, begin, end):
    return HeapLook(number, tuple(x * MIB for x in begin), tuple(x * MIB for x in end))


def told(looks, peaks=(500, 530), path=PATH):
    found = kept_later(phase(path), instances(*peaks, path=path), looks)
    return found.kept / MIB, found.files / MIB


def test_what_malloc_kept_more_is_named_where_as_much_was_in_use():
    assert told([look(1, (300, 20, 10), (100, 250, 10))]) == (30, 0)
    assert told([look(1, (300, 45, 10), (100, 220, 10))]) == (25, 0)


def test_files_that_came_in_go_first_and_both_are_no_more_than_it_went_higher():
    assert told([look(1, (300, 20, 10), (100, 290, 18))]) == (22, 8)


@pytest.mark.parametrize(("begin", "end"), [(302, 100), (300, 102), (320, 120)])
def test_an_instance_that_held_more_explains_nothing(begin, end):
    assert told([look(1, (begin, 20, 10), (end, 250, 10))]) == (0, 0)


def test_a_little_more_in_use_is_not_called_kept():
    kept, _ = told([look(1, (300.5, 20, 10), (100, 250, 10))])
    assert kept == 29.5


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
