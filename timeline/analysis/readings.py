"""All readings of one channel in one order of time, and the largest of them in any stretch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from timeline.recording.types import UNKNOWN, Ints, Marks, Series


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """The sampler's readings and the marks', merged.

    Attributes:
        t_ns, value: [n] monotonic time and quantity.
        high: [n] maximum since the reading before; equal to ``value`` where not known.
        known: [n] bool, ``high`` came from the kernel and nothing moved unseen.
        own: [n] ``high`` as far as it can be told to lie on one side of every mark, else
            ``UNKNOWN``.
        of_mark: [m] position of each mark's reading, ``UNKNOWN`` for marks with time alone.
    """

    t_ns: Ints
    value: Ints
    high: Ints
    known: NDArray[np.bool_]
    own: Ints
    of_mark: Ints

    def __len__(self) -> int:
        return len(self.t_ns)


def merge(series: Series, marks: Marks | None) -> Readings:
    """Merge a channel's samples with the readings that marks took of the same channel."""
    seen = (series.value != UNKNOWN) | (series.high != UNKNOWN)
    begun, t = series.begun_ns[seen], series.t_ns[seen]
    value, high, blind = series.value[seen], series.high[seen], series.blind[seen]
    value = _filled(value, high)
    count = len(marks) if marks is not None else 0
    of_mark = np.full(count, UNKNOWN, np.int64)
    overlapping = np.zeros(len(t), bool)
    if marks is not None and count:
        taken = np.flatnonzero(marks.rss != UNKNOWN)
        mark_begun, mark_t = marks.begun_ns[taken], marks.t_ns[taken]
        overlapping = _overlaps(begun, t, mark_begun, mark_t)
        t = np.concatenate((t, mark_t))
        value = np.concatenate((value, marks.rss[taken]))
        high = np.concatenate((high, marks.high[taken]))
        blind = np.concatenate((blind, marks.blind[taken]))
        overlapping = np.concatenate((overlapping, np.zeros(len(taken), bool)))
        order = np.argsort(t, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        of_mark[taken] = place[len(order) - len(taken) :]
        t, value, high = t[order], value[order], high[order]
        blind, overlapping = blind[order], overlapping[order]
    known = high != UNKNOWN
    high = np.where(known, high, value)
    # A sample whose read ran while a mark read and reset may speak of either side of that mark.
    # The mark's own reading has what came before; what came after is a few microseconds old.
    own = np.where(overlapping, UNKNOWN, high)
    return Readings(t, value, high, known & ~blind, own, of_mark)


def _filled(value: Ints, high: Ints) -> Ints:
    """Values with the one before in place of those that could not be had.

    The last row of a program that was killed has a maximum, told by the kernel after the end, and
    no value of its own.
    """
    last = np.maximum.accumulate(np.where(value != UNKNOWN, np.arange(len(value)), UNKNOWN))
    return np.where(last >= 0, value[last], high)


def _overlaps(begun: Ints, t: Ints, mark_begun: Ints, mark_t: Ints) -> NDArray[np.bool_]:
    """Which of the samples [begun, t] overlap any of the marks [mark_begun, mark_t]."""
    if not len(mark_t) or not len(t):
        return np.zeros(len(t), bool)
    # The first mark that ends after the sample began; marks of one process hardly overlap.
    first = np.minimum(np.searchsorted(mark_t, begun, side="right"), len(mark_t) - 1)
    return (mark_t[first] > begun) & (mark_begun[first] < t)


def largest(values: Ints, start: Ints, stop: Ints) -> Ints:
    """The maximum of ``values[start:stop]`` for each pair; ``UNKNOWN`` where it is empty."""
    return _over(np.maximum, values, start, stop, UNKNOWN)


def all_true(values: NDArray[np.bool_], start: Ints, stop: Ints) -> NDArray[np.bool_]:
    """Whether ``values[start:stop]`` are all true, for each pair; true where it is empty."""
    return _over(np.minimum, values.astype(np.int64), start, stop, 1).astype(bool)


def first_largest(values: Ints, start: int, stop: int) -> int:
    """The index of the first maximum of ``values[start:stop]``."""
    return start + int(np.argmax(values[start:stop]))


def _over(function: np.ufunc, values: Ints, start: Ints, stop: Ints, empty: int) -> Ints:
    out = np.full(len(start), empty, np.int64)
    some = stop > start
    if not some.any():
        return out
    # reduceat takes start0, stop0, start1, … and gives every second stretch besides; a stop may
    # not point past the end, so one neutral value is put there.
    pairs = np.stack((start[some], stop[some]), axis=1).ravel()
    padded = np.concatenate((values, np.array([empty], np.int64)))
    out[some] = function.reduceat(padded, pairs)[::2]
    return out
