"""All readings of one channel in one order of time, and the largest of them in any stretch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from timeline.recording.format import LIMIT
from timeline.recording.types import UNKNOWN, Bools, Channel, Ints, Marks, Series

T = TypeVar("T", bound=np.generic)

NO_CEILING = LIMIT
"""More than any process can have."""

_LATE_NS = 200_000
"""Reading a sample takes 40 µs. What a longer one holds up against a mark is not known."""


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """The sampler's readings and the marks', merged.

    Attributes:
        begun_ns, t_ns: [n] monotonic, in the order of the latter.
        value: [n] the quantity then.
        high: [n] maximum since the reading before; equal to ``value`` where not known.
        known: [n] bool, ``high`` came from the kernel.
        ceiling: [n] what the time since the reading before cannot have been above; ``high`` where
            nothing moved unseen, `NO_CEILING` where it is not known.
        placed: [n] bool, what is told lies on a known side of every mark.
        own: [n] ``high`` as far as it can be told to lie on one side of every mark, else
            ``UNKNOWN``.
        of_mark: [m] position of each mark's reading, ``UNKNOWN`` for marks with time alone.
    """

    begun_ns: Ints
    t_ns: Ints
    value: Ints
    high: Ints
    known: Bools
    ceiling: Ints
    placed: Bools
    own: Ints
    of_mark: Ints

    def __len__(self) -> int:
        return len(self.t_ns)


def merge(series: Series | None, marks: Marks | None) -> Readings:
    """Merge a channel's samples with the readings that marks took of the same channel."""
    series = series or _no_samples()
    marks = marks or Marks.none()
    seen = series.value != UNKNOWN
    taken = np.flatnonzero(marks.rss != UNKNOWN)
    t = np.concatenate((series.t_ns[seen], marks.t_ns[taken]))
    order = np.argsort(t, kind="stable")
    sampled = order < len(t) - len(taken)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    of_mark = np.full(len(marks), UNKNOWN, np.int64)
    of_mark[taken] = place[len(order) - len(taken) :]

    def merged(of_series: NDArray[T], of_marks: NDArray[T]) -> NDArray[T]:
        both: NDArray[T] = np.concatenate((of_series[seen], of_marks[taken]))
        return both[order]

    begun, t = merged(series.begun_ns, marks.begun_ns), t[order]
    value, high = merged(series.value, marks.rss), merged(series.high, marks.high)
    unseen = merged(series.unseen, marks.unseen)
    known = high != UNKNOWN
    high = np.where(known, high, value)

    # A sample whose read ran past a mark may have looked before the mark or after it. What it saw
    # before, the mark's own reading has too; so what is higher was seen after.
    earlier = _highest_passed(begun, t, high, sampled)
    torn = sampled & (earlier != UNKNOWN) & (high <= earlier)
    # What a sample loses lies after its time, up to its reset, which is not recorded but comes
    # before its next read; what a mark loses lies before its time.
    at = np.arange(len(t))
    before = np.concatenate(([-1], np.maximum.accumulate(np.where(sampled, at, -1))))[:-1]
    # Up to there memory cannot have been over what the reading before saw and what grew meanwhile.
    # Without a reset in between the mark tells of that reading's value too, and nothing is lost.
    later = np.where((before >= 0) & (before < at - 1), unseen[before], 0)
    above = value + unseen
    ceiling = np.where(known, np.where(sampled, high, np.maximum(high, above)), NO_CEILING)
    ceiling[1:] = np.maximum(ceiling[1:], above[:-1] + later[1:])
    ceiling[-1:] = np.maximum(ceiling[-1:], above[-1:])
    ceiling = np.minimum(ceiling, NO_CEILING)
    return Readings(
        begun_ns=begun,
        t_ns=t,
        value=value,
        high=high,
        known=known,
        ceiling=ceiling,
        placed=~(torn & (t - begun > _LATE_NS)),
        own=np.where(torn, UNKNOWN, high),
        of_mark=of_mark,
    )


def held(readings: Readings) -> Readings:
    """Readings that are all changes there were, each with one before it: until then nothing moved.

    A line from one of an allocator's events to the next would show a slope of seconds where there
    was a step. Channels that have the same times keep the same times.
    """
    t = readings.t_ns
    late = np.flatnonzero(t[1:] - t[:-1] > 1) + 1
    before = late - 1

    def with_more(column: NDArray[T], more: NDArray[T]) -> NDArray[T]:
        longer: NDArray[T] = np.insert(column, late, more)
        return longer

    value, at = readings.value[before], t[late] - 1
    nothing = np.full(len(late), UNKNOWN, np.int64)
    moved = np.searchsorted(late, readings.of_mark, side="right")
    return Readings(
        begun_ns=with_more(readings.begun_ns, at),
        t_ns=with_more(t, at),
        value=with_more(readings.value, value),
        high=with_more(readings.high, value),
        known=with_more(readings.known, readings.known[before]),
        ceiling=with_more(readings.ceiling, value),
        placed=with_more(readings.placed, readings.placed[before]),
        own=with_more(readings.own, nothing),
        of_mark=np.where(readings.of_mark == UNKNOWN, UNKNOWN, readings.of_mark + moved),
    )


def _no_samples() -> Series:
    none, channel = np.empty(0, np.int64), Channel("", "byte", "none", exact=False)
    return Series(channel, none, none, none, none, none)


def _highest_passed(begun: Ints, t: Ints, high: Ints, sampled: Bools) -> Ints:
    """For each reading, the highest of the marks' that ended while it ran; ``UNKNOWN`` for none."""
    out = np.full(len(t), UNKNOWN, np.int64)
    # Few ran on while any other ended.
    rows = np.flatnonzero(begun[1:] < t[:-1]) + 1
    of_marks = np.flatnonzero(~sampled)
    first = np.searchsorted(t[of_marks], begun[rows], side="right")
    out[rows] = largest(high[of_marks], first, np.searchsorted(of_marks, rows))
    return out


def largest(values: Ints, start: Ints, stop: Ints) -> Ints:
    """The maximum of ``values[start:stop]`` for each pair; ``UNKNOWN`` where it is empty."""
    return _over(np.maximum, values, start, stop, UNKNOWN)


def all_true(values: Bools, start: Ints, stop: Ints) -> Bools:
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
