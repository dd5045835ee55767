"""What a table of errors comes down to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

WORST = 3


@dataclass(frozen=True)
class Merit:
    """Errors of several rows, each (estimated - measured) / measured.

    Attributes:
        rows: how many.
        median, p95: of what they are without their signs; p95 by `numpy.percentile`, which lies
            between two rows where no row stands at 95 %.
        rank: p95 by nearest rank, which is a row's own error, and so never less than 95 % of rows.
        worst: the largest three, first the largest.
        under: the part of rows whose estimate is too low.
    """

    rows: int
    median: float
    p95: float
    rank: float
    worst: tuple[float, ...]
    under: float


def merit(errors: list[float]) -> Merit:
    """Of at least one row."""
    sizes = np.sort(np.abs(errors))
    return Merit(
        rows=len(sizes),
        median=float(np.median(sizes)),
        p95=float(np.percentile(sizes, 95)),
        rank=float(sizes[math.ceil(0.95 * len(sizes)) - 1]),
        worst=tuple(map(float, sizes[::-1][:WORST])),
        under=sum(each < 0 for each in errors) / len(errors),
    )


def without_repeats(rows):
    """The rows without those that repeat another to the byte, and those, each in their order.

    The same workload measured twice with two outcomes stays twice.
    """
    seen, first, repeats = set(), [], []
    for row in rows:
        same = row.key, row.measured, row.out_of_memory
        (repeats if same in seen else first).append(row)
        seen.add(same)
    return first, repeats
