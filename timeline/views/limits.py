"""Which limits stand as lines in a chart of host memory, and which channels are drawn in it."""

from __future__ import annotations

from dataclasses import dataclass

from timeline.analysis.types import HOST, Analysis
from timeline.units import format_bytes
from timeline.views.device_words import channels_of
from timeline.views.family import shown_beside

FURTHEST = 1.6
"""Times the highest peak: a limit further up would press the curve down to tell nothing new."""

_TEXTS = {
    "cgroup": "limit of the cgroup",
    "cgroup.high": "memory.high of the cgroup",
    "machine": "the machine's memory",
    "RLIMIT_AS": "limit of address space",
    "RLIMIT_DATA": "limit of data",
}

ON_REQUEST = (
    "machine.", "cgroup.anon", "cgroup.cache", "cgroup.shared", "cgroup.kernel",
    "host.virtual", "host.data",
)  # fmt: skip
"""Channels that explain a figure. Beside a program's own memory their curves would be the chart."""


@dataclass(frozen=True, slots=True)
class DrawnLimit:
    """One line across a chart."""

    bytes: int
    text: str


def drawn_limits(analysis: Analysis, highest: int) -> tuple[DrawnLimit, ...]:
    """The limits near a chart's highest peak, the lowest first; of one name the tightest."""
    tightest: dict[str, int] = {}
    for limit in analysis.limits:
        if limit.name in _TEXTS and 0 < limit.bytes <= highest * FURTHEST:
            tightest[limit.name] = min(limit.bytes, tightest.get(limit.name, limit.bytes))
    lines = sorted((size, name) for name, size in tightest.items())
    return tuple(DrawnLimit(size, f"{_TEXTS[name]}, {format_bytes(size)}") for size, name in lines)


def shown_at_first(analysis: Analysis, name: str) -> bool:
    """Whether a channel is drawn without being asked for.

    Of the children the stacked sum is, and no other. GPUs have plots of their own: beside a
    program's host memory theirs would be the chart. What is no memory is drawn nowhere.
    """
    unit = analysis.curves[name].channel.unit
    of_device = HOST in analysis.curves and name in channels_of(analysis)
    beside = shown_beside(analysis, name) and not name.startswith(ON_REQUEST)
    return unit == "byte" and beside and not of_device
