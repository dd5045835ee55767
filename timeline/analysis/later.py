"""What of a later step's higher peak is explained by the heap, where the same was in use.

Only the weighed step's tensors are known. Of a later instance of the same phase a look at the heap
tells how much was in use and how much malloc kept, as the phase began and as it ended. Where both
times as much was in use as when it was weighed, the instance held the same; if it went higher all
the same, it was for what malloc had kept by then, as far as malloc did keep more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from timeline.analysis.types import Instances
from timeline.recording.anatomy import HeapLook, Moment, WeighedPhase
from timeline.recording.types import UNKNOWN

SAME = 1 << 20
"""Bytes in use that differ by less are the same: the program's lists and texts, and what weighing
notes. What more there is of that counts as unexplained."""

INFERENCE = "inference"
"""Of it nothing stays: with other inputs as much is in use as it begins and ends."""


@dataclass(frozen=True, slots=True)
class Later:
    """Of what another instance went higher, in bytes: kept by malloc, and files mapped since."""

    kept: int = 0
    files: int = 0


def kept_later(phase: WeighedPhase, instances: Instances, looks: Sequence[HeapLook]) -> Later:
    """What the highest instance that was looked at tells; nothing where none was like the weighed.

    Args:
        phase: as it was weighed.
        instances: of the run, for their peaks.
        looks: in the order of time.
    """
    if phase.path not in instances.paths or phase.path == INFERENCE:
        return Later()
    path = instances.paths.index(phase.path)
    index = {number: i for i, number in enumerate(instances.number.tolist())}
    found = Later()
    highest = phase.high
    for look in looks:
        i = index.get(look.phase)
        if i is None or instances.path[i] != path or instances.peak[i] <= highest:
            continue
        told = _told(phase, int(instances.peak[i]) - phase.high, look)
        if told is not None:
            found, highest = told, int(instances.peak[i])
    return found


def _told(phase: WeighedPhase, higher: int, look: HeapLook) -> Later | None:
    """None where the instance held more than the weighed one, or nobody knows."""
    used, free, files = [], [], []
    for moment, state in ((phase.begin, look.begin), (phase.end, look.end)):
        was = _state(moment)
        if UNKNOWN in was or UNKNOWN in state:
            return None
        used.append(state[0] - was[0])
        free.append(state[1] - was[1])
        files.append(state[2] - was[2])
    if max(used) > SAME:
        return None
    new_files = min(max(files[-1], 0), higher)
    kept = max(*free, 0) - max(*used, 0)
    return Later(min(max(kept, 0), higher - new_files), new_files)


def _state(moment: Moment) -> tuple[int, int, int]:
    return moment.in_use, moment.free, moment.file
