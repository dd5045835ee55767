"""A recording without marks finds its place on an estimate by what is allocated when it begins."""

from __future__ import annotations

import numpy as np
import pytest

from timeline.analysis.overlay import _stretch
from timeline.recording.types import Channel, Series
from timeline.theory.estimate_types import Course

# Loading up to 10, a first step from 10 to 30, and two more from 30 to 30, of ten events each.
ALLOCATED = [*range(1, 11), *range(12, 32, 2), *[50] * 9, 30, *[50] * 9, 30]


def course() -> Course:
    return Course(ALLOCATED, ALLOCATED, {}, [(0, "load")], [10, 20, 30])


def series(first: int, events: int) -> Series:
    column = np.full(events, first, np.int64)
    name = Channel("torch.cuda0.allocated", "byte", "snapshot", exact=True)
    return Series(name, column, column, column, column, column)


@pytest.mark.parametrize(
    ("first", "events", "stretch"),
    [
        (0, 40, (0, 39)),  # the whole program
        (10, 10, (10, 19)),  # its first step
        (30, 9, (20, 29)),  # one that has the optimizer's state
        (31, 21, (20, 39)),  # two of them
        (30, 500, (20, 39)),  # more than was predicted
    ],
)
def test_it_begins_where_as_much_is_allocated_and_has_as_many_steps(first, events, stretch):
    assert _stretch(series(first, events), course()) == stretch
