"""From the recordings of all ranks of a run to one `RanksAnalysis`, one rank at a time.

No more of a rank is kept than `timeline.analysis.rank_extract` says, so that a thousand ranks of an
hour fit into the memory of a laptop.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from timeline.analysis.clocks import Clocks, align
from timeline.analysis.rank_curves import LEAST_WIDTH_NS, Extremes, RankCurves
from timeline.analysis.rank_extract import Extract, extract
from timeline.analysis.rank_phases import PhasesOfRanks
from timeline.analysis.rank_types import (
    RankChannel,
    RankPeak,
    RanksAnalysis,
    RankSummary,
    Spread,
)
from timeline.analysis.rank_words import ending, ranks_named
from timeline.analysis.types import HOST
from timeline.errors import NoRecordingError, TimelineError
from timeline.recording.group import Glance, Group, glance
from timeline.recording.reader import load_directory, load_marks
from timeline.recording.types import UNKNOWN, Ints, Marks
from timeline.units import format_duration

ALONE = 48
"""So many ranks are read by this process; more by several, each of which takes 0.5 s to start."""

MOST_PROCESSES = 8

A_CORE = 2
"""Processes for each core: recordings that were not read lately come from a disk, or a server."""

_DEVICE = re.compile(r"^(torch\.[a-z]+|gpu)\d+(\.mig\d+)?")

APART_NS = 60 * 10**9
"""Ranks of one run that began further apart than this did so for a reason, or by a wrong clock."""


def analyze_ranks(group: Group) -> RanksAnalysis:
    """Compare all ranks of a run.

    Raises:
        NoRecordingError: not one of them can be read.
    """
    glances = {rank: glance(path) for rank, path in group.ranks.items()}
    clocks = align(glances, lambda rank: _marks(group.ranks[rank]))
    zero = _zero(glances, clocks)
    merged = _Merged()
    unread: dict[int, str] = {}
    for rank, found in _extracts(group, clocks, zero):
        if isinstance(found, str):
            unread[rank] = found
        else:
            merged.take(found)
    if not merged.summaries:
        why = next(iter(unread.values()), "there is no directory of any rank")
        raise NoRecordingError(f"{group.path} holds no rank that can be read: {why}")
    return merged.analysis(group, clocks, unread)


def _marks(path: Path) -> Marks | None:
    try:
        return load_marks(path)
    except (TimelineError, OSError):
        return None


def _zero(glances: dict[int, Glance], clocks: Clocks) -> int:
    begun = [
        each.anchors[0].monotonic_ns + clocks.offset_ns[rank]
        for rank, each in glances.items()
        if each.anchors and rank in clocks.offset_ns
    ]
    return min(begun, default=0)


@dataclass(frozen=True, slots=True)
class _Task:
    rank: int
    path: Path
    offset_ns: int | None
    zero_ns: int


def _look(task: _Task) -> tuple[int, Extract | str]:
    try:
        recording = load_directory(task.path)
    except TimelineError as error:
        return task.rank, str(error)
    return task.rank, extract(recording, task.rank, task.offset_ns, task.zero_ns)


def _extracts(group: Group, clocks: Clocks, zero: int) -> Iterator[tuple[int, Extract | str]]:
    tasks = [
        _Task(rank, path, clocks.offset_ns.get(rank), zero) for rank, path in group.ranks.items()
    ]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processes = min(A_CORE * (cores or 1), MOST_PROCESSES)
    if len(tasks) <= ALONE:
        yield from map(_look, tasks)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_look, tasks, chunksize=4)


class _Merged:
    """What is known of the ranks so far."""

    def __init__(self) -> None:
        self.summaries: list[RankSummary] = []
        self._first: Extract | None = None
        self._phases = PhasesOfRanks()
        self._curves: dict[int, tuple[int, Ints, Ints]] = {}
        self._doublings = 0
        self._missing: Counter[str] = Counter()
        self._runs: dict[tuple[str, int], list[int]] = {}

    def take(self, found: Extract) -> None:
        """Take one rank in."""
        rank = found.summary.rank
        self.summaries.append(found.summary)
        self._first = self._first or found
        self._phases.take(rank, found.phases)
        self._missing.update(found.missing)
        if found.run:
            self._runs.setdefault((found.run, found.restart), []).append(rank)
        if found.curve is not None:
            self._curves[rank] = found.curve.doublings, found.curve.low, found.curve.high
            self._doublings = max(self._doublings, found.curve.doublings)

    def analysis(self, group: Group, clocks: Clocks, unread: dict[int, str]) -> RanksAnalysis:
        """The conclusions."""
        first = self._first
        assert first is not None
        ranks = tuple(self.summaries)
        begin = min(each.begin_ns for each in ranks)
        peaks = {each.rank: each.peaks[HOST].bytes for each in ranks if HOST in each.peaks}
        return RanksAnalysis(
            title=first.title,
            path=group.path,
            run=first.run,
            restart=first.restart,
            world=group.world,
            absent=group.absent,
            argv=first.argv,
            cwd=first.cwd,
            started_time_ns=first.started_time_ns,
            duration_ns=max(each.end_ns for each in ranks) - begin,
            ranks=ranks,
            unread=unread,
            channel=HOST,
            others=_others(ranks),
            peak=Spread.of(peaks),
            phases=self._phases.summaries(clocks.error_ns),
            curves=self._all_curves(),
            clocks=clocks.remarks,
            ending=ending(ranks, group.absent, unread),
            missing=tuple(self._missing),
            notes=self._notes(ranks, unread),
        )

    def _all_curves(self) -> RankCurves | None:
        if not self._curves:
            return None
        length = 0
        rows = {}
        for rank in list(self._curves):
            curve = Extremes(*self._curves.pop(rank)).widened(self._doublings)
            length = max(length, len(curve.low))
            rows[rank] = curve
        low = np.full((len(rows), length), UNKNOWN, np.int64)
        high = low.copy()
        for i, curve in enumerate(rows.values()):
            low[i, : len(curve.low)], high[i, : len(curve.high)] = curve.low, curve.high
        width = LEAST_WIDTH_NS << self._doublings
        return RankCurves(
            begin_ns=np.arange(length, dtype=np.int64) * width,
            width_ns=width,
            ranks=tuple(rows),
            low=low,
            high=high,
        )

    def _notes(self, ranks: Sequence[RankSummary], unread: dict[int, str]) -> tuple[str, ...]:
        notes = [f"rank {rank} cannot be read: {why}" for rank, why in list(unread.items())[:5]]
        if len(unread) > 5:
            notes.append(f"and {len(unread) - 5:,} more ranks cannot be read")
        if len(self._runs) > 1:
            fewest = min(self._runs.items(), key=lambda item: len(item[1]))
            notes.append(
                f"{ranks_named(fewest[1])} of another run than the others: "
                f"{fewest[0][0]}, restart {fewest[0][1]}"
            )
        damaged = [each.rank for each in ranks if each.notes]
        if damaged:
            notes.append(f"parts of the recording are lost of {ranks_named(damaged)}")
        latest = max(ranks, key=lambda each: each.begin_ns)
        late = latest.begin_ns - min(each.begin_ns for each in ranks)
        if late > APART_NS:
            notes.append(
                f"rank {latest.rank} on {latest.host} began {format_duration(late / 1e9)} after "
                "the first: it did, or its clock is wrong"
            )
        return tuple(notes)


def _others(ranks: Sequence[RankSummary]) -> tuple[RankChannel, ...]:
    """The channels beside host memory, each rank's devices taken for one."""
    peaks: dict[str, dict[int, RankPeak]] = {}
    for each in ranks:
        for name, peak in each.peaks.items():
            own = peaks.setdefault(_DEVICE.sub(r"\1*", name), {})
            if each.rank not in own or peak.bytes > own[each.rank].bytes:
                own[each.rank] = peak
    peaks.pop(HOST, None)
    out = []
    for name, by_rank in peaks.items():
        spread = Spread.of({rank: peak.bytes for rank, peak in by_rank.items()})
        if spread is not None:
            out.append(RankChannel(name, spread, by_rank[spread.most_rank].exact))
    return tuple(out)
