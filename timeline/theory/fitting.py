"""The largest batch that fits a card, in few runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from timeline.errors import BreakdownError
from timeline.theory import between
from timeline.theory.estimate_types import Estimate

LARGEST = 1 << 20
"""No larger batch is tried, for a program of which every batch fits."""

FARTHEST = 64
"""No batch is tried that is more than so many times one that fitted."""

MOST_GUESSES = 6
"""Guesses that may miss before what is left is halved."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What was found.

    Attributes:
        batch: the largest that fits; 0 if none does.
        estimate: of that batch; of the smallest that can run if none fits.
        next: the smallest that does not fit, and its estimate; None where none was too large
            up to `LARGEST`.
        runs: how many were estimated.
        refused: where none fits, why one less than the smallest cannot run, such as for batch
            normalisation, which has no variance of one row; empty where that is 1.
    """

    batch: int
    estimate: Estimate
    next: tuple[int, Estimate] | None
    runs: int
    refused: str = ""


def largest_batch(
    estimate: Callable[[int], Estimate], fits: Callable[[Estimate], bool], start: int = 8
) -> Fit:
    """Search for it, by guesses from the batches that were estimated.

    The allocator's failure ladder is part of each estimate, so that a batch fits where the cache
    must be given back for it. The batch that is found, and the next, are always estimates.

    Args:
        estimate: of a batch.
        fits: whether an estimate fits.
        start: the first guess.

    Raises:
        BreakdownError: a batch cannot be estimated, and none smaller was too large before.
    """
    known: dict[int, Estimate] = {}
    refused: dict[int, str] = {}

    def ask(batch: int) -> bool:
        if batch not in known:
            try:
                known[batch] = estimate(batch)
            except BreakdownError as error:
                if not high:
                    raise
                # It takes no memory, and what is looked for lies above it.
                refused[batch] = str(error)
                return True
        return fits(known[batch])

    low, high = 0, 0
    batch, missed = start, 0
    while not (high - low == 1 or low >= LARGEST):
        if ask(batch):
            low = batch
        else:
            high = batch
        guess = _guess(known, low, high) if missed < MOST_GUESSES else None
        missed += len(known) > 2
        if guess is not None:
            # A guess that fits is the largest if the next does not.
            batch = max(guess, low + 1) if not high else min(max(guess, low + 1), high - 1)
        elif high:
            batch = (low + high) // 2
        else:
            batch = 2 * low if len(known) == 1 else FARTHEST * low
        batch = min(batch, LARGEST)
    if low in refused:
        return Fit(0, known[high], (high, known[high]), len(known), refused[low])
    if not low:
        ask(1)
    return Fit(low, known[low or 1], (high, known[high]) if high else None, len(known))


def _guess(known: dict[int, Estimate], low: int, high: int) -> int | None:
    """The largest batch that should fit, where two that are known tell."""
    programs = {batch: each.program for batch, each in known.items() if each.program is not None}
    pair = between.line(programs, high or low)
    if pair is None:
        return _by_size(known, low)
    capacity = known[pair[1]].capacity

    def would(batch: int) -> bool:
        return between.fits(between.at(programs, pair, batch), capacity)

    end = high or min(FARTHEST * low, LARGEST)
    # Outwards from the last that fitted, for a program on its way to its end is dear to run.
    fitting, stride = low, max(low // 64, 1)
    while fitting + stride < end and would(fitting + stride):
        fitting, stride = fitting + stride, 2 * stride
    end = min(end, fitting + stride)
    if not high and end == min(FARTHEST * low, LARGEST) and would(end):
        return end
    while end - fitting > 1:
        middle = (fitting + end) // 2
        if would(middle):
            fitting = middle
        else:
            end = middle
    return fitting


def _by_size(known: dict[int, Estimate], low: int) -> int | None:
    """The batch at which a line through two known sizes reaches the most that was seen to fit."""
    complete = sorted(each for each in known if not known[each].out_of_memory)
    if len(complete) < 2:
        return None
    # The furthest apart: what is reserved may go down between two that are near each other.
    first, second = complete[0], complete[-1]
    size = {each: known[each].process_total.expected for each in (first, second)}
    slope = (size[second] - size[first]) / (second - first)
    room = known[second].capacity
    if slope <= 0 or room is None:
        return None
    spare = room + known[second].context.expected - size[second]
    return min(int(second + spare / slope), FARTHEST * low)
