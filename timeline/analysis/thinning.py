"""Fewer readings and phases that show the same: for a page, which carries all that it shows.

A week at ten samples a second is six million readings and a million phases, 75 MB of page. What is
thinned keeps each stretch's least and largest value, and every maximum.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from timeline.analysis.types import Curve, Instances
from timeline.recording.types import UNKNOWN, Bools, Ints

_KEPT_OF_EACH = 5
"""Readings of a stretch: its first and last, its least, its largest, its highest mark."""


def thin_curve(curve: Curve, most: int) -> Curve:
    """The curve in at most about ``most`` readings; itself where it has no more.

    Of each stretch of as many readings stay the first and last, the least and largest value and
    the highest mark; the mark of one that stays speaks for those left out before it as well. Of
    gaps stay the widest.
    """
    n = len(curve.t_ns)
    if n <= most:
        return curve
    starts = np.arange(0, n, -(-n * _KEPT_OF_EACH // most))
    stops = np.append(starts[1:], n)
    width = curve.gaps_ns[:, 1] - curve.gaps_ns[:, 0]
    widest = np.sort(np.argsort(-width, kind="stable")[: most // _KEPT_OF_EACH])
    gaps = curve.gaps_ns[widest]
    borders = np.searchsorted(curve.t_ns, gaps[:, 1])
    keep = np.unique(
        np.concatenate(
            (
                starts,
                stops - 1,
                _extreme(-curve.value, starts, stops),
                _extreme(curve.value, starts, stops),
                _extreme(curve.high, starts, stops),
                borders,
                borders - 1,
            )
        )
    )
    since = np.concatenate(([0], keep[:-1] + 1))
    # From the reading after the one kept before, up to this one: all that its mark speaks of.
    high = np.maximum.reduceat(curve.high, since)
    known = np.minimum.reduceat(curve.known, since)
    return replace(
        curve,
        t_ns=curve.t_ns[keep],
        value=curve.value[keep],
        high=high,
        known=known,
        gaps_ns=gaps,
    )


def _extreme(values: Ints, starts: Ints, stops: Ints) -> Ints:
    """The place of the first maximum of each stretch."""
    size = int(stops[0] - starts[0])
    whole = len(values) // size
    place = values[: whole * size].reshape(whole, size).argmax(axis=1) + starts[:whole]
    if whole < len(starts):
        rest = int(starts[-1])
        place = np.append(place, rest + int(values[rest:].argmax()))
    return np.asarray(place, np.int64)


def thin_instances(instances: Instances, most: int) -> Instances:
    """The instances in at most about ``most``; themselves where there are no more.

    Neighbours in a lane become one, of the path that took most of its time, with their largest
    peak and delta; how many they were is its detail. Nesting is not kept.
    """
    n = len(instances)
    if n <= most:
        return instances
    order = np.lexsort((instances.begin_ns, instances.lane))
    lane = instances.lane[order]
    first_of_lane = np.searchsorted(lane, lane)
    together = -(-n // most)
    starts = np.flatnonzero((np.arange(n) - first_of_lane) % together == 0)
    counts = np.diff(np.append(starts, n))
    took = (instances.end_ns - instances.begin_ns)[order]
    path = _longest(instances.path[order], took, starts, counts, len(instances.paths))

    def largest(values: Ints) -> Ints:
        out: Ints = np.maximum.reduceat(values[order], starts)
        return out

    def count(values: Bools) -> Ints:
        out: Ints = np.add.reduceat(values[order].astype(np.int64), starts)
        return out

    return Instances(
        path=path,
        begin_ns=instances.begin_ns[order][starts],
        end_ns=largest(instances.end_ns),
        open=count(instances.open) > 0,
        lane=lane[starts],
        parent=np.full(len(starts), UNKNOWN, np.int64),
        number=np.full(len(starts), UNKNOWN, np.int64),
        thread=instances.thread[order][starts],
        peak=largest(instances.peak),
        delta=largest(instances.delta),
        exact=count(instances.exact) == counts,
        detail={i: f"{c} phases in a row" for i, c in enumerate(counts.tolist()) if c > 1},
        paths=instances.paths,
    )


def _longest(path: Ints, took: Ints, starts: Ints, counts: Ints, paths: int) -> Ints:
    """Of each stretch the path that took most of its time."""
    stretch = np.repeat(np.arange(len(starts)), counts)
    key, inverse = np.unique(stretch * paths + path, return_inverse=True)
    total = np.bincount(inverse, weights=took, minlength=len(key))
    order = np.lexsort((total, key // paths))
    last = np.append(np.flatnonzero(np.diff(key[order] // paths)), len(key) - 1)
    longest: Ints = key[order][last] % paths
    return longest
