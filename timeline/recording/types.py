"""The facts of one run, as read back from its directory: what was read, never what it means.

Times are nanoseconds of ``CLOCK_MONOTONIC`` (int64), sizes are bytes (int64). Columns, not objects:
a million samples are four arrays. ``UNKNOWN`` (-1) stands where a reading could not be had.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from timeline.units import format_duration

if TYPE_CHECKING:
    from timeline.recording.anatomy import Anatomy, HeapLook
    from timeline.recording.lines import TracedFunction

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

UNKNOWN = -1
"""Stands in a column of sizes for a reading that could not be had."""

End = Literal["exited", "killed", "cut-off", "running"]


@dataclass(frozen=True, slots=True)
class Channel:
    """One quantity that was read over time.

    Attributes:
        name: such as ``host.rss``; design words, never with a unit in it.
        unit: ``byte`` for every channel of memory.
        source: who read it: ``linux``, ``psutil``, ``memory_profiler:psutil_uss``, ``mprof``.
        exact: whether every reading carries the kernel's maximum since the reading before.
        reason: a sentence why it is not exact; empty where it is.
    """

    name: str
    unit: str
    source: str
    exact: bool
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """The sampler's readings of one channel, in the order of time.

    Attributes:
        channel: what was read.
        begun_ns: [n] when each read began.
        t_ns: [n] when each read had ended (before the mark was reset); ``begun_ns <= t_ns``.
        value: [n] the quantity at that moment.
        high: [n] its maximum since the reading before, whoever took that; ``UNKNOWN`` where the
            high-water mark could not be read or reset. Never under ``value`` where known.
        unseen: [n] bytes, the most that memory can have grown between the read and its reset, which
            nothing tells of; 0 where they were one moment, `LIMIT` where it is not known.
    """

    channel: Channel
    begun_ns: Ints
    t_ns: Ints
    value: Ints
    high: Ints
    unseen: Ints

    def __len__(self) -> int:
        return len(self.t_ns)

    def __repr__(self) -> str:
        return f"<Series {self.channel.name}: {_count(len(self), 'sample')}>"


class Kind(IntEnum):
    """What a mark says."""

    BEGIN = 0
    END = 1
    TEXT = 2
    READING = 3


@dataclass(frozen=True, slots=True)
class Mark:
    """One mark, as a value; the columns are in `Marks`."""

    kind: Kind
    t_ns: int
    name: str
    phase: int
    rss: int
    high: int


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """What the user's process wrote: begins and ends of phases and texts, in the order of time.

    A mark carries a reading of ``host.rss`` of its own, taken between ``begun_ns`` (before the
    read) and ``t_ns`` (after the reset), or ``UNKNOWN`` where it carries time alone.

    Attributes:
        kind: [m] of `Kind`. READING is a bare reading that belongs to no phase.
        begun_ns: [m]
        t_ns: [m]
        phase: [m] the phase's number, equal in its begin and its end and unique in a recording;
            ``UNKNOWN`` for TEXT and READING.
        parent: [m] the number of the phase that it was begun in, else ``UNKNOWN``.
        thread: [m] an id of the thread.
        name: [m] index into ``names``: the phase's path or the text; ``UNKNOWN`` for READING.
        rss: [m] ``host.rss`` at the mark.
        high: [m] the maximum since the reading before, whoever took that.
        unseen: [m] bytes, as in `Series`.
        names: every path and text once.
        details: by phase number, what more is known of it, such as the class of a module.
        devices: by channel, such as ``torch.cuda0.allocated``, [m] its value at the mark and [m]
            its maximum since the mark before that tells of it; ``UNKNOWN`` where a mark does not.
    """

    kind: NDArray[np.uint8]
    begun_ns: Ints
    t_ns: Ints
    phase: Ints
    parent: Ints
    thread: Ints
    name: Ints
    rss: Ints
    high: Ints
    unseen: Ints
    names: tuple[str, ...]
    details: Mapping[int, str] = field(default_factory=dict)
    devices: Mapping[str, tuple[Ints, Ints]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.t_ns)

    def __repr__(self) -> str:
        return f"<Marks: {_count(len(self), 'mark')}, {_count(self.phases, 'phase')}>"

    @property
    def phases(self) -> int:
        """How many phases began."""
        return int((self.kind == Kind.BEGIN).sum())

    def __iter__(self) -> Iterator[Mark]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> Mark:
        name = int(self.name[i])
        return Mark(
            kind=Kind(int(self.kind[i])),
            t_ns=int(self.t_ns[i]),
            name=self.names[name] if name >= 0 else "",
            phase=int(self.phase[i]),
            rss=int(self.rss[i]),
            high=int(self.high[i]),
        )

    @classmethod
    def none(cls) -> Marks:
        """No marks at all."""
        bits, none = np.empty(0, np.uint8), np.empty(0, np.int64)
        return cls(
            bits, none, none, none, none, none, none, none, none, np.empty(0, np.int64), names=()
        )


@dataclass(frozen=True, slots=True, eq=False)
class Process:
    """A child of the target, or a child's child, and what it had.

    A row stands for the time until the next: one is written where something has changed, by more
    than one part in 256 of the RSS.

    Attributes:
        number: its own in this recording, from 1 on; the target is 0.
        pid: the kernel's, which may come again.
        up: the number of the process that it was found under.
        name: what the kernel calls it: its program, or what it calls itself.
        command: its command line, short.
        forked: whether it runs its parent's program, as a forked worker does.
        began_ns: when it began by the kernel's word, to 10 ms; ``UNKNOWN`` where that is not known.
        found_ns: when it was found.
        runs_since_ns: when it was found to run the program that it ran last.
        gone_ns: when it was found to have ended; 0 where it was not.
        peak: the most that the program had which it ran last, by the kernel's word as it ended;
            ``UNKNOWN`` where the kernel told nothing.
        t_ns, rss, mark: [n] its readings. ``mark`` is the kernel's high-water mark since it began
            to run its program.
        pss_t_ns, pss: [m] its proportional set size.
        signal: the name of the signal that killed it, where the kernel told; else empty.
    """

    number: int
    pid: int
    up: int
    name: str
    command: str
    forked: bool
    began_ns: int
    found_ns: int
    runs_since_ns: int
    gone_ns: int
    peak: int
    t_ns: Ints
    rss: Ints
    mark: Ints
    pss_t_ns: Ints
    pss: Ints
    signal: str = ""

    def __repr__(self) -> str:
        return f"<Process {self.pid} {self.name}: {_count(len(self.t_ns), 'row')}>"


@dataclass(frozen=True, slots=True)
class Anchor:
    """One moment on all clocks that there were, in ns; 0 where it is not known.

    Attributes:
        monotonic_ns: of the recording, by which everything in it is told.
        time_ns: the host's wall clock (Unix).
        file_ns: the clock by which the file system dates its files: of a shared one its server's.
    """

    monotonic_ns: int
    time_ns: int
    file_ns: int = 0


@dataclass(frozen=True, slots=True)
class Rank:
    """Which of the processes that a launcher started together.

    Attributes:
        rank, world: its number, and how many there are.
        local, node: its number on its node, and the node's; UNKNOWN where that was not told.
        run: the launcher's name of the run; empty where it has none.
        restart: how often the launcher had started all of them again.
        place: tells the directory of all ranks apart from others of the same file system: ranks of
            which it is equal recorded to one file system. Empty where it is not known.
    """

    rank: int
    world: int
    local: int = UNKNOWN
    node: int = UNKNOWN
    run: str = ""
    restart: int = 0
    place: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """What was run, where, and how it ended.

    Attributes:
        argv: the target's command as the user wrote it, script or ``-m module`` first.
        started_ns, ended_ns: monotonic; ``ended_ns`` is the last thing read of an unended run.
            Every reading and mark lies between them.
        started_time_ns: wall clock (Unix) at ``started_ns``; 0 where it is not known.
        interval_ns: asked-for time between two samples; 0 for a foreign recording.
        backend: the name of what read host memory, as `Channel.source`.
        end: ``exited`` (with ``exit_code``), ``killed`` (with ``signal``, where known),
            ``cut-off`` (no end was written and no writer lives), ``running``.
        seen_to_end: whether the process took a last reading itself, when it closed its marks.
        closed_ns: when it did so, monotonic; 0 where it did not.
        last: the most that can have been resident since the last reading, by the kernel's word
            after the end, in bytes; 0 where it is not known.
        facts: more that is worth showing, such as ``{"python": "3.11.7", "torch": "2.14.1"}``.
        outlived: of a run whose recorder was lost, what the program did after that: ``ended`` by
            itself, ``lives`` still; empty where it is not known, or nothing was lost.
        marks_until_ns: the last moment that the program's marks tell of, where it could write no
            more of them, as on a full disk; 0 where they go on to its end.
        slept_ns: how long the machine slept during the run, which no other time here counts.
        jumped_ns: how far the wall clock was set forward (or back, below 0) during the run.
        rank: which rank of a job it was; None for a process on its own.
        clock: recordings in which this is equal, and not empty, tell time by one monotonic clock.
        anchors: moments on all clocks: at the start, and at the end where one was written.
    """

    argv: tuple[str, ...]
    cwd: str
    host: str
    pid: int
    started_ns: int
    started_time_ns: int
    ended_ns: int
    interval_ns: int
    backend: str
    end: End
    exit_code: int | None = None
    signal: str | None = None
    seen_to_end: bool = False
    closed_ns: int = 0
    last: int = 0
    facts: Mapping[str, str] = field(default_factory=dict)
    outlived: Literal["", "ended", "lives"] = ""
    marks_until_ns: int = 0
    slept_ns: int = 0
    jumped_ns: int = 0
    rank: Rank | None = None
    clock: str = ""
    anchors: tuple[Anchor, ...] = ()


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU whose memory was recorded, or an instance of one.

    Attributes:
        name: of the driver's channels: ``gpu0``, ``gpu0.mig1``; empty where it did not tell.
        model: such as ``NVIDIA H100 80GB HBM3``; empty where it is not known.
        uuid: with its prefix ``GPU-`` or ``MIG-`` where the driver told it.
        total: of its memory, in bytes; ``UNKNOWN`` where it was not told.
        cuda: the number that the target's CUDA gives it; ``UNKNOWN`` where it cannot be told.
    """

    name: str
    model: str = ""
    uuid: str = ""
    total: int = UNKNOWN
    cuda: int = UNKNOWN


@dataclass(frozen=True, slots=True)
class Alive:
    """Blocks of a GPU's memory that were handed out at the peak, from one place of the program.

    Attributes:
        bytes: of all of them together.
        blocks: how many.
        largest: of them, in bytes.
        during: ``forward``, ``backward``, ``optimizer``, or ``before`` the recording began; empty
            where it cannot be told.
        place: file, line and function of the program's innermost frame; empty where none is known.
        operation: what asked for the largest, such as ``bmm``; empty where it is not known.
    """

    bytes: int
    blocks: int
    largest: int
    during: str
    place: str
    operation: str


@dataclass(frozen=True, slots=True)
class Limit:
    """A most that something may have.

    Attributes:
        name: ``cgroup``, ``cgroup.high``, ``RLIMIT_AS``, ``machine``, ``gpu0``; several of one
            name are all in force.
        channel: what it is the limit of, such as ``cgroup.used``; there may be no such series.
        source: where it was read.
    """

    name: str
    bytes: int
    channel: str
    source: str


@dataclass(frozen=True, slots=True)
class Kills:
    """What the kernel counted of its OOM killer's work in one place, before and after the run.

    Attributes:
        path: the cgroup's directory; empty for the whole machine.
        kills: how many more processes it killed there than before.
        strikes: how many times more a limit of this very place was reached.
        used: bytes in use when it was read after the run; ``UNKNOWN`` where it was not.
        peak: the most that the kernel has counted there, if that was during the run.
        group: whether it takes all processes of the place at once.
        late: whether nobody read it at the end, but a reader of the recording did, later.
        own: whether it is the target's own cgroup, in which its kill would be counted.
    """

    path: str
    kills: int
    strikes: int
    used: int = UNKNOWN
    peak: int = UNKNOWN
    group: bool = False
    late: bool = False
    own: bool = False


@dataclass(frozen=True, slots=True)
class Raised:
    """The exception that a program ended with.

    Attributes:
        t_ns: when it had left the program's code; monotonic.
        type: its class, such as ``MemoryError`` or ``torch.OutOfMemoryError``.
        text: its first line.
        where: file and line that raised it.
        phase: number of the innermost phase that it passed through; ``UNKNOWN`` for none.
        virtual, virtual_limit: the most address space that the process had, and was allowed.
    """

    t_ns: int
    type: str
    text: str
    where: str = ""
    phase: int = UNKNOWN
    virtual: int = UNKNOWN
    virtual_limit: int = UNKNOWN


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """The facts of one run.

    Attributes:
        path: the run directory or foreign file that it was read from.
        format: the version of the format that it was written in; 0 for a foreign file.
        series: by channel name; one has no samples where the run ended before the first.
        missing: a sentence for each thing that could not be measured.
        damage: a sentence for each thing that was lost from the file, such as a torn last row.
        limits: what the target may have at the most, as read at the start.
        kills: the OOM killer's counts by place, the target's own cgroup first and the machine last;
            empty where they were not read before and after.
        raised: what the program ended with, if it was an exception; the innermost cause last.
        processes: the target's children, in the order in which they were found.
        anatomy: the training step that was weighed; None where none was.
        heaps: looks at the heap in steps after that one.
        lines: the functions that were traced line by line.
        devices: the GPUs that anything was read of.
        snapshots: files of torch's own history of GPU memory in the directory.
        alive: what was handed out at the peak of what was allocated on the GPU, the largest first;
            empty where the allocations were not recorded one by one.
    """

    path: Path | None
    format: int
    run: Run
    series: Mapping[str, Series]
    marks: Marks
    missing: tuple[str, ...] = ()
    damage: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    kills: tuple[Kills, ...] = ()
    raised: Raised | None = None
    processes: tuple[Process, ...] = ()
    anatomy: Anatomy | None = None
    heaps: tuple[HeapLook, ...] = ()
    devices: tuple[Device, ...] = ()
    snapshots: tuple[str, ...] = ()
    alive: tuple[Alive, ...] = ()
    lines: tuple[TracedFunction, ...] = ()

    def __repr__(self) -> str:
        run = self.run
        took = format_duration((run.ended_ns - run.started_ns) / 1e9)
        samples = [f"{_count(len(s), 'sample')} of {name}" for name, s in self.series.items()]
        parts = [took, *samples, _count(self.marks.phases, "phase"), run.end]
        target = run.argv[:2] if run.argv[:1] == ("-m",) else run.argv[:1]
        return f"<Recording {' '.join(target)}: {', '.join(parts)}>"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
