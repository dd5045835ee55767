"""What of one rank's recording is kept for the comparison of all: some kilobytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from timeline.analysis.analyze import analyze
from timeline.analysis.rank_types import RankPeak, RankSummary, least_known
from timeline.analysis.types import HOST, Analysis, Curve
from timeline.recording.types import UNKNOWN, Ints, Recording

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
        curve=_extremes(curve, begin) if curve is not None and len(curve.t_ns) else None,
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


def _extremes(curve: Curve, begin_ns: int) -> Extremes:
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
