"""Phases: begins paired with ends, the lanes to draw them in, and what each needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from timeline.analysis.readings import NO_CEILING, Readings, all_true, largest
from timeline.analysis.types import HOST, Instances, PhasePeak, PhaseSummary
from timeline.recording.types import UNKNOWN, Bools, Ints, Kind, Marks

_ANY = int(np.iinfo(np.int64).max)

OUTSIDE = ""
"""The path of the time outside every phase."""


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """Stretches of time with what is known of their borders.

    Attributes:
        begin_ns, end_ns: [p] monotonic.
        start, stop: [p] positions of the readings inside, the one at the end with them.
        begun, ended: [p] bool, whether there is a reading of its own at that border.
        open: [p] bool, the end is only the end of the run.
    """

    begin_ns: Ints
    end_ns: Ints
    start: Ints
    stop: Ints
    begun: Bools
    ended: Bools
    open: Bools


@dataclass(frozen=True, slots=True, eq=False)
class Peaks:
    """What each span needed, as columns.

    Attributes:
        peak: [p] the largest reading inside; ``UNKNOWN`` where there is none.
        before, after: [p] the value at the begin and at the end, or else at the reading before.
        exact: [p] bool, whether the true peak was ``peak``.
        bound: [p] what the true peak cannot have been above.
    """

    peak: Ints
    before: Ints
    after: Ints
    exact: Bools
    bound: Ints


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
    begin_ns = marks.t_ns[begins]
    end_ns = np.maximum(np.where(open_, run_end_ns, marks.t_ns[end_row]), begin_ns)
    first = readings.of_mark[begins]
    # A reading that did not reset the mark is no border: the next one tells of the time before.
    first = np.where(np.append(readings.known, False)[first], first, UNKNOWN)
    last = np.where(open_, UNKNOWN, readings.of_mark[end_row])
    spans = _spans(begin_ns, end_ns, first, last, open_, readings)
    parent = _find(sorted_numbers, by_number, marks.parent[begins])
    # Damage may name a parent that was not begun yet, or the phase itself.
    return spans, begins, np.where(parent < np.arange(len(begins)), parent, -1)


def _find(sorted_numbers: Ints, by_number: Ints, wanted: Ints) -> Ints:
    """The index of each wanted number, -1 where there is none."""
    if not len(sorted_numbers):
        return np.full(len(wanted), -1, np.int64)
    place = np.minimum(np.searchsorted(sorted_numbers, wanted), len(sorted_numbers) - 1)
    return np.where(sorted_numbers[place] == wanted, by_number[place], -1)


def _spans(
    begin_ns: Ints, end_ns: Ints, first: Ints, last: Ints, open_: Bools, readings: Readings
) -> Spans:
    """Spans by their times and the positions of their borders' readings, ``UNKNOWN`` for none."""
    begun, ended = first >= 0, last >= 0
    start = np.where(begun, first + 1, _looked_after(begin_ns, readings))
    stop = np.where(ended, last + 1, np.searchsorted(readings.t_ns, end_ns, side="right"))
    return Spans(begin_ns, end_ns, start, np.maximum(stop, start), begun, ended, open_)


def _looked_after(t_ns: Ints, readings: Readings) -> Ints:
    """The position of the first reading that surely looked after each moment.

    The first that ended after it may have been under way, and have looked before.
    """
    place = np.searchsorted(readings.t_ns, t_ns, side="right")
    return place + (np.append(readings.begun_ns, _ANY)[place] < t_ns)


def measure(spans: Spans, readings: Readings, most: int = NO_CEILING) -> Peaks:
    """The peak of every span: the largest reading after its begin, up to and with its end.

    Args:
        spans: what to measure.
        readings: of one channel.
        most: what the channel surely never went above, in bytes.
    """
    n = len(readings)
    start, stop = spans.start, spans.stop
    if n == 0:
        nothing = np.full(len(start), UNKNOWN, np.int64)
        no = np.zeros(len(start), np.bool_)
        return Peaks(nothing, nothing, nothing, no, np.full_like(nothing, NO_CEILING))
    before = readings.value[np.clip(start - 1, 0, n - 1)]
    after = readings.value[np.clip(stop - 1, 0, n - 1)]

    # Without a reading at the begin, the first one inside may tell of a time before it: there
    # only what it saw at its own moment counts.
    free = (stop > start) & ~spans.begun
    inside = largest(readings.own, start + free, stop)
    moment = np.where(free, readings.value[np.minimum(start, n - 1)], UNKNOWN)
    peak = np.maximum(inside, moment)

    # Every reading that covers any part of the span: no true peak can be above their maximum.
    t = readings.t_ns
    since = np.where(spans.begun, start, np.searchsorted(t, spans.begin_ns, side="right"))
    until = np.where(spans.ended, stop, _looked_after(spans.end_ns, readings) + 1)
    covered = until <= n
    until = np.minimum(np.maximum(until, since), n)
    covered &= all_true(readings.placed, since, until)
    bound = np.where(covered, largest(readings.ceiling, since, until), NO_CEILING)
    bound = np.minimum(bound, most)
    seen = all_true(readings.ceiling == readings.high, since, until)
    closed = spans.begun & spans.ended & covered & seen
    return Peaks(peak, before, after, closed | (bound <= peak), bound)


def lanes(begin_ns: Ints, end_ns: Ints, parent: Ints) -> Ints:
    """The row of each span: under its parent, else the first row that is free at its begin."""
    nested = _depth(parent)
    order = np.lexsort((np.arange(len(nested)), nested))
    same = nested[order[1:]] == nested[order[:-1]]
    if not (same & (end_ns[order[:-1]] > begin_ns[order[1:]])).any():
        return nested
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


def _depth(parent: Ints) -> Ints:
    """How many spans are around each; parents come before their children."""
    # Each round looks twice as far up as the one before.
    out = (parent >= 0).astype(np.int64)
    up = parent
    while (up >= 0).any():
        out += np.where(up >= 0, out[up], 0)
        up = np.where(up >= 0, up[up], -1)
    return out


def summarize(
    instances: Instances,
    spans: Spans,
    peaks: Peaks,
    readings: Readings,
    run: tuple[int, int],
    channel: str = HOST,
) -> tuple[PhaseSummary, ...]:
    """One summary a path, in the order of first appearance, with its peak on one channel."""
    order = np.argsort(instances.path, kind="stable")
    cuts = np.searchsorted(instances.path[order], np.arange(len(instances.paths) + 1))
    return tuple(
        _summary(path, order[cuts[i] : cuts[i + 1]], spans, peaks, readings, run, channel)
        for i, path in enumerate(instances.paths)
    )


def outside(
    spans: Spans,
    run: tuple[int, int],
    readings: Readings,
    channel: str = HOST,
    most: int = NO_CEILING,
) -> PhaseSummary | None:
    """The time in no phase, as one more summary; None where the phases cover everything.

    ``most`` is what the channel surely never went above, in bytes.
    """
    run_begin, run_end = run
    order = np.argsort(spans.begin_ns, kind="stable")
    reach = np.maximum.accumulate(spans.end_ns[order]) if len(order) else spans.end_ns
    # A stretch lies between the furthest end so far and the next begin after it.
    begin = np.concatenate((np.array([run_begin], np.int64), reach))
    end = np.concatenate((spans.begin_ns[order], np.array([run_end], np.int64)))
    some = np.flatnonzero(end > begin)
    if not len(some):
        return None
    # Its borders' readings are those of the phases around: an end's and a begin's.
    furthest = order[_furthest(spans.end_ns[order])]
    first = np.where(spans.ended, spans.stop - 1, UNKNOWN)[furthest]
    last = np.where(spans.begun, spans.start - 1, UNKNOWN)[order]
    none = np.array([UNKNOWN])
    free = _spans(
        begin,
        end,
        np.concatenate((none, first)),
        np.concatenate((last, none)),
        np.zeros(len(begin), np.bool_),
        readings,
    )
    # The first reading of all tells of the time before it; after the last one nothing is known,
    # here as of the whole run.
    free.start[0], free.begun[0] = 0, True
    free.stop[-1], free.ended[-1] = len(readings), True
    peaks = measure(free, readings, most)
    return _summary(OUTSIDE, some, free, peaks, readings, run, channel)


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
    channel: str,
) -> PhaseSummary:
    top = int(rows[np.argmax(peaks.peak[rows])])
    value = int(peaks.peak[top])
    total = int((spans.end_ns[rows] - spans.begin_ns[rows]).sum())
    ended = rows[~spans.open[rows]]
    unended = len(rows) - len(ended)
    inexact = rows[~peaks.exact[rows] & (peaks.bound[rows] > value)]
    reason = _reason(inexact, spans)
    shown = int(spans.begin_ns[top])
    if value != UNKNOWN:
        shown = int(readings.t_ns[_where(spans, top, readings)])
    else:
        value = int(peaks.before[rows].max())
        reason = "no reading was taken inside it: what is shown was read before"
    peak = PhasePeak(
        bytes=max(value, 0),
        delta=max(int((peaks.peak[rows] - peaks.before[rows]).max()), 0),
        kept=int((peaks.after[ended] - peaks.before[ended]).sum()),
        exact=not reason,
        t_ns=shown - run[0],
    )
    return PhaseSummary(
        path=path,
        count=len(rows),
        open=unended,
        total_ns=total,
        share=total / max(run[1] - run[0], 1),
        first=int(rows[0]),
        peak={channel: peak},
        reason=reason,
    )


def _where(spans: Spans, row: int, readings: Readings) -> int:
    """The position of the first of the largest readings inside a span that has some."""
    start, stop = int(spans.start[row]), int(spans.stop[row])
    own = readings.own[start:stop].copy()
    if not spans.begun[row]:
        own[0] = readings.value[start]
    return start + int(np.argmax(own))


def _reason(inexact: Ints, spans: Spans) -> str:
    if not len(inexact):
        return ""
    n = len(inexact)
    which, their = (f"{n} of its instances", "their") if n > 1 else ("an instance of it", "its")
    if spans.open[inexact].all():
        return f"{which} never ended"
    if not (spans.begun & spans.ended)[inexact].all():
        return f"{which} began or ended without a reading of {their} own"
    return f"in {which} the kernel's high-water mark could not be relied on"
