"""The largest batch that fits a card, in few runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from timeline.theory.estimate_types import Estimate

LARGEST = 1 << 20
"""No larger batch is tried, for a program of which every batch fits."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What was found.

    Attributes:
        batch: the largest that fits; 0 if not even 1 does.
        estimate: of that batch; of 1 if none fits.
        next: the smallest that does not fit, and its estimate; None where none was too large
            up to `LARGEST`.
        runs: how many were estimated.
    """

    batch: int
    estimate: Estimate
    next: tuple[int, Estimate] | None
    runs: int


def largest_batch(
    estimate: Callable[[int], Estimate], fits: Callable[[Estimate], bool], start: int = 8
) -> Fit:
    """Search for it: doubled until it is too large, then halved in between.

    The allocator's failure ladder is part of each estimate, so that a batch fits where the cache
    must be given back for it. From two sizes the memory of a batch is close to a line, which gives
    the next guess.

    Args:
        estimate: of a batch.
        fits: whether an estimate fits.
        start: the first guess.
    """
    known: dict[int, Estimate] = {}

    def ask(batch: int) -> bool:
        if batch not in known:
            known[batch] = estimate(batch)
        return fits(known[batch])

    low, high = 0, 0
    batch, stride = start, 0
    while not high and low < LARGEST:
        if not ask(batch):
            high = batch
            break
        low = batch
        guess = _guess(known)
        # Close to the guess by strides that grow, far from it in one leap.
        stride = 2 * stride if stride else max(low // 64, 1)
        far = guess is not None and guess > low + stride
        # A second one of the same size is most likely one of many: in a leap of its own.
        blind = 2 * low if len(known) == 1 else 64 * low
        batch = guess if guess is not None and far else low + stride if guess else blind
        batch = min(batch, LARGEST)
    while high - low > 1:
        guess = _guess(known)
        between = guess is not None and low < guess < high and high - low > 8
        batch = guess if guess is not None and between else (low + high) // 2
        if ask(batch):
            low = batch
        else:
            high = batch
    if not low:
        ask(1)
    return Fit(low, known[low or 1], (high, known[high]) if high else None, len(known))


def _guess(known: dict[int, Estimate]) -> int | None:
    """The batch at which a line through two known sizes reaches the most that was seen to fit."""
    complete = sorted(each for each in known if not known[each].out_of_memory)
    if len(complete) < 2:
        return None
    first, second = complete[-2:]
    size = {each: known[each].process_total.expected for each in (first, second)}
    slope = (size[second] - size[first]) / (second - first)
    room = known[second].capacity
    if slope <= 0 or room is None:
        return None
    spare = room + known[second].context.expected - size[second]
    return int(second + spare / slope)
