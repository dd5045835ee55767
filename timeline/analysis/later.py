"""What of a later step's higher peak is explained by the heap, where the same was in use.

Only the weighed step's tensors are known. Of a later instance of the same phase a look at the heap
tells how much was in use and how much malloc kept, as the phase began and as it ended. Where by as
much more was in use at its end as at its beginning, the instance did the same as the weighed one,
and held that much more throughout; with another batch one of the two would be another. If it went
higher than by that, it was for what malloc kept, as far as malloc did: either it still keeps more
as the phase begins or ends, or the heap has been larger since the weighed step than it was at that
one's peak. The latter glibc writes down itself, so that it tells also of what was given back to the
system in the midst of the phase.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from timeline.analysis.types import Instances
from timeline.recording.anatomy import HeapLook, Moment, WeighedPhase
from timeline.recording.types import UNKNOWN

SAME = 1 << 20
"""Bytes in use that differ by less are the same: the program's lists and texts, and what weighing
notes. How much more is held throughout may be any amount, such as what kernels keep for a second
size of batch: 1.7 MiB from the second epoch of a ResNet-18 on."""

LEAVES_NO_GRAPH = ("backward", "optimizer")
"""What is in use as such a phase ends does not depend on the batch, but for inputs and outputs."""

INFERENCE = "inference"
"""Of it nothing stays: with other inputs as much is in use as it begins and ends."""


@dataclass(frozen=True, slots=True)
class Later:
    """Of what another instance went higher, in bytes: kept by malloc, and files mapped since.

    ``held`` is what was in use more before and after it, and of which nobody knows what it is for.
    """

    kept: int = 0
    files: int = 0
    held: int = 0


def kept_later(
    phase: WeighedPhase,
    instances: Instances,
    looks: Sequence[HeapLook],
    most: int = UNKNOWN,
    beside: Sequence[WeighedPhase] = (),
) -> Later:
    """What the highest instance that was looked at tells; nothing where none was like the weighed.

    Args:
        phase: as it was weighed.
        instances: of the run, for their peaks.
        looks: in the order of time.
        most: how large the heap had been at most when the weighed step ended.
        beside: the other phases that were weighed, whose looks tell what the program holds between.
    """
    weighed = {each.path: each for each in (*beside, phase) if each.path in instances.paths}
    if phase.path not in weighed or phase.path == INFERENCE:
        return Later()
    index = {number: i for i, number in enumerate(instances.number.tolist())}
    rows: list[tuple[HeapLook, WeighedPhase, int]] = []
    for look in looks:
        i = index.get(look.phase)
        like = weighed.get(instances.paths[int(instances.path[i])]) if i is not None else None
        if i is not None and like is not None:
            rows.append((look, like, int(instances.peak[i])))
    between = [_between(look, like) for look, like, _ in rows]
    found = Later()
    highest = phase.high
    for row, (look, like, peak) in enumerate(rows):
        if like is phase and peak > highest:
            before = next((each for each in between[:row][::-1] if each is not None), 0)
            after = next((each for each in between[row + 1 :] if each is not None), before)
            told = _told(phase, peak - phase.high, look, most, (before, after))
            if told is not None:
                found, highest = told, peak
    return found


def _between(look: HeapLook, like: WeighedPhase) -> int | None:
    """How much more the program held between steps; None where a graph may have been a part."""
    if not like.path.endswith(LEAVES_NO_GRAPH) or UNKNOWN in (look.end[0], like.end.in_use):
        return None
    return look.end[0] - like.end.in_use


def _told(
    phase: WeighedPhase, higher: int, look: HeapLook, most: int, between: tuple[int, int]
) -> Later | None:
    """None where the instance did not do the same as the weighed one, or nobody knows."""
    used, free, files = [], [], []
    for moment, state in ((phase.begin, look.begin), (phase.end, look.end)):
        was = _state(moment)
        if UNKNOWN in was or UNKNOWN in state:
            continue
        used.append(state[0] - was[0])
        free.append(state[1] - was[1])
        files.append(state[2] - was[2])
    if not used:
        return None
    if len(used) < 2:
        # What a backward begins with is not in what it leaves; what others begin with is.
        if phase.path.endswith("backward"):
            return None
        if not phase.path.endswith(LEAVES_NO_GRAPH):
            used.append(min(between, key=lambda each: abs(each - used[0])))
    if max(used) - min(used) > SAME:
        return None
    more = max([*used, 0])
    new_files = min(max(files[-1], 0), higher)
    # What more was in use stays unexplained: nobody knows what it is for.
    kept = min(max([*free, _larger(phase, look, most)]) - more, higher - new_files - more)
    return Later(max(kept, 0), new_files, min(more, higher - new_files))


def _larger(phase: WeighedPhase, look: HeapLook, most: int) -> int:
    """By how much the heap has been larger than at the weighed peak, if that was later."""
    at, after = phase.at, phase.after
    if UNKNOWN in (at.heap, after.heap, at.rss, most) or look.most <= most:
        return 0
    then = max(at.heap + max(phase.high - at.rss, 0), after.heap)
    return max(look.most - then, 0)


def _state(moment: Moment) -> tuple[int, int, int]:
    return moment.in_use, moment.free, moment.file
