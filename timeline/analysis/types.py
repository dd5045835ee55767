"""The conclusions drawn from a recording: what every view shows, and nothing else.

Times are nanoseconds since the start of the run (int64), sizes are bytes (int64).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from timeline.recording.types import Alive, Channel, Device, Ints, Limit, Run

if TYPE_CHECKING:
    from timeline.analysis.anatomy import Anatomized
    from timeline.recording.lines import TracedFunction

HOST = "host.rss"
"""The channel that marks carry readings of, and that the views put first."""

NOT_RSS = {"memory_profiler:psutil_uss": "USS", "memory_profiler:psutil_pss": "PSS"}
"""Sources of `HOST` that read another size than RSS, and its name."""


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
        peak_at_end: whether the program had ended by then, and the process was about to: libraries
            such as torch's touch a hundred megabytes of their own as they are let go of.
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
    peak_at_end: bool = False


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
        number: [p] its number in the recording, by which a mark means it.
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
    number: Ints
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


@dataclass(frozen=True, slots=True)
class Headroom:
    """How near the run came to a limit.

    Attributes:
        peak: the most that counts against the limit.
        last: the last reading of it; -1 where there is none.
        exact: whether ``peak`` is the kernel's own maximum.
        hard: whether the kernel kills, or refuses memory, at this limit.
        cache: how much of ``peak`` was page cache, which the kernel takes back before it kills;
            -1 where it is not known.
    """

    limit: Limit
    peak: int
    last: int
    exact: bool
    hard: bool
    cache: int

    @property
    def room(self) -> int:
        """Bytes between the peak and the limit."""
        return self.limit.bytes - self.peak


@dataclass(frozen=True, slots=True)
class Growth:
    """The most that one instance of a phase grew by during the last seconds."""

    path: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Death:
    """How a run ended that did not end well.

    Attributes:
        cause: ``oom-cgroup``, ``oom-machine``, ``oom-probable``, ``oom-other`` (a process beside
            it was taken), ``memory-error``, ``gpu-memory-error``, ``exception``, ``left``
            (without Python's own end), ``signal``, ``killed``, ``recorder-lost``, ``cut-off``.
        certain: whether it was read, and not only concluded from how memory stood.
        sentence: one sentence: by what, at what memory of which limit, in which step and phase.
        bytes: the memory in it; -1 where none was read.
        limit: the limit in it, in bytes; -1 for none.
        limited: what the limit is of: a cgroup's directory, ``machine``, ``RLIMIT_AS``,
            ``cuda0``; ``gpu`` where torch does not say which.
        phase: path of the innermost phase; None outside every phase.
        step: its number, from 1; 0 where the phase belongs to none.
        evidence: what tells so, as a sentence; empty where the end itself does.
        last: what the last seconds looked like, as a sentence.
        grew: the phases that grew most in them.
    """

    cause: str
    certain: bool
    sentence: str
    bytes: int
    limit: int
    limited: str
    phase: str | None
    step: int
    evidence: str
    last: str
    grew: tuple[Growth, ...]


@dataclass(frozen=True, slots=True)
class OnDevice:
    """What was on a GPU at one moment, in bytes; -1 for what is not known.

    Attributes:
        allocated: by torch, for tensors and its own needs.
        cached: reserved by torch and not allocated.
        outside: used beside that: CUDA's context, libraries, other processes.
        used: of the device, by whomever.
        process: by the target and its children, by the driver's account.
    """

    t_ns: int
    allocated: int
    cached: int
    outside: int
    used: int
    process: int


@dataclass(frozen=True, slots=True, eq=False)
class DeviceMemory:
    """One GPU over time, as three layers that lie on each other; -1 for what is not known.

    Attributes:
        by_torch: whether torch told of it; else all that is used is ``outside``.
        t_ns: [n] since the start of the run.
        allocated, cached: [n] the largest since the reading before.
        outside: [n] as the driver last told it.
        used: [n] of the device, as the driver last told it.
        peak: where torch had the most allocated, or else where the most was used.
        retries: how often an allocation had to wait for cached memory to be given back.
        ooms: how often one failed.
    """

    device: Device
    by_torch: bool
    t_ns: Ints
    allocated: Ints
    cached: Ints
    outside: Ints
    used: Ints
    peak: OnDevice
    retries: int
    ooms: int

    @property
    def name(self) -> str:
        """``cuda0`` where the target's number is known, else the driver's: ``gpu0``."""
        return f"cuda{self.device.cuda}" if self.device.cuda >= 0 else self.device.name


@dataclass(frozen=True, slots=True)
class ProcessSummary:
    """A child of the target, or a child's child, in one line.

    Attributes:
        parent: the pid that it was found under.
        label: what a reader would call it: its command without the interpreter, or its own name.
        command: its command line, cut where it was long.
        begin_ns, end_ns: of its life as far as it was recorded, since the start of the run.
        ended: whether it was seen to have ended.
        peak: the kernel's high-water mark of its RSS, in which pages that it shares with others
            count in full; ``UNKNOWN`` where it was never read.
        pss: the largest proportional set size read; ``UNKNOWN`` where none was.
        exact: whether ``peak`` is the true maximum: nobody saw the last moments of one that ended.
        signal: the name of the signal that killed it, where the kernel told; else empty.
    """

    pid: int
    parent: int
    label: str
    command: str
    begin_ns: int
    end_ns: int
    ended: bool
    peak: int
    peak_ns: int
    pss: int
    exact: bool
    signal: str = ""


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
        processes: the target's children, in the order in which they were found.
        limits: what the target may have at the most, all that were read.
        headroom: how near it came to its limits, the one with the least room first.
        devices: the GPUs, those that the target numbers first.
        snapshots: paths of torch's own history of GPU memory, as `Recording.snapshots`.
        alive: what was handed out at the GPU's peak, as `Recording.alive`.
        death: what it died of; None where it lives, or ended as programs do.
        anatomy: what the peaks are made of; None where no step was weighed.
        lines: the functions that were traced line by line.
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
    limits: tuple[Limit, ...] = ()
    headroom: tuple[Headroom, ...] = ()
    death: Death | None = None
    anatomy: Anatomized | None = None
    devices: tuple[DeviceMemory, ...] = ()
    snapshots: tuple[str, ...] = ()
    alive: tuple[Alive, ...] = ()
    processes: tuple[ProcessSummary, ...] = ()
    lines: tuple[TracedFunction, ...] = ()
