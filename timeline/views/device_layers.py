"""The layers of a GPU's memory as the few points that a chart has room for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from timeline.analysis.types import DeviceMemory
from timeline.recording.types import Ints

LAYERS = ("allocated", "cached", "outside torch")
"""From the bottom up."""

MOST_DEVICES = 4
"""Devices drawn: those that the target numbers first."""


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """The upper edges of the layers, as steps.

    Attributes:
        since_ns, t_ns: [n] the stretch that an edge speaks of.
        edges: of each of `LAYERS` [n] bytes; one that is not known lies on the one below.
        highest: the largest of them, or the total where it is near.
    """

    since_ns: Ints
    t_ns: Ints
    edges: tuple[Ints, ...]
    highest: int


def layers_of(memory: DeviceMemory, points: int) -> Layers:
    """The layers with at most so many points; of many in one the largest of each is kept."""
    t = memory.t_ns
    allocated, cached, outside = (
        np.maximum(each, 0) for each in (memory.allocated, memory.cached, memory.outside)
    )
    edges = (allocated, allocated + cached, allocated + cached + outside)
    since = np.concatenate((np.zeros(min(len(t), 1), np.int64), t[:-1]))
    if len(t) > points:
        # Equal stretches of time, not of readings: marks may lie densely in one place.
        span = max(int(t[-1] - t[0]), 1)
        place = np.minimum((t - t[0]) * points // (span + 1), points - 1)
        first = np.flatnonzero(np.diff(place, prepend=-1))
        last = np.append(first[1:], len(t)) - 1
        edges = tuple(np.maximum.reduceat(each, first) for each in edges)  # type: ignore[assignment]
        since, t = since[first], t[last]
    return Layers(since, t, edges, max((int(each.max()) for each in edges if len(each)), default=0))


def stacked(memory: DeviceMemory, most: int) -> tuple[Ints, tuple[Ints, ...]]:
    """When each reading was taken, and of each of `LAYERS` what it told, -1 for what is not known.

    Of more than ``most`` readings stay stretches of time, each with its largest edges.
    """
    if len(memory.t_ns) <= most:
        return memory.t_ns, (memory.allocated, memory.cached, memory.outside)
    layers = layers_of(memory, most)
    edges = np.stack(layers.edges)
    return layers.t_ns, tuple(np.diff(edges, axis=0, prepend=np.int64(0)))


def drawn_total(memory: DeviceMemory, layers: Layers) -> int:
    """The device's total, where a line at it would not press the layers down; else 0."""
    total = memory.device.total
    return total if 0 < total <= 2.5 * layers.highest else 0


def names_drawn(memory: DeviceMemory) -> tuple[str, ...]:
    """The layers that anything is known of; without torch all that is used is one."""
    if not memory.by_torch:
        return ("used",)
    known = (True, True, bool((memory.outside >= 0).any()))
    return tuple(name for name, is_known in zip(LAYERS, known, strict=True) if is_known)
