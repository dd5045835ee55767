"""The search for the largest batch, on estimates that cost nothing."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from timeline.errors import BreakdownError
from timeline.theory.estimate_types import Range
from timeline.theory.fitting import LARGEST, largest_batch


@dataclass
class Told:
    process_total: Range
    context: Range
    capacity: int
    out_of_memory: str
    program: None = None


def estimator(capacity: int, fixed: int, each: int, jump: int = 0):
    """Estimates of a program that takes a line of memory, with steps of `jump` in it."""

    def estimate(batch: int) -> Told:
        size = fixed + each * batch + (jump * (batch // 10) if jump else 0)
        context = Range(10, 10, 10)
        total = min(size, capacity) + 10
        return Told(Range(total, total, total), context, capacity,
                    "no room" if size > capacity else "")  # fmt: skip

    return estimate


def fits(told: Told) -> bool:
    return not told.out_of_memory


@pytest.mark.parametrize(
    ("capacity", "fixed", "each", "jump"),
    [(12000, 500, 85, 0), (12000, 500, 85, 120), (80000, 100, 3, 7), (1000, 0, 500, 0),
     (9, 0, 1, 0), (100000, 90000, 9999, 0)],
)  # fmt: skip
def test_the_batch_found_fits_and_the_next_does_not(capacity, fixed, each, jump):
    estimate = estimator(capacity, fixed, each, jump)
    found = largest_batch(estimate, fits)
    assert fits(estimate(found.batch))
    assert not fits(estimate(found.batch + 1))
    assert found.next is not None
    assert found.next[0] == found.batch + 1
    assert found.runs <= 14


def test_where_not_even_one_fits_the_answer_is_none():
    found = largest_batch(estimator(100, 200, 1), fits)
    assert found.batch == 0
    assert found.next is not None
    assert found.next[0] == 1


@pytest.mark.parametrize(("capacity", "batch"), [(100, 0), (700, 2), (1600, 5)])
def test_batches_that_are_too_small_to_run_end_the_search_below(capacity, batch):
    plain = estimator(capacity, 100, 300)

    def estimate(size):
        if size < 2:
            raise BreakdownError("more than 1 value per channel")
        return plain(size)

    found = largest_batch(estimate, fits)
    assert (found.batch, found.next[0]) == (batch, batch + 1 if batch else 2)
    assert found.refused == ("" if batch else "more than 1 value per channel")


def test_where_the_first_batch_cannot_run_there_is_no_answer():
    def estimate(size):
        raise BreakdownError("no such layer")

    with pytest.raises(BreakdownError, match="no such layer"):
        largest_batch(estimate, fits)


@pytest.mark.parametrize("each", [0, 1])
def test_where_every_batch_fits_the_largest_that_is_tried_has_no_next(each):
    found = largest_batch(estimator(1 << 40, 50, each), fits)
    assert found.batch == LARGEST
    assert found.next is None
    assert found.runs <= 6
