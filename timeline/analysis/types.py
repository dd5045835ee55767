"""The conclusions drawn from a recording: what every view shows, and nothing else.

Times are nanoseconds since the start of the run (int64), sizes are bytes (int64).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from timeline.recording.types import Channel, Ints, Run

HOST = "host.rss"
"""The channel that marks carry readings of, and that the views put first."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Every reading of one channel, the sampler's and the marks', in the order of time.

    Attributes:
        t_ns: [n] since the start of the run.
        value: [n] the quantity at that moment.
        high: [n] its maximum since the reading before; equal to ``value`` where not known, so that
            ``high.max()`` is the best known maximum.
        known: [n] bool, whether ``high`` came from the kernel.
        gaps_ns: [g, 2] stretches without a sample: the readings at their two ends. The line is
            broken there; ``high`` of the reading after still tells the maximum inside.
    """

    channel: Channel
    t_ns: Ints
    value: Ints
    high: Ints
    known: NDArray[np.bool_]
    gaps_ns: Ints


@dataclass(frozen=True, slots=True)
class ChannelSummary:
    """One channel of the run in one line.

    Attributes:
        samples: rows that the sampler took (marks not counted).
        peak_phase: path of the innermost phase open at the peak; None outside every phase.
        exact: whether ``peak`` is the true maximum and not only the largest sample.
        reason: a sentence why it is not exact; empty where it is.
        baseline: the first known value.
    """

    channel: Channel
    samples: int
    peak: int
    peak_ns: int
    peak_phase: str | None
    exact: bool
    reason: str
    baseline: int
    longest_gap_ns: int


@dataclass(frozen=True, slots=True)
class PhasePeak:
    """The peak of all instances of one phase on one channel.

    Attributes:
        bytes: the largest reading inside any instance.
        delta: the most that any instance needed on top of what it found: its peak less the
            reading at its beginning.
        kept: what the phase left behind: end less begin, summed over the ended instances.
        exact: whether no instance can have been higher.
        t_ns: when the reading that showed it was taken.
    """

    bytes: int
    delta: int
    kept: int
    exact: bool
    t_ns: int


@dataclass(frozen=True, slots=True)
class PhaseSummary:
    """All instances of one path.

    Attributes:
        open: instances that never ended (an exit, a kill).
        total_ns: their time together; overlapping instances each count.
        share: ``total_ns`` over the run's duration.
        peak: by channel name.
        reason: a sentence why a peak is not exact; empty where all are.
    """

    path: str
    count: int
    open: int
    total_ns: int
    share: float
    first: int
    peak: Mapping[str, PhasePeak]
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Instances:
    """Every phase that was begun, as columns, in the order of beginning.

    Attributes:
        path: [p] index into ``paths``.
        begin_ns, end_ns: [p] an open one ends with the run.
        open: [p] bool, never ended.
        lane: [p] 0-based row to draw it in: nesting first, then overlap between threads and tasks.
        parent: [p] index of the instance around it, -1 for none.
        thread: [p]
        peak, delta: [p] on ``HOST``; -1 and 0 where nothing was read.
        exact: [p] bool.
        detail: by index, what more is known, such as the class of a module.
        paths: every path once, in the order of first appearance.
    """

    path: Ints
    begin_ns: Ints
    end_ns: Ints
    open: NDArray[np.bool_]
    lane: Ints
    parent: Ints
    thread: Ints
    peak: Ints
    delta: Ints
    exact: NDArray[np.bool_]
    detail: Mapping[int, str]
    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.begin_ns)

    @property
    def lanes(self) -> int:
        """How many rows it takes to draw all instances without overlap."""
        return int(self.lane.max()) + 1 if len(self) else 0


@dataclass(frozen=True, slots=True)
class TextMark:
    """A text that the user marked a moment with."""

    t_ns: int
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """What a view shows.

    Attributes:
        title: the script or module, short.
        ending: one sentence on how the run ended, such as ``exited with code 0``.
        channels: the summaries, ``HOST`` first.
        curves: by channel name, in the same order.
        phases: in the order of first appearance.
        outside: time and peak outside every phase (path ``""``); None if there is none.
        missing: a sentence for each thing that could not be measured.
        notes: a sentence for each thing to know about these figures, such as damage to the file.
    """

    title: str
    run: Run
    duration_ns: int
    ending: str
    channels: tuple[ChannelSummary, ...]
    curves: Mapping[str, Curve]
    phases: tuple[PhaseSummary, ...]
    outside: PhaseSummary | None
    instances: Instances
    marks: tuple[TextMark, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
