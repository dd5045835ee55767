"""The course of an estimate made ready to draw: as many points as a picture has room for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from timeline.recording.types import Ints
from timeline.theory.estimate_types import Estimate
from timeline.theory.types import CATEGORIES

Floats = NDArray[np.float64]

STACK = ("parameter", "optimizer_state", "input", "temporary", "activation", "gradient", "buffer")
"""From the bottom up: what stands the longest is the lowest, so that what comes and goes is seen.
torch's own memory timeline has this order (torch.profiler._memory_profiler)."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What is drawn; all columns are equally long.

    Attributes:
        x: numbers of the allocator's events.
        categories: bytes by category, in the order of `STACK`.
        allocated, reserved: bytes.
        phases: begin, end and name of each, in events.
        steps: where each step begins.
        length: events in all.
    """

    x: Ints
    categories: Mapping[str, Ints]
    allocated: Ints
    reserved: Ints
    phases: tuple[tuple[int, int, str], ...]
    steps: tuple[int, ...]
    length: int


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What a recording has for the same program, on the axis of the estimate.

    Attributes:
        name: of the recording.
        x: in events of the estimate, by ``allocated`` and ``reserved``.
        series: bytes, by the same.
        peaks: of the whole recording, by the same.
    """

    name: str
    x: Mapping[str, Floats]
    series: Mapping[str, Ints]
    peaks: Mapping[str, int]


def drawn(estimate: Estimate, most: int = 2000) -> Drawn:
    """The course in at most about twice as many points as asked for.

    Of each stretch the moment with the most allocated is kept, and its last: no peak is lost.
    """
    course = estimate.course
    allocated = np.array(course.allocated, np.int64)
    count = len(allocated)
    keep = np.arange(count)
    if count > 2 * most:
        edges = np.linspace(0, count, most + 1).astype(np.int64)
        highest = [
            begin + int(allocated[begin:end].argmax()) for begin, end in pairwise(edges.tolist())
        ]
        keep = np.unique(np.array([*highest, *(edges[1:] - 1)], np.int64))
    begins = [begin for begin, _ in course.phases]
    ends = [*begins[1:], count]
    spans = tuple(
        (begin, end, name)
        for (begin, name), end in zip(course.phases, ends, strict=True)
        if end > begin and name != "end"
    )
    assert set(STACK) == set(CATEGORIES)
    return Drawn(
        x=keep,
        categories={
            name: np.array(course.categories[name], np.int64)[keep]
            if name in course.categories
            else np.zeros(len(keep), np.int64)
            for name in STACK
        },
        allocated=allocated[keep],
        reserved=np.array(course.reserved, np.int64)[keep],
        phases=spans,
        steps=tuple(course.steps),
        length=count,
    )
