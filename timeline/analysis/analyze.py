"""From a Recording to an Analysis."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from timeline.analysis import phases
from timeline.analysis.readings import Readings, first_largest, merge
from timeline.analysis.types import (
    HOST,
    Analysis,
    ChannelSummary,
    Curve,
    Instances,
    PhaseSummary,
    TextMark,
)
from timeline.recording.types import UNKNOWN, Ints, Kind, Marks, Recording, Run, Series

GAP_INTERVALS = 5
"""Two readings this many intervals apart have a gap between them."""


def analyze(recording: Recording) -> Analysis:
    """Draw every conclusion that the views show: peaks, phases, gaps, what is not exact and why."""
    run = recording.run
    start, end = run.started_ns, max(run.ended_ns, run.started_ns)
    marks = recording.marks
    names = sorted(recording.series, key=lambda name: (name != HOST, name))
    readings = {
        name: merge(recording.series[name], marks if name == HOST else None) for name in names
    }
    host = readings.get(HOST) or merge(_no_series(), marks)
    spans, begins, parent = phases.pair(marks, host, end)
    peaks = phases.measure(spans, host)
    instances = _instances(marks, spans, begins, parent, peaks, start)
    channels = tuple(
        _channel(recording.series[name], readings[name], instances, start) for name in names
    )
    summaries = phases.summarize(instances, spans, peaks, host, (start, end))
    outside = phases.outside(spans, (start, end), host)
    exact = bool(channels) and channels[0].channel.name == HOST and channels[0].channel.exact
    if not exact:
        reason = channels[0].reason if channels else "host memory was not sampled"
        summaries = tuple(_inexact(each, reason) for each in summaries)
        outside = _inexact(outside, reason) if outside else None
        instances = replace(instances, exact=np.zeros(len(instances), bool))
    return Analysis(
        title=_title(run),
        run=run,
        duration_ns=end - start,
        ending=_ending(run),
        channels=channels,
        curves={name: _curve(recording.series[name], readings[name], run, start) for name in names},
        phases=summaries,
        outside=outside,
        instances=instances,
        marks=_texts(marks, start),
        missing=recording.missing,
        notes=recording.damage,
    )


def _no_series() -> Series:
    from timeline.recording.types import Channel

    none = np.empty(0, np.int64)
    channel = Channel(HOST, "byte", "none", exact=False, reason="host memory was not sampled")
    return Series(channel, none, none, none, none, np.empty(0, bool))


def _instances(
    marks: Marks,
    spans: phases.Spans,
    begins: Ints,
    parent: Ints,
    peaks: phases.Peaks,
    start: int,
) -> Instances:
    used, path = np.unique(marks.name[begins], return_inverse=True)
    first = np.full(len(used), len(begins), np.int64)
    np.minimum.at(first, path, np.arange(len(begins)))
    rank = np.empty(len(used), np.int64)
    rank[np.argsort(first)] = np.arange(len(used))
    paths = tuple(marks.names[used[i]] for i in np.argsort(first))
    known = peaks.peak != UNKNOWN
    numbers = {int(number): i for i, number in enumerate(marks.phase[begins])}
    return Instances(
        path=rank[path] if len(begins) else np.empty(0, np.int64),
        begin_ns=spans.begin_ns - start,
        end_ns=spans.end_ns - start,
        open=spans.open,
        lane=phases.lanes(spans.begin_ns, spans.end_ns, parent),
        parent=parent,
        thread=marks.thread[begins],
        peak=peaks.peak,
        delta=np.where(known, np.maximum(peaks.peak - peaks.before, 0), 0),
        exact=peaks.exact,
        detail={numbers[k]: text for k, text in marks.details.items() if k in numbers},
        paths=paths,
    )


def _channel(
    series: Series, readings: Readings, instances: Instances, start: int
) -> ChannelSummary:
    channel = series.channel
    if not len(readings):
        return ChannelSummary(channel, len(series), 0, 0, None, False, "nothing was read", 0, 0)
    top = first_largest(readings.high, 0, len(readings))
    at = int(readings.t_ns[top]) - start
    exact, reason = channel.exact, channel.reason
    unknown = len(readings) - int(readings.known.sum())
    # The first reading covers all the time before it, known or not.
    if exact and unknown:
        exact = False
        reason = f"{unknown} of {len(readings)} readings have no high-water mark to rely on"
    steps = np.diff(series.t_ns)
    return ChannelSummary(
        channel=channel,
        samples=len(series),
        peak=int(readings.high[top]),
        peak_ns=at,
        peak_phase=_innermost(instances, at),
        exact=exact,
        reason=reason,
        baseline=int(readings.value[0]),
        longest_gap_ns=int(steps.max()) if len(steps) else 0,
    )


def _innermost(instances: Instances, at: int) -> str | None:
    """The path of the deepest phase that was open just before a moment."""
    around = np.flatnonzero((instances.begin_ns < at) & (instances.end_ns >= at))
    if not len(around):
        return None
    deepest = around[int(np.argmax(instances.lane[around]))]
    return instances.paths[int(instances.path[deepest])]


def _curve(series: Series, readings: Readings, run: Run, start: int) -> Curve:
    steps = np.diff(readings.t_ns)
    interval = run.interval_ns or (int(np.median(steps)) if len(steps) else 0)
    wide = np.flatnonzero(steps > GAP_INTERVALS * max(interval, 1))
    t = readings.t_ns - start
    return Curve(
        channel=series.channel,
        t_ns=t,
        value=readings.value,
        high=readings.high,
        known=readings.known,
        gaps_ns=np.stack((t[wide], t[wide + 1]), axis=1) if len(t) else np.empty((0, 2), np.int64),
    )


def _inexact(summary: PhaseSummary, reason: str) -> PhaseSummary:
    peak = {name: replace(each, exact=False) for name, each in summary.peak.items()}
    return replace(summary, peak=peak, reason=reason)


def _texts(marks: Marks, start: int) -> tuple[TextMark, ...]:
    rows = np.flatnonzero(marks.kind == Kind.TEXT)
    return tuple(
        TextMark(int(marks.t_ns[i]) - start, marks.names[int(marks.name[i])]) for i in rows
    )


def _title(run: Run) -> str:
    argv = list(run.argv)
    if not argv:
        return "recording"
    if argv[0] == "-m" and len(argv) > 1:
        return f"-m {argv[1]}"
    return os.path.basename(argv[0].replace("\\", "/")) or argv[0]


def _ending(run: Run) -> str:
    if run.end == "exited":
        if run.exit_code is None:
            return "ended"
        return f"exited with code {run.exit_code}"
    if run.end == "killed":
        return f"killed by {run.signal}" if run.signal else "killed, it is not known by what"
    if run.end == "running":
        return "still running"
    return "cut off: no end was written"
