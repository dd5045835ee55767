"""Phases over all ranks: what each rank needed in them, and which came into them last."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from timeline.analysis.rank_extract import PhaseOfRank
from timeline.analysis.rank_types import RankPhase, Slowest, Spread
from timeline.recording.types import UNKNOWN


class PhasesOfRanks:
    """Takes the phases of one rank after the other, and keeps columns of a size that ranks and
    instances have, never both.
    """

    def __init__(self) -> None:
        self._paths: dict[str, _Path] = {}

    def take(self, rank: int, phases: Sequence[PhaseOfRank]) -> None:
        """Take one rank in."""
        for each in phases:
            self._paths.setdefault(each.path, _Path()).take(rank, each)

    def summaries(self, doubt_ns: int) -> tuple[RankPhase, ...]:
        """The phases in the order of first appearance.

        Args:
            doubt_ns: how much the ranks' clocks can be apart; UNKNOWN where nothing tells.
        """
        return tuple(each.summary(path, doubt_ns) for path, each in self._paths.items())


class _Path:
    def __init__(self) -> None:
        self.ranks: list[int] = []
        self.peaks: list[int] = []
        self.totals: list[int] = []
        self.exact: list[bool] = []
        self.delta = 0
        self.count = 0
        # By instance: how many ranks came into it, the first and the last of them, and who that is.
        self._came = np.empty(0, np.int64)
        self._first = np.empty(0, np.int64)
        self._last = np.empty(0, np.int64)
        self._who = np.empty(0, np.int64)

    def take(self, rank: int, phase: PhaseOfRank) -> None:
        self.ranks.append(rank)
        self.peaks.append(phase.peak)
        self.totals.append(phase.total_ns)
        self.exact.append(phase.exact)
        self.delta = max(self.delta, phase.delta)
        begin, n = phase.begin_ns, len(phase.begin_ns)
        self.count += n
        more = n - len(self._came)
        if more > 0:
            self._came = np.pad(self._came, (0, more))
            self._who = np.pad(self._who, (0, more))
            self._first = np.pad(self._first, (0, more), constant_values=np.iinfo(np.int64).max)
            self._last = np.pad(self._last, (0, more), constant_values=np.iinfo(np.int64).min)
        later = begin > self._last[:n]
        self._who[:n][later] = rank
        self._came[:n] += 1
        np.maximum(self._last[:n], begin, out=self._last[:n])
        np.minimum(self._first[:n], begin, out=self._first[:n])

    def summary(self, path: str, doubt_ns: int) -> RankPhase:
        peaks = dict(zip(self.ranks, self.peaks, strict=True))
        peak = Spread.of({rank: size for rank, size in peaks.items() if size != UNKNOWN})
        return RankPhase(
            path=path,
            ranks=len(self.ranks),
            count=self.count,
            sum_ns=sum(self.totals),
            peak=peak,
            delta=self.delta,
            exact=peak is not None and self.exact[self.ranks.index(peak.most_rank)],
            total_ns=Spread.of(dict(zip(self.ranks, self.totals, strict=True))),
            slowest=self._slowest(doubt_ns),
        )

    def _slowest(self, doubt_ns: int) -> Slowest | None:
        # Into what came after the death of one, the others came without it.
        together = np.flatnonzero(self._came == len(self.ranks))
        if len(self.ranks) < 2 or not len(together):
            return None
        numbers, times = np.unique(self._who[together], return_counts=True)
        most = int(np.argmax(times))
        behind = self._last[together] - self._first[together]
        return Slowest(
            rank=int(numbers[most]),
            times=int(times[most]),
            of=len(together),
            behind_ns=int(behind.mean()),
            doubt_ns=doubt_ns,
            ranks=len(self.ranks),
        )
