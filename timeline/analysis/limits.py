"""How near a run came to each of its limits."""

from __future__ import annotations

import os

import numpy as np

from timeline.analysis.types import Headroom
from timeline.recording.types import UNKNOWN, Limit, Recording

SOFT = ("cgroup.high",)
"""Past these the kernel slows a program down, and kills nobody."""

CACHE = "cgroup.cache"


def headrooms(recording: Recording) -> tuple[Headroom, ...]:
    """The limits whose channel was read, the one with the least room first.

    Of several limits of one channel, as nested cgroups have them, the tightest counts.
    """
    found: dict[tuple[str, str], Headroom] = {}
    for limit in recording.limits:
        if limit.bytes <= 0:
            continue
        near = _headroom(limit, recording)
        if near is None:
            continue
        key = (limit.name, limit.channel)
        if key not in found or near.room < found[key].room:
            found[key] = near
    return tuple(sorted(found.values(), key=lambda each: each.room))


def _headroom(limit: Limit, recording: Recording) -> Headroom | None:
    series = recording.series.get(limit.channel)
    peak = last = UNKNOWN
    exact, cache = False, UNKNOWN
    if series is not None and len(series):
        values = np.maximum(series.value, series.high)
        top = int(np.argmax(values))
        peak, last = int(values[top]), int(series.value[-1])
        exact = series.channel.exact
        cache = (
            _at(recording, CACHE, int(series.t_ns[top])) if limit.channel == "cgroup.used" else -1
        )
    for each in recording.kills:
        # By the kernel's own count, which misses nothing.
        of_it = limit.channel == "cgroup.used" and os.path.dirname(limit.source) == each.path
        if of_it and each.peak != UNKNOWN and each.peak >= peak:
            peak, exact = each.peak, True
    raised = recording.raised
    if limit.channel == "host.virtual" and raised is not None and raised.virtual != UNKNOWN:
        peak, exact = max(peak, raised.virtual), True
    if peak == UNKNOWN:
        return None
    return Headroom(limit, peak, last, exact, limit.name not in SOFT, cache)


def _at(recording: Recording, name: str, t_ns: int) -> int:
    series = recording.series.get(name)
    if series is None or not len(series):
        return UNKNOWN
    return int(series.value[np.argmin(np.abs(series.t_ns - t_ns))])
