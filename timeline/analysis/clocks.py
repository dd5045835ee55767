"""One clock for all ranks: what tells how the clocks of different hosts stand to each other.

The ranks of one host and boot share a monotonic clock; between two such clocks there is evidence
of different worth:

* the **file system**: where all ranks recorded to one directory of a shared one, its server dated
  files of each by its own clock, and the recorder wrote those dates down;
* **phases**: where ranks wait for each other, as at the end of a backward whose gradients are
  reduced over all, they leave at one moment, and the k-th end of one rank was the k-th of another;
* the **wall clocks**, which are as good as somebody set them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from timeline.analysis.rank_types import ClockRemark
from timeline.recording.group import Glance
from timeline.recording.types import UNKNOWN, Anchor, Ints, Kind, Marks
from timeline.units import format_duration

FILE_ERROR_NS = 20_000_000
"""A file system's clock ticks up to 10 ms behind, and a server's answer takes some more."""

FEWEST_MEETINGS = 5

TIGHT = 0.1
"""Meetings agree if their differences spread by less than this part of the time between two."""

MOST_MEETINGS = 5000

LARGEST_ERROR_NS = 10 * 10**9
"""Dates that contradict each other by more are none of one server."""

LONGEST_START_NS = 86_400 * 10**9
"""No launcher starts the ranks of one run more than a day apart."""

NO_CLOCK = "no clock was written: its ranks are taken to have begun with the others"


@dataclass(frozen=True, slots=True)
class Clocks:
    """What brings each rank's monotonic times onto one clock.

    Attributes:
        offset_ns: by rank, what has to be added.
        error_ns: the largest error between two ranks; UNKNOWN where nothing tells.
        remarks: one for each clock.
    """

    offset_ns: Mapping[int, int]
    error_ns: int
    remarks: tuple[ClockRemark, ...]


@dataclass(frozen=True, slots=True)
class Meetings:
    """Moments at which two ranks seem to have been together.

    Attributes:
        what: in words, such as ``ends of step/backward``.
        count: how many.
        difference_ns: how much later the one's clock was than the other's, in the median.
        error_ns: how far the differences spread.
    """

    what: str
    count: int
    difference_ns: int
    error_ns: int


def align(glances: Mapping[int, Glance], marks_of: Callable[[int], Marks | None]) -> Clocks:
    """Bring the ranks onto the clock of the lowest one.

    Args:
        glances: what the small files of each rank say.
        marks_of: reads the marks of a rank; called for one rank of each clock, if there are two.
    """
    groups: dict[str, list[int]] = {}
    for rank, each in sorted(glances.items()):
        groups.setdefault(each.clock or f"host {each.host}", []).append(rank)
    walls = {key: _wall(glances, ranks) for key, ranks in groups.items()}
    told = [(ranks, wall) for key, ranks in groups.items() if (wall := walls[key]) is not None]
    remarks = [
        ClockRemark(glances[ranks[0]].host, tuple(ranks), "none", 0, UNKNOWN, NO_CLOCK)
        for key, ranks in groups.items()
        if walls[key] is None
    ]
    offset_ns: dict[int, int] = {}
    if told:
        (first, base), *others = told
        offset_ns.update(dict.fromkeys(first, base))
        host = glances[first[0]].host
        same = ClockRemark(host, tuple(first), "same clock", 0, 0, "one monotonic clock")
        remarks.insert(0, same)
        marks = marks_of(first[0]) if others else None
        for ranks, wall in others:
            by_files = _by_files(glances, first, ranks, base, wall)
            met = _met(marks, marks_of(ranks[0]), wall - base)
            apart = _begun(glances, ranks) - _begun(glances, first)
            remark = _decided(glances[ranks[0]].host, tuple(ranks), apart, by_files, met)
            remarks.append(remark)
            offset_ns.update(dict.fromkeys(ranks, wall + remark.shift_ns))
    errors = [each.error_ns for each in remarks]
    return Clocks(
        offset_ns, UNKNOWN if UNKNOWN in errors else max(errors, default=0), tuple(remarks)
    )


def _begun(glances: Mapping[int, Glance], ranks: Sequence[int]) -> int:
    """When the first of some ranks began, by their wall clock."""
    return min(glances[rank].anchors[0].time_ns for rank in ranks if glances[rank].anchors)


def _wall(glances: Mapping[int, Glance], ranks: Sequence[int]) -> int | None:
    """Wall clock less monotonic, in the median of all moments: one may have been set meanwhile."""
    found = [a.time_ns - a.monotonic_ns for rank in ranks for a in glances[rank].anchors]
    return _median(found) if found else None


def _by_files(
    glances: Mapping[int, Glance], first: Sequence[int], ranks: Sequence[int], base: int, wall: int
) -> tuple[int, int] | None:
    """What the file server's clock says must be added to the wall clock, and its error."""
    places = {r.place if (r := glances[rank].rank) else "" for rank in (first[0], ranks[0])}
    if len(places) > 1 or "" in places:
        return None
    # Each side's date less its own wall clock: of a local disk that is nothing at all.
    ours, theirs = _file_offsets(glances, first), _file_offsets(glances, ranks)
    if not ours or not theirs:
        return None
    added = (_median(theirs) - wall) - (_median(ours) - base)
    error = sum(max(each) - min(each) for each in (ours, theirs)) + FILE_ERROR_NS
    return (added, error) if error < LARGEST_ERROR_NS else None


def _file_offsets(glances: Mapping[int, Glance], ranks: Sequence[int]) -> list[int]:
    anchors: list[Anchor] = [a for rank in ranks[:64] for a in glances[rank].anchors if a.file_ns]
    return [a.file_ns - a.monotonic_ns for a in anchors]


def _met(ours: Marks | None, theirs: Marks | None, apart_ns: int) -> Meetings | None:
    """The meetings of two ranks that agree best; None where none do."""
    if ours is None or theirs is None:
        return None
    best: tuple[float, Meetings] | None = None
    one, other = _borders(ours), _borders(theirs)
    for (path, kind), mine in one.items():
        yours = other.get((path, kind))
        if yours is None:
            continue
        n = min(len(mine), len(yours), MOST_MEETINGS)
        if n < FEWEST_MEETINGS:
            continue
        difference = (yours[:n] + apart_ns) - mine[:n]
        middle = _median(difference)
        # Half of all lie within it; three times that holds all but a few. Clocks that drift apart,
        # and ranks that do not wait for each other, show in the difference of the two halves.
        spread = 3 * _median(np.abs(difference - middle))
        drift = abs(_median(difference[: n // 2]) - _median(difference[n // 2 :]))
        between = (int(mine[n - 1]) - int(mine[0])) / (n - 1)
        error = spread + drift + 1_000_000
        if error > TIGHT * between or (best is not None and error >= best[0]):
            continue
        word = "beginnings" if kind == Kind.BEGIN else "ends"
        best = error, Meetings(f"{word} of {path}", n, middle, error)
    return best[1] if best else None


def _borders(marks: Marks) -> dict[tuple[str, int], Ints]:
    """When the phases of each path began and ended, in the order of time."""
    out = {}
    for kind in (Kind.BEGIN, Kind.END):
        rows = np.flatnonzero(marks.kind == kind)
        names = marks.name[rows]
        for name in np.unique(names).tolist():
            out[marks.names[name], int(kind)] = marks.t_ns[rows[names == name]]
    return out


def _decided(
    host: str,
    ranks: tuple[int, ...],
    apart_ns: int,
    by_files: tuple[int, int] | None,
    met: Meetings | None,
) -> ClockRemark:
    def remark(method: str, shift: int, error: int, sentence: str) -> ClockRemark:
        return ClockRemark(host, ranks, method, shift, error, sentence)

    if by_files is not None:
        added, error = by_files
        by = f"by the clock of the file server, ± {_duration(error)}"
        if met is not None and abs(met.difference_ns + added) <= error:
            by = (
                f"by the clock of the file server and {met.count:,} common {met.what}, "
                f"± {_duration(met.error_ns)}"
            )
            added, error = -met.difference_ns, met.error_ns
        return remark("file server", added, error, f"{_told(added, error)}, {by}")
    if met is not None:
        added, error = -met.difference_ns, met.error_ns
        return remark(
            "phases",
            added,
            error,
            f"{_told(added, error)}, by {met.count:,} common {met.what}, ± {_duration(error)}: "
            "a lag that is the same at each of them would look like that, too",
        )
    if abs(apart_ns) > LONGEST_START_NS:
        which = f"{_duration(abs(apart_ns))} {'ahead' if apart_ns > 0 else 'behind'}"
        said = f"its wall clock is {which}, which cannot be: taken to have begun with the others"
        return remark("wall clock", -apart_ns, UNKNOWN, said)
    said = "its wall clock is believed, and nothing tells whether it is right"
    return remark("wall clock", 0, UNKNOWN, said)


def _told(added: int, error: int) -> str:
    if abs(added) <= error:
        return "its wall clock is right"
    return f"its wall clock is {_duration(abs(added))} {'behind' if added > 0 else 'ahead'}"


def _duration(ns: int) -> str:
    return format_duration(ns / 1e9)


def _median(values: Sequence[int] | Ints) -> int:
    # Of whole numbers, exactly: as floats nanoseconds since 1970 lose their last digits.
    ordered = np.sort(np.asarray(values, np.int64))
    return int(ordered[len(ordered) // 2])
