"""What of one rank's recording is kept for the comparison of all: some kilobytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from timeline.analysis.analyze import analyze
from timeline.analysis.rank_curves import Extremes, extremes_of
from timeline.analysis.rank_types import RankPeak, RankSummary
from timeline.analysis.types import HOST, Analysis
from timeline.recording.types import UNKNOWN, Ints, Recording


@dataclass(frozen=True, slots=True, eq=False)
class PhaseOfRank:
    """One phase of one rank.

    Attributes:
        peak: UNKNOWN where nothing was read.
        begin_ns: [count] since the beginning of all ranks, in order.
    """

    path: str
    total_ns: int
    peak: int
    delta: int
    exact: bool
    begin_ns: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Extract:
    """What is kept of one rank."""

    summary: RankSummary
    title: str
    argv: tuple[str, ...]
    cwd: str
    run: str
    restart: int
    started_time_ns: int
    phases: tuple[PhaseOfRank, ...]
    curve: Extremes | None
    missing: tuple[str, ...]


def extract(recording: Recording, rank: int, offset_ns: int | None, zero_ns: int) -> Extract:
    """Look at one rank's recording.

    Args:
        recording: of the rank.
        rank: its number.
        offset_ns: what brings its monotonic times onto the clock of all ranks; None where nothing
            tells, and it is taken to have begun with the first.
        zero_ns: the beginning of all ranks on that clock.
    """
    analysis = analyze(recording)
    run = recording.run
    begin = 0 if offset_ns is None else run.started_ns + offset_ns - zero_ns
    peaks = {
        each.channel.name: RankPeak(
            each.peak,
            each.peak_ns + begin,
            each.peak_phase,
            each.exact,
            each.samples,
            each.longest_gap_ns,
        )
        for each in analysis.channels
        if len(analysis.curves[each.channel.name].t_ns)
    }
    assert recording.path is not None
    curve = analysis.curves.get(HOST)
    return Extract(
        summary=RankSummary(
            rank=rank,
            host=run.host,
            pid=run.pid,
            path=recording.path,
            end=run.end,
            exit_code=run.exit_code,
            signal=run.signal,
            ending=analysis.ending,
            failed=run.end in ("killed", "cut-off") or bool(run.exit_code),
            begin_ns=begin,
            end_ns=begin + analysis.duration_ns,
            in_phase=_open_at_end(analysis),
            peaks=peaks,
            notes=len(analysis.notes),
        ),
        title=analysis.title,
        argv=run.argv,
        cwd=run.cwd,
        run=run.rank.run if run.rank else "",
        restart=run.rank.restart if run.rank else 0,
        started_time_ns=run.started_time_ns,
        phases=_phases(analysis, begin),
        curve=extremes_of(curve, begin) if curve is not None and len(curve.t_ns) else None,
        missing=analysis.missing,
    )


def _open_at_end(analysis: Analysis) -> str | None:
    last = np.flatnonzero(analysis.instances.open)
    return analysis.instances.paths[int(analysis.instances.path[last[-1]])] if len(last) else None


def _phases(analysis: Analysis, begin_ns: int) -> tuple[PhaseOfRank, ...]:
    instances = analysis.instances
    out = []
    order = np.argsort(instances.path, kind="stable")
    cuts = np.searchsorted(instances.path[order], np.arange(len(instances.paths) + 1))
    for i, phase in enumerate(analysis.phases):
        rows = order[cuts[i] : cuts[i + 1]]
        peak = phase.peak.get(HOST)
        known = peak is not None and bool((instances.peak[rows] != UNKNOWN).any())
        out.append(
            PhaseOfRank(
                path=phase.path,
                total_ns=phase.total_ns,
                peak=peak.bytes if peak and known else UNKNOWN,
                delta=peak.delta if peak else 0,
                exact=bool(peak and peak.exact),
                begin_ns=instances.begin_ns[rows] + begin_ns,
            )
        )
    return tuple(out)
