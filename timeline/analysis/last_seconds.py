"""What the last seconds before a death looked like: on the host, or on the GPU that was full."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from timeline.analysis import phases
from timeline.analysis.devices import marks_of
from timeline.analysis.readings import Readings, merge
from timeline.analysis.types import Growth, Instances
from timeline.recording.types import UNKNOWN, Ints, Recording
from timeline.units import format_bytes, format_duration

LAST_NS = 10_000_000_000
"""How long before the end the last seconds begin."""

GREW_MOST = 3

_TORCHS, _ALLOCATED = "torch.", ".allocated"


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """The memory that a death is told of.

    Attributes:
        device: such as ``cuda0``; empty for the host's.
        readings: of it.
        peak: [p] the largest in each instance of a phase; ``UNKNOWN`` where nothing was read.
    """

    device: str
    readings: Readings
    peak: Ints

    def seen(self, moment: int) -> int:
        """How many readings there were by that moment; all for 0."""
        t_ns = self.readings.t_ns
        return int(np.searchsorted(t_ns, moment, side="right")) if moment else len(t_ns)


def on_device(
    limited: str, recording: Recording, readings: Mapping[str, Readings]
) -> Memory | None:
    """What torch had on the GPU that was full; None where nothing was read of it.

    Args:
        limited: the device, such as ``cuda0``; ``gpu`` where it is not known which.
        recording: with its marks.
        readings: by channel.
    """
    known = {
        name.removeprefix(_TORCHS).removesuffix(_ALLOCATED): name
        for name in recording.marks.devices
        if name.endswith(_ALLOCATED) and len(readings.get(name, ()))
    }
    device = next(iter(known)) if limited == "gpu" and len(known) == 1 else limited
    if device not in known:
        return None
    run, name = recording.run, known[device]
    marks = marks_of(recording.marks, name)
    by_marks = merge(None, marks)
    spans, _, _ = phases.pair(marks, by_marks, run.marks_until_ns or run.ended_ns)
    return Memory(device, readings[name], phases.measure(spans, by_marks).peak)


def last_seconds(memory: Memory, seen: int, ended_ns: int) -> str:
    """What memory did before the end, as a sentence; empty where too little was read."""
    read = memory.readings
    what = f"what torch held on {memory.device}" if memory.device else "memory"
    if seen < 2:
        return ""
    end = int(read.t_ns[seen - 1])
    first = int(np.searchsorted(read.t_ns, end - LAST_NS))
    first = min(first, seen - 2)
    begin_size, end_size = int(read.value[first]), int(read.value[seen - 1])
    took = (end - int(read.t_ns[first])) / 1e9
    high = int(read.high[first:seen].max())
    sentence = (
        f"in the last {format_duration(took)} {what} went from {format_bytes(begin_size)} to "
        f"{format_bytes(end_size)}"
    )
    if high > max(begin_size, end_size):
        sentence += f", with up to {format_bytes(high)} between"
    blind = (ended_ns - end) / 1e9
    if blind > 0.1:
        sentence += f"; nothing was read in the {format_duration(blind)} after"
    return sentence


def grew(
    instances: Instances, memory: Memory, started_ns: int, ended_ns: int
) -> tuple[Growth, ...]:
    """The phases of which one instance grew most, on top of what it found, in the last seconds."""
    read = memory.readings
    if not len(instances) or not len(read):
        return ()
    since, until = max(ended_ns - LAST_NS - started_ns, 0), ended_ns - started_ns
    late = np.flatnonzero((instances.end_ns >= since) & (instances.begin_ns <= until))
    # Around others is what these grew by, once more.
    late = late[~np.isin(late, instances.parent[late])]
    found = np.searchsorted(read.t_ns - started_ns, instances.begin_ns[late], side="right") - 1
    # Before its first reading nothing was on a device.
    before = np.where(
        found >= 0, read.value[np.maximum(found, 0)], 0 if memory.device else read.value[0]
    )
    grown = np.where(memory.peak[late] == UNKNOWN, 0, memory.peak[late] - before)
    most: dict[str, int] = {}
    for path, size in zip(instances.path[late].tolist(), grown.tolist(), strict=True):
        name = instances.paths[path]
        most[name] = max(most.get(name, 0), size)
    largest = sorted(most.items(), key=lambda item: -item[1])[:GREW_MOST]
    return tuple(Growth(path, size) for path, size in largest if size > 0)
