"""The curves of ranks as exact least and largest in buckets of time: alone, and side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from timeline.analysis.types import Curve
from timeline.recording.types import UNKNOWN, Ints

BUCKETS = 1 << 11
"""At the most, of a curve; half as many at the least where a run is long."""

LEAST_WIDTH_NS = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Extremes:
    """A curve in buckets of one width that begin at the beginning of all ranks.

    The width is `LEAST_WIDTH_NS` times a power of two, so that those of two ranks can be made
    alike without another look at their readings.

    Attributes:
        doublings: that power.
        low, high: [b] the least value and the largest high; UNKNOWN where there is no reading.
    """

    doublings: int
    low: Ints
    high: Ints

    def widened(self, doublings: int) -> Extremes:
        """The same in wider buckets."""
        low, high = self.low, self.high
        for _ in range(doublings - self.doublings):
            pairs = len(low) + len(low) % 2
            low = np.pad(low, (0, pairs - len(low)), constant_values=UNKNOWN).reshape(-1, 2)
            high = np.pad(high, (0, pairs - len(high)), constant_values=UNKNOWN).reshape(-1, 2)
            low = least_known(low[:, 0], low[:, 1])
            high = high.max(axis=1)
        return Extremes(doublings, low, high)


def extremes_of(curve: Curve, begin_ns: int) -> Extremes:
    """A curve of some readings that begins so long after all ranks did."""
    t = np.maximum(curve.t_ns + begin_ns, 0)
    end = int(t[-1]) + 1
    # A bucket that no reading of a steady sampler falls into would look like a gap.
    pace = int(np.median(np.diff(t))) if len(t) > 1 else 0
    doublings = 0
    while LEAST_WIDTH_NS << doublings < max(2 * pace, -(-end // BUCKETS)):
        doublings += 1
    width = LEAST_WIDTH_NS << doublings
    number = t // width
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    low = np.full(-(-end // width), UNKNOWN, np.int64)
    high = low.copy()
    low[number[starts]] = np.minimum.reduceat(curve.value, starts)
    high[number[starts]] = np.maximum.reduceat(curve.high, starts)
    return Extremes(doublings, low, high)


@dataclass(frozen=True, slots=True, eq=False)
class RankCurves:
    """The host memory of all ranks over time, as exact minima and maxima in buckets.

    Attributes:
        begin_ns: [b] when each bucket begins; all are ``width_ns`` wide.
        ranks: the rank of each row.
        low: [r, b] the least reading; UNKNOWN where there is none.
        high: [r, b] the largest high-water mark; UNKNOWN where there is none.
    """

    begin_ns: Ints
    width_ns: int
    ranks: tuple[int, ...]
    low: Ints
    high: Ints

    def row(self, rank: int) -> int:
        """The row of a rank."""
        return self.ranks.index(rank)

    def widened(self) -> RankCurves:
        """The same in buckets that are twice as wide."""
        even = len(self.begin_ns) + len(self.begin_ns) % 2
        low, high = (
            np.pad(each, ((0, 0), (0, even - each.shape[1])), constant_values=UNKNOWN)
            for each in (self.low, self.high)
        )
        return RankCurves(
            begin_ns=self.begin_ns[::2],
            width_ns=2 * self.width_ns,
            ranks=self.ranks,
            low=least_known(low[:, ::2], low[:, 1::2]),
            high=np.maximum(high[:, ::2], high[:, 1::2]),
        )

    def envelope(self) -> tuple[Ints, Ints, Ints]:
        """The least ``low``, the median ``high`` and the largest ``high`` of all ranks, [b] each.

        UNKNOWN where no rank has a reading.
        """
        return _over_ranks(self.low, self.high)


def least_known(one: Ints, other: Ints) -> Ints:
    """The lesser of each pair; of one that is UNKNOWN the other."""
    either: Ints = np.where(
        (one == UNKNOWN) | (other == UNKNOWN), np.maximum(one, other), np.minimum(one, other)
    )
    return either


def _over_ranks(low: Ints, high: Ints) -> tuple[Ints, Ints, Ints]:
    known = (high != UNKNOWN).any(axis=0)
    some_low = np.where(low == UNKNOWN, np.iinfo(np.int64).max, low)
    middle = np.full(high.shape[1], UNKNOWN, np.int64)
    for i in np.flatnonzero(known).tolist():
        column = high[:, i]
        middle[i] = int(np.median(column[column != UNKNOWN]))
    least: NDArray[np.int64] = np.where(known, some_low.min(axis=0), UNKNOWN)
    return least, middle, high.max(axis=0)
