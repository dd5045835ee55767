"""From a Recording to an Analysis."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from timeline.analysis import phases, processes
from timeline.analysis.anatomy import take_apart
from timeline.analysis.death import find_death, notes_of
from timeline.analysis.devices import device_memories, merged, with_device_peaks
from timeline.analysis.limits import headrooms
from timeline.analysis.readings import NO_CEILING, Readings, first_largest, held, merge
from timeline.analysis.types import (
    HOST,
    NOT_RSS,
    Analysis,
    ChannelSummary,
    Curve,
    Instances,
    PhaseSummary,
    TextMark,
)
from timeline.recording.types import UNKNOWN, Ints, Kind, Marks, Recording, Run, Series
from timeline.units import format_duration

GAP_INTERVALS = 5
"""Two readings this many intervals apart have a gap between them."""


EVERY_CHANGE = "cuda snapshot"
"""The source of channels that have a reading at each change: in between nothing happened."""


def analyze(recording: Recording) -> Analysis:
    """Draw every conclusion that the views show: peaks, phases, gaps, what is not exact and why."""
    recording = processes.with_total(recording)
    run = recording.run
    start, end = run.started_ns, max(run.ended_ns, run.started_ns)
    marks = recording.marks
    names = sorted(recording.series, key=lambda name: (name != HOST, name))
    host = merge(recording.series.get(HOST), marks)
    readings = {name: host if name == HOST else merged(recording, name) for name in names}
    spans, begins, parent = phases.pair(marks, host, run.marks_until_ns or end)
    most = _most(recording.series.get(HOST), host, run)
    peaks = phases.measure(spans, host, most)
    instances = _instances(marks, spans, begins, parent, peaks, start)
    channels = tuple(
        _channel(recording.series[name], readings[name], instances, run, marks) for name in names
    )
    summaries = phases.summarize(instances, spans, peaks, host, (start, end))
    outside = phases.outside(spans, (start, end), host, most=most)
    if HOST not in recording.series and not len(instances):
        outside = None  # of memory that was not recorded there is nothing to say
    reason = _not_exact(recording.series.get(HOST))
    if reason:
        summaries = tuple(_inexact(each, reason) for each in summaries)
        outside = _inexact(outside, reason) if outside else None
        instances = replace(instances, exact=np.zeros(len(instances), bool))
    elif outside and len(host) and not spans.open.any():
        # A phase that is open at the end is not exact anyway; else the end lies outside of all.
        unseen = _unseen_end(run, int(host.t_ns[-1]), outside.peak[HOST].bytes)
        outside = _inexact(outside, unseen) if unseen else outside
    if marks.devices:
        summaries, outside = with_device_peaks(summaries, outside, recording, instances)
    readings = {
        name: held(each) if recording.series[name].channel.source == EVERY_CHANGE else each
        for name, each in readings.items()
    }
    curves = {name: _curve(recording.series[name], readings[name], run, start) for name in names}
    if recording.processes:
        _break_between_children(curves, processes.without_children(recording) - start)
    headroom = headrooms(recording)
    other = _other_than_parts(recording)
    death = find_death(recording, instances, host, readings, headroom)
    return Analysis(
        title=_title(run),
        run=run,
        duration_ns=end - start,
        ending=death.sentence if death is not None else _ending(run),
        channels=channels,
        curves=curves,
        phases=summaries,
        outside=outside,
        instances=instances,
        marks=_texts(marks, start),
        missing=(*recording.missing, *other),
        notes=(*recording.damage, *notes_of(recording, death)),
        limits=recording.limits,
        headroom=headroom,
        death=death,
        anatomy=take_apart(
            recording.anatomy, () if other else summaries, instances, start, recording.heaps, host
        ),
        devices=device_memories(recording, readings),
        snapshots=recording.snapshots,
        alive=recording.alive,
        lines=recording.lines,
        processes=processes.summarize(recording),
    )


def _not_exact(series: Series | None) -> str:
    """Why no phase can be exact, whatever its marks read; empty where they can."""
    if series is None:
        return f"{HOST} was not sampled"
    return "" if series.channel.exact else series.channel.reason or "it was only sampled"


def _other_than_parts(recording: Recording) -> tuple[str, ...]:
    """Why peaks cannot be taken apart: the parts add up to RSS, and the curve is of less."""
    host = recording.series.get(HOST)
    measured = NOT_RSS.get(host.channel.source) if host is not None else None
    if recording.anatomy is None or measured is None:
        return ()
    return (f"what peaks are made of: the parts add up to RSS, and the curve is {measured}",)


def _instances(
    marks: Marks,
    spans: phases.Spans,
    begins: Ints,
    parent: Ints,
    peaks: phases.Peaks,
    start: int,
) -> Instances:
    used, first, path = np.unique(marks.name[begins], return_index=True, return_inverse=True)
    in_order = np.argsort(first)
    rank = np.empty(len(used), np.int64)
    rank[in_order] = np.arange(len(used))
    known = peaks.peak != UNKNOWN
    return Instances(
        path=rank[path],
        begin_ns=spans.begin_ns - start,
        end_ns=spans.end_ns - start,
        open=spans.open,
        lane=phases.lanes(spans.begin_ns, spans.end_ns, parent),
        parent=parent,
        number=marks.phase[begins],
        thread=marks.thread[begins],
        peak=peaks.peak,
        delta=np.where(known, np.maximum(peaks.peak - peaks.before, 0), 0),
        exact=peaks.exact & known,
        detail=_detail(marks, begins),
        paths=tuple(marks.names[name] for name in used[in_order].tolist()),
    )


def _detail(marks: Marks, begins: Ints) -> dict[int, str]:
    if not marks.details:
        return {}
    index = {number: i for i, number in enumerate(marks.phase[begins].tolist())}
    return {index[number]: text for number, text in marks.details.items() if number in index}


def _channel(
    series: Series, readings: Readings, instances: Instances, run: Run, marks: Marks
) -> ChannelSummary:
    channel, start = series.channel, run.started_ns
    if not len(readings):
        return ChannelSummary(channel, len(series), 0, 0, None, False, "nothing was read", 0, 0)
    top = first_largest(readings.high, 0, len(readings))
    at = int(readings.t_ns[top]) - start
    phase = _innermost(instances, at)
    reason = _open_above(series, readings, run, int(readings.high[top]))
    steps = np.diff(series.t_ns)
    return ChannelSummary(
        channel=channel,
        samples=len(series),
        peak=int(readings.high[top]),
        peak_ns=at,
        peak_phase=phase,
        peak_at_end=phase is None and 0 < run.closed_ns <= int(readings.t_ns[top]),
        exact=channel.exact and not reason,
        reason=reason or channel.reason,
        baseline=_baseline(series, readings, marks),
        longest_gap_ns=int(steps.max()) if len(steps) else 0,
    )


def _open_above(series: Series, readings: Readings, run: Run, top: int) -> str:
    """Why a channel may have been above its largest reading; empty where it surely was not."""
    channel = series.channel
    if not channel.exact:
        return channel.reason
    # The first reading covers all the time before it, known or not.
    above = int((readings.ceiling > top).sum())
    if above:
        return f"{above} of {len(readings)} readings leave it open whether there was more"
    if channel.name != HOST:
        # The kernel's word after the end is of the host's memory.
        run = replace(run, last=0)
    return _unseen_end(run, int(readings.t_ns[-1]), top)


def _most(series: Series | None, readings: Readings, run: Run) -> int:
    """What the host's memory surely never went above, in bytes: the run's peak, if it is exact."""
    if series is None or not series.channel.exact or not len(readings):
        return NO_CEILING
    top = int(readings.high.max())
    return NO_CEILING if _open_above(series, readings, run, top) else top


def _baseline(series: Series, readings: Readings, marks: Marks) -> int:
    """Where the program began: the sampler's first look may fall into the exec before it."""
    if series.channel.name == HOST:
        own = np.flatnonzero(marks.rss != UNKNOWN)
        if len(own):
            return int(marks.rss[own[0]])
    return int(readings.value[0])


def _unseen_end(run: Run, last_ns: int, peak: int) -> str:
    """What an end hides that may have been over a peak, since nothing read the mark; or nothing."""
    if run.end == "cut-off":
        return "the recording was cut off: what came after its last reading is not known"
    if run.end == "running" or run.seen_to_end or last_ns >= run.ended_ns:
        return ""
    if 0 < run.last <= peak:
        return ""
    unseen = format_duration((run.ended_ns - last_ns) / 1e9)
    ended = "was killed" if run.end == "killed" else "ended"
    return f"the last {unseen} before it {ended} were not seen"


def _innermost(instances: Instances, at: int) -> str | None:
    """The path of the phase begun last of those that were open just before a moment."""
    around = np.flatnonzero((instances.begin_ns < at) & (instances.end_ns >= at))
    if not len(around):
        return None
    return instances.paths[int(instances.path[around[-1]])]


def _curve(series: Series, readings: Readings, run: Run, start: int) -> Curve:
    # Only host memory is sampled at the interval that was asked for; a dear channel has its own
    # pace, and a foreign recording may not tell its own. Marks lie much closer than samples.
    interval = run.interval_ns
    if len(series) > 1 and (series.channel.name != HOST or not interval):
        interval = max(interval, int(np.median(np.diff(series.t_ns))))
    wide = np.flatnonzero(np.diff(readings.t_ns) > GAP_INTERVALS * max(interval, 1))
    if series.channel.source == EVERY_CHANGE:
        wide = wide[:0]
    t = readings.t_ns - start
    return Curve(
        channel=series.channel,
        t_ns=t,
        value=readings.value,
        high=readings.high,
        known=readings.known,
        gaps_ns=np.stack((t[wide], t[wide + 1]), axis=1) if len(t) else np.empty((0, 2), np.int64),
    )


def _break_between_children(curves: dict[str, Curve], none_ns: Ints) -> None:
    """Sums of children are read where something changes: a long wait alone is no gap in them."""
    for name in processes.FAMILY:
        if name not in curves:
            continue
        t = curves[name].t_ns
        before = np.searchsorted(t, none_ns[:, 0], side="right") - 1
        before = np.unique(before[(before >= 0) & (before < len(t) - 1)])
        gaps = np.stack((t[before], t[before + 1]), axis=1).reshape(-1, 2)
        if name == processes.TOTAL:  # where the target was not sampled it is not known either
            gaps = np.unique(np.concatenate((gaps, curves[name].gaps_ns)), axis=0)
        curves[name] = replace(curves[name], gaps_ns=gaps)


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
