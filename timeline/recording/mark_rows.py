"""The rows of one file of marks: checked, and each end put to its begin, a column at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from timeline.recording.format import LIMIT, SIZE_LIMIT
from timeline.recording.types import UNKNOWN, Ints, Kind

KIND, T, TOOK, RSS, HIGH, UNSEEN, NUMBER, UP, THREAD, NAME, DETAIL = range(11)
"""The rows of a table of marks, [11, n]. ``NUMBER`` and ``UP`` are those that the program gave its
phases; ``NAME`` and ``DETAIL`` are places in lists of texts."""

COLUMNS = 11

NO_MARK = len(Kind)
"""In the place of a kind: the line says something else."""

NUMBERS = (
    (T, "t", 0),
    (TOOK, "d", 0),
    (RSS, "rss", UNKNOWN),
    (HIGH, "hwm", UNKNOWN),
    (UNSEEN, "x", 0),
    (NUMBER, "i", UNKNOWN),
    (UP, "up", UNKNOWN),
    (THREAD, "th", UNKNOWN),
)
"""Row, key of a line, and what a line without the key says."""

NO_NUMBER = -2
"""In the place of what is no whole number, or none that anything can be."""

_LONGEST_READ_NS = 1 << 32


def check(marks: Ints, readings: bool) -> int:
    """Make unknown what cannot be right in a table of marks; returns how many readings were.

    Args:
        marks: [11, n], changed in place.
        readings: whether they are of the process whose memory is recorded; else they are dropped.
    """
    t, took, rss, high = marks[[T, TOOK, RSS, HIGH]]
    took_fits = (took >= 0) & (took <= _LONGEST_READ_NS) & (took <= t)
    rss_fits = (rss >= UNKNOWN) & (rss <= SIZE_LIMIT)
    some = np.where(rss_fits, rss, UNKNOWN)
    high_fits = (high == UNKNOWN) | ((high >= some) & (high <= SIZE_LIMIT))
    marks[TOOK] = np.where(took_fits, took, 0)
    marks[RSS] = some if readings else UNKNOWN
    marks[HIGH] = np.where(high_fits, high, UNKNOWN) if readings else UNKNOWN
    # 1 stands for something unseen whose bound is not known.
    unseen = np.clip(marks[UNSEEN], 0, LIMIT) if readings else np.zeros_like(t)
    marks[UNSEEN] = np.where(unseen == 1, LIMIT, unseen)
    for row in (UP, THREAD):
        marks[row] = np.where((marks[row] >= 0) & (marks[row] <= LIMIT), marks[row], UNKNOWN)
    return int((~(took_fits & rss_fits & high_fits)).sum())


@dataclass(frozen=True, slots=True, eq=False)
class Paired:
    """The marks of a file, of whose ends each has its begin.

    Attributes:
        marks: [11, m] in which an end has all that its begin tells of the phase, and ``NUMBER`` and
            ``UP`` are places in the order of begins, or ``UNKNOWN``.
        place: [n] where each line has come to; ``UNKNOWN`` for what is no mark, or a stray.
        strays: how many ends have no begin.
        begun: the phases.
    """

    marks: Ints
    place: Ints
    strays: int
    begun: Begun


@dataclass(frozen=True, slots=True, eq=False)
class Begun:
    """The phases of a file by the numbers that its program gave them, which may come again.

    Attributes:
        numbers: [p]
        rows: [p] which line began each; they ascend.
    """

    numbers: Ints
    rows: Ints

    def latest(self, wanted: Ints, before: Ints) -> Ints:
        """The place of the last phase of each number that was begun before a line, or ``UNKNOWN``.

        Args:
            wanted, before: [q] a number and a line.
        """
        if not len(self.numbers):
            return np.full(len(wanted), UNKNOWN, np.int64)
        distinct, which = np.unique(self.numbers, return_inverse=True)
        order = np.argsort(which, kind="stable")
        width = 1 + max(int(self.rows[-1]), int(before.max(initial=0)))
        of = np.minimum(np.searchsorted(distinct, wanted), len(distinct) - 1)
        keys = which[order] * width + self.rows[order]
        last = order[np.maximum(np.searchsorted(keys, of * width + before) - 1, 0)]
        found = (which[last] == of) & (self.rows[last] < before) & (distinct[of] == wanted)
        return np.where(found, last, UNKNOWN)


def pair(marks: Ints) -> Paired:
    """Find the begin of every end: the last before it of its number, if no end came between.

    Args:
        marks: [11, n] a column for each line of the file, in their order; changed in place.
    """
    kind, t, number = marks[[KIND, T, NUMBER]]
    begins, ends = (np.flatnonzero(kind == each) for each in (Kind.BEGIN, Kind.END))
    begun = Begun(number[begins], begins)
    of = begun.latest(number[ends], ends)
    # An end before its begin is none. Of two the first counts.
    right = (of != UNKNOWN) & (t[ends] >= t[begins[of]]) if len(begins) else of != UNKNOWN
    ended, first = np.unique(of[right], return_index=True)
    ends = ends[right][first]
    phase = np.full(len(kind), UNKNOWN, np.int64)
    phase[begins] = np.arange(len(begins))
    phase[ends] = ended
    parent = np.full(len(kind), UNKNOWN, np.int64)
    parent[begins] = begun.latest(marks[UP, begins], begins)
    marks[NUMBER], marks[UP] = phase, parent
    for row in (UP, THREAD, NAME):
        marks[row, ends] = marks[row, begins[ended]]
    stray = (kind == Kind.END) & (phase == UNKNOWN)
    kept = (kind != NO_MARK) & ~stray
    place = np.where(kept, np.cumsum(kept) - 1, UNKNOWN)
    return Paired(marks if kept.all() else marks[:, kept], place, int(stray.sum()), begun)
