"""The conclusions drawn from all ranks of a run: what the views of ranks show.

Times are nanoseconds since the first rank began, on one clock; sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from timeline.analysis.rank_curves import RankCurves
from timeline.recording.types import UNKNOWN, End


@dataclass(frozen=True, slots=True)
class RankPeak:
    """The peak of one channel of one rank.

    Attributes:
        bytes: the largest reading.
        t_ns: when that was.
        phase: path of the innermost phase open then; None outside every phase.
        exact: whether it is the true maximum.
        samples: rows that the sampler took.
        longest_gap_ns: between two of them.
    """

    bytes: int
    t_ns: int
    phase: str | None
    exact: bool
    samples: int
    longest_gap_ns: int


@dataclass(frozen=True, slots=True)
class RankSummary:
    """One rank in one line.

    Attributes:
        rank, host, pid: who it was.
        path: its run directory, which can be opened on its own.
        end: as in `timeline.recording.types.Run`.
        exit_code, signal: as there, where they are known.
        ending: one sentence on how it ended.
        failed: whether it ended in another way than with exit code 0; one that runs has not.
        begin_ns, end_ns: of its recording.
        in_phase: the path of the innermost phase that was open at its end; None for none.
        peaks: by channel name; a channel without a reading is left out.
        notes: how many sentences its own report has on damage.
    """

    rank: int
    host: str
    pid: int
    path: Path
    end: End
    exit_code: int | None
    signal: str | None
    ending: str
    failed: bool
    begin_ns: int
    end_ns: int
    in_phase: str | None
    peaks: Mapping[str, RankPeak]
    notes: int


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over the ranks that have it, with a rank at each end.

    Attributes:
        least, median, most: the figures.
        least_rank, most_rank: whose they are; the lowest of several.
    """

    least: int
    least_rank: int
    median: int
    most: int
    most_rank: int

    @classmethod
    def of(cls, values: Mapping[int, int]) -> Spread | None:
        """Of a figure by rank; None of no ranks."""
        if not values:
            return None
        least = min(values, key=lambda rank: (values[rank], rank))
        most = max(values, key=lambda rank: (values[rank], -rank))
        middle = sorted(values.values())[(len(values) - 1) // 2]
        return cls(values[least], least, middle, values[most], most)

    @property
    def imbalance(self) -> float:
        """The most over the median; 1 where all are alike."""
        return self.most / self.median if self.median > 0 else 1.0


OFTEN = 0.25
"""Who is last in a quarter of all instances, of many ranks, is so for a reason."""


@dataclass(frozen=True, slots=True)
class Slowest:
    """Who came last into a phase, over its instances that every rank came into.

    Attributes:
        rank: the one that was last most often.
        times: in how many instances it was.
        of: how many instances there were.
        behind_ns: how long after the first rank the last came, in the mean of all instances.
        doubt_ns: how much of that the clocks can be wrong by; UNKNOWN where nothing tells.
        ranks: how many they were.
    """

    rank: int
    times: int
    of: int
    behind_ns: int
    doubt_ns: int
    ranks: int

    @property
    def told(self) -> bool:
        """Whether the clocks are good enough to say it."""
        return self.doubt_ns != UNKNOWN and self.behind_ns > self.doubt_ns

    @property
    def one(self) -> bool:
        """Whether it is that rank, and not one rank or another by chance."""
        return self.times >= max(OFTEN, 1.5 / self.ranks) * self.of


@dataclass(frozen=True, slots=True)
class RankPhase:
    """One phase over all ranks.

    Attributes:
        ranks: how many ranks came into it.
        count: instances of all ranks together.
        sum_ns: their time together.
        peak, total_ns: over the ranks; ``peak`` is None where nothing was read in it.
        delta: the most that an instance of any rank needed on top of what it found.
        exact: whether the largest peak is exact.
        slowest: None where fewer than two ranks came into the same instance.
    """

    path: str
    ranks: int
    count: int
    sum_ns: int
    peak: Spread | None
    delta: int
    exact: bool
    total_ns: Spread | None
    slowest: Slowest | None


@dataclass(frozen=True, slots=True)
class RankChannel:
    """One channel over the ranks that have it.

    Attributes:
        name: of the channel; ``torch.cuda*.allocated`` is of whichever devices a rank has, the
            largest of them.
        peak: over the ranks.
        exact: whether the largest is exact.
    """

    name: str
    peak: Spread
    exact: bool


@dataclass(frozen=True, slots=True)
class ClockRemark:
    """How the clock of some ranks was brought onto that of the first.

    Attributes:
        host: where they ran.
        ranks: which they are.
        method: ``same clock``, ``file server``, ``phases``, ``wall clock`` or ``none``.
        shift_ns: what was added to their wall clock, less what was added to the first one's.
        error_ns: by how much it can be wrong; UNKNOWN where nothing tells.
        sentence: all of that in words.
    """

    host: str
    ranks: tuple[int, ...]
    method: str
    shift_ns: int
    error_ns: int
    sentence: str


@dataclass(frozen=True, slots=True, eq=False)
class RanksAnalysis:
    """What a view of ranks shows.

    Attributes:
        title: the script or module.
        path: the directory of all ranks.
        run, restart: the launcher's name of the run, and how often all ranks were started again.
        world: how many ranks there were.
        absent: ranks without a recording here.
        argv, cwd: what the first rank ran, and where.
        started_time_ns: wall clock of the beginning, of the host of the first rank; 0 if unknown.
        duration_ns: from the first beginning to the last end.
        ranks: those that could be read.
        unread: the others, with the reason for each.
        channel: the channel of ``peak``, the phases and the curves.
        others: the other channels.
        peak: of ``channel``, over the ranks; None where nothing was read.
        phases: in the order of first appearance.
        curves: None where nothing was read.
        clocks: one for each clock that the ranks had.
        ending: one sentence on how they ended.
        missing, notes: as in `timeline.analysis.types.Analysis`, each once for all ranks that share
            it.
    """

    title: str
    path: Path
    run: str
    restart: int
    world: int
    absent: tuple[int, ...]
    argv: tuple[str, ...]
    cwd: str
    started_time_ns: int
    duration_ns: int
    ranks: tuple[RankSummary, ...]
    unread: Mapping[int, str]
    channel: str
    others: tuple[RankChannel, ...]
    peak: Spread | None
    phases: tuple[RankPhase, ...]
    curves: RankCurves | None
    clocks: tuple[ClockRemark, ...]
    ending: str
    missing: tuple[str, ...]
    notes: tuple[str, ...]

    def rank(self, number: int) -> RankSummary:
        """The summary of a rank that could be read."""
        return next(each for each in self.ranks if each.rank == number)
