"""Phases: begins paired with ends, the lanes to draw them in, and what each needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from timeline.analysis.readings import Readings, all_true, first_largest, largest
from timeline.analysis.types import HOST, Instances, PhasePeak, PhaseSummary
from timeline.recording.types import UNKNOWN, Ints, Kind, Marks

OUTSIDE = ""
"""The path of the time outside every phase."""


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """Stretches of time with what is known of their borders.

    Attributes:
        begin_ns, end_ns: [p] monotonic.
        first, last: [p] position of the readings at the two borders, ``UNKNOWN`` where a border
            carries time alone.
        open: [p] bool, the end is only the end of the run.
    """

    begin_ns: Ints
    end_ns: Ints
    first: Ints
    last: Ints
    open: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Peaks:
    """What each span needed, as columns: peak, reading at the beginning and end, exactness."""

    peak: Ints
    before: Ints
    after: Ints
    exact: NDArray[np.bool_]
    bound: Ints
    start: Ints
    stop: Ints


def pair(marks: Marks, readings: Readings, run_end_ns: int) -> tuple[Spans, Ints, Ints]:
    """Pair begins with ends by their number.

    Returns:
        The spans in the order of their begins, [p] the row of each begin among the marks, and [p]
        the index of the parent span, -1 for none. An end without a begin is left out; of two ends
        the first counts.
    """
    begins = np.flatnonzero(marks.kind == Kind.BEGIN)
    ends = np.flatnonzero(marks.kind == Kind.END)
    number = marks.phase[begins]
    by_number = np.argsort(number, kind="stable")
    sorted_numbers = number[by_number]

    end_row = np.full(len(begins), UNKNOWN, np.int64)
    index = _find(sorted_numbers, by_number, marks.phase[ends][::-1])
    found = index >= 0
    end_row[index[found]] = ends[::-1][found]

    open_ = end_row < 0
    end_ns = np.where(open_, run_end_ns, marks.t_ns[end_row])
    begin_ns = marks.t_ns[begins]
    last = np.where(open_, UNKNOWN, readings.of_mark[end_row])
    spans = Spans(begin_ns, np.maximum(end_ns, begin_ns), readings.of_mark[begins], last, open_)
    return spans, begins, _find(sorted_numbers, by_number, marks.parent[begins])


def _find(sorted_numbers: Ints, by_number: Ints, wanted: Ints) -> Ints:
    """The index of each wanted number, -1 where there is none."""
    if not len(sorted_numbers):
        return np.full(len(wanted), -1, np.int64)
    place = np.minimum(np.searchsorted(sorted_numbers, wanted), len(sorted_numbers) - 1)
    return np.where(sorted_numbers[place] == wanted, by_number[place], -1)


def measure(spans: Spans, readings: Readings) -> Peaks:
    """The peak of every span: the largest reading after its begin, up to and with its end."""
    n = len(readings)
    t = readings.t_ns
    start = np.where(
        spans.first >= 0, spans.first + 1, np.searchsorted(t, spans.begin_ns, side="right")
    )
    stop = np.where(spans.last >= 0, spans.last + 1, np.searchsorted(t, spans.end_ns, side="right"))
    stop = np.maximum(stop, start)
    if n == 0:
        nothing = np.full(len(start), UNKNOWN, np.int64)
        return Peaks(nothing, nothing, nothing, np.zeros(len(start), bool), nothing, start, stop)
    before = readings.value[np.clip(np.where(spans.first >= 0, spans.first, start - 1), 0, n - 1)]
    after = readings.value[np.clip(stop - 1, 0, n - 1)]

    # Without a reading at the begin, the first one inside may tell of a time before it: there
    # only what it saw at its own moment counts.
    bordered = spans.first >= 0
    inside = largest(readings.own, np.where(bordered, start, np.minimum(start + 1, stop)), stop)
    some = stop > start
    moment = np.where(some & ~bordered, readings.value[np.minimum(start, n - 1)], UNKNOWN)
    peak = np.maximum(inside, moment)
    peak = np.where(peak == UNKNOWN, np.maximum(before, after), peak)

    # Every reading that covers any part of the span: no true peak can be above their maximum.
    cover = np.where(spans.last >= 0, stop, np.searchsorted(t, spans.end_ns) + 1)
    covered = cover <= n
    cover = np.minimum(np.maximum(cover, start), n)
    covered &= all_true(readings.known, start, cover)
    bound = np.where(covered, largest(readings.high, start, cover), np.iinfo(np.int64).max)
    closed = bordered & (spans.last >= 0) & covered
    return Peaks(peak, before, after, closed | (bound <= peak), bound, start, stop)


def lanes(begin_ns: Ints, end_ns: Ints, parent: Ints) -> Ints:
    """The row of each span: under its parent, else the first row that is free at its begin."""
    out = np.zeros(len(begin_ns), np.int64)
    free_at: list[int] = []
    for i, (begin, end, up) in enumerate(
        zip(begin_ns.tolist(), end_ns.tolist(), parent.tolist(), strict=True)
    ):
        lane = int(out[up]) + 1 if up >= 0 else 0
        while lane < len(free_at) and free_at[lane] > begin:
            lane += 1
        while lane >= len(free_at):
            free_at.append(begin)
        free_at[lane] = end
        out[i] = lane
    return out


def summarize(
    instances: Instances, spans: Spans, peaks: Peaks, readings: Readings, run: tuple[int, int]
) -> tuple[PhaseSummary, ...]:
    """One summary a path, in the order of first appearance."""
    order = np.argsort(instances.path, kind="stable")
    cuts = np.searchsorted(instances.path[order], np.arange(len(instances.paths) + 1))
    return tuple(
        _summary(path, order[cuts[i] : cuts[i + 1]], spans, peaks, readings, run)
        for i, path in enumerate(instances.paths)
    )


def outside(spans: Spans, peaks_of_run: tuple[int, int], readings: Readings) -> PhaseSummary | None:
    """The time in no phase, as one more summary; None where the phases cover everything."""
    run_begin, run_end = peaks_of_run
    order = np.argsort(spans.begin_ns, kind="stable")
    reach = np.maximum.accumulate(spans.end_ns[order]) if len(order) else spans.end_ns
    # A stretch lies between the furthest end so far and the next begin after it.
    begin = np.concatenate((np.array([run_begin], np.int64), reach))
    end = np.concatenate((spans.begin_ns[order], np.array([run_end], np.int64)))
    some = np.flatnonzero(end > begin)
    if not len(some):
        return None
    # Its borders' readings are those of the phases around: an end's and a begin's.
    furthest = _furthest(spans.end_ns[order])
    first = np.concatenate((np.array([UNKNOWN]), spans.last[order][furthest]))
    last = np.concatenate((spans.first[order], np.array([UNKNOWN])))
    first[0] = 0 if len(readings) else UNKNOWN
    last[-1] = len(readings) - 1
    free = Spans(begin[some], end[some], first[some], last[some], np.zeros(len(some), bool))
    peaks = measure(free, readings)
    everything = np.arange(len(some))
    return _summary(OUTSIDE, everything, free, peaks, readings, peaks_of_run)


def _furthest(end_ns: Ints) -> Ints:
    """[p] the index of the furthest end among the first i + 1."""
    reach = np.maximum.accumulate(end_ns) if len(end_ns) else end_ns
    new = np.where(end_ns == reach, np.arange(len(end_ns)), 0)
    return np.maximum.accumulate(new) if len(end_ns) else new


def _summary(
    path: str,
    rows: Ints,
    spans: Spans,
    peaks: Peaks,
    readings: Readings,
    run: tuple[int, int],
) -> PhaseSummary:
    top = rows[int(np.argmax(peaks.peak[rows]))]
    value = int(peaks.peak[top])
    total = int((spans.end_ns[rows] - spans.begin_ns[rows]).sum())
    ended = rows[~spans.open[rows]]
    unended = len(rows) - len(ended)
    inexact = rows[~peaks.exact[rows] & (peaks.bound[rows] > value)]
    start, stop = int(peaks.start[top]), int(peaks.stop[top])
    if stop > start:
        shown = run[0] + int(readings.t_ns[first_largest(readings.own, start, stop)] - run[0])
    else:
        shown = int(spans.begin_ns[top])
    peak = PhasePeak(
        bytes=max(value, 0),
        delta=max(int((peaks.peak[rows] - peaks.before[rows]).max()), 0),
        kept=int((peaks.after[ended] - peaks.before[ended]).sum()),
        exact=not len(inexact),
        t_ns=shown - run[0],
    )
    return PhaseSummary(
        path=path,
        count=len(rows),
        open=unended,
        total_ns=total,
        share=total / max(run[1] - run[0], 1),
        first=int(rows[0]),
        peak={HOST: peak},
        reason=_reason(inexact, spans, peaks),
    )


def _reason(inexact: Ints, spans: Spans, peaks: Peaks) -> str:
    if not len(inexact):
        return ""
    n = len(inexact)
    if spans.open[inexact].all():
        return f"{n} of its instances never ended"
    if ((spans.first[inexact] == UNKNOWN) | (spans.last[inexact] == UNKNOWN)).any():
        return f"{n} of its instances began or ended without a reading of their own"
    return f"{n} of its instances hold readings without the kernel's high-water mark"
