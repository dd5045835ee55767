"""Where a band may be drawn over the curve: nothing is drawn that was not measured."""

from __future__ import annotations

import numpy as np

from timeline.analysis.decimation import Buckets
from timeline.analysis.types import Curve
from timeline.recording.types import Bools


def told(curve: Curve) -> Bools:
    """Which readings tell of the time since the one before: those with a high-water mark.

    One that may have missed something (not ``known``) is still a least, so it tells where it is
    above the reading itself.
    """
    return curve.known | (curve.high > curve.value)


def told_in(curve: Curve, buckets: Buckets) -> tuple[Bools, Bools]:
    """Of the curve's buckets: whether any reading in each tells, and whether its first does."""
    if not len(buckets):
        none = np.empty(0, np.bool_)
        return none, none
    each = told(curve)
    stop = int(buckets.index[-1] + buckets.count[-1])
    return np.logical_or.reduceat(each[:stop], buckets.index), each[buckets.index]
