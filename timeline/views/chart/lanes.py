"""The lanes of phases, as many as there may be: blocks narrower than a pixel share it honestly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from timeline.analysis.types import Instances
from timeline.recording.types import Ints
from timeline.views.chart import lettering
from timeline.views.chart.sheet import SMALL, Box, Sheet
from timeline.views.palette import ink_on

MOST_LANES = 12
"""Deeper lanes are not drawn, and the picture says so."""

MOST_LABELS = 200

_SEPARATED = 8.0

_FAINTEST = 0.3
"""How much of its colour a pixel has at least where any phase is, so that a lone one shows."""


@dataclass(frozen=True, slots=True, eq=False)
class Coverage:
    """How much of each pixel of each lane phases cover.

    Attributes:
        path: [lanes, columns] index of the path that covers most of it; -1 where none does.
        share: [lanes, columns] how much of the pixel all phases cover, 0 to 1.
    """

    path: Ints
    share: NDArray[np.float64]


def cover(instances: Instances, begin_ns: int, end_ns: int, columns: int) -> Coverage:
    """The pixels of the time from ``begin_ns`` to ``end_ns``, ``columns`` of them, in each lane."""
    lanes = min(instances.lanes, MOST_LANES)
    rows = np.flatnonzero(
        (instances.lane < lanes) & (instances.end_ns >= begin_ns) & (instances.begin_ns <= end_ns)
    )
    scale = columns / max(end_ns - begin_ns, 1)
    left = np.clip((instances.begin_ns[rows] - begin_ns) * scale, 0, columns)
    right = np.clip((instances.end_ns[rows] - begin_ns) * scale, 0, columns)
    # What is wide enough gives its last pixel to a line between it and its neighbour.
    right = np.where(right - left > _SEPARATED, right - 1.2, right)
    first = np.minimum(left.astype(np.int64), columns - 1)
    last = np.minimum(right.astype(np.int64), columns - 1)
    one = first == last
    # Whole pixels between the first and the last; phases of a lane do not overlap, so there are
    # never more of these than pixels.
    inner = np.maximum(last - first - 1, 0)
    owner = np.repeat(np.arange(len(rows)), inner)
    offset = np.arange(len(owner)) - np.repeat(np.cumsum(inner) - inner, inner)
    many = ~one
    pixel = np.concatenate((first, last[many], first[owner] + 1 + offset))
    row = np.concatenate((np.arange(len(rows)), np.flatnonzero(many), owner))
    share = np.concatenate(
        (
            np.where(one, right - left, first + 1 - left),
            (right - last)[many],
            np.ones(len(owner)),
        )
    )
    place = instances.lane[rows][row] * columns + pixel
    return _majority(place, instances.path[rows][row], share, lanes, columns)


def _majority(
    place: Ints, path: Ints, share: NDArray[np.float64], lanes: int, columns: int
) -> Coverage:
    """Sum the shares of each path in each place; the largest sum has the place."""
    paths = int(path.max()) + 1 if len(path) else 1
    key, index = np.unique(place * paths + path, return_inverse=True)
    sums = np.bincount(index, share, minlength=len(key))
    total = np.bincount(place, share, minlength=lanes * columns)
    # In the order of rising sums the last one written stays.
    order = np.argsort(sums, kind="stable")
    out = np.full(lanes * columns, -1, np.int64)
    out[key[order] // paths] = key[order] % paths
    return Coverage(out.reshape(lanes, columns), np.minimum(total, 1.0).reshape(lanes, columns))


def draw(
    sheet: Sheet, box: Box, instances: Instances, span_ns: tuple[int, int], colors: dict[str, str]
) -> None:
    """Draw the lanes one under the other, the outermost first, with names where there is room.

    Args:
        sheet: what to draw on.
        box: where; its height is shared by the lanes.
        instances: the phases.
        span_ns: the time from the left to the right edge.
        colors: of the paths that have one; the others are drawn in the palette's ``rest``.
    """
    columns = sheet.pixels(box)
    coverage = cover(instances, *span_ns, columns)
    lanes = len(coverage.path)
    if not lanes:
        return
    rest = sheet.palette.rest
    table = np.array(
        [_rgb(colors.get(path, rest)) for path in instances.paths] + [_rgb(rest)], np.float64
    )
    image = np.empty((lanes, columns, 4))
    image[..., :3] = table[coverage.path]
    image[..., 3] = np.where(coverage.path < 0, 0.0, _FAINTEST + (1 - _FAINTEST) * coverage.share)
    height = box.height / lanes
    for lane in range(lanes):
        axes = sheet.axes(Box(box.left, box.top + lane * height, box.width, height * 0.86))
        axes.imshow(image[lane : lane + 1], aspect="auto", interpolation="nearest")
    _label(sheet, box, height, instances, span_ns, colors)


def _label(
    sheet: Sheet,
    box: Box,
    height: float,
    instances: Instances,
    span_ns: tuple[int, int],
    colors: dict[str, str],
) -> None:
    """Write the names of the widest blocks into them."""
    scale = box.width / max(span_ns[1] - span_ns[0], 1)
    left = np.clip((instances.begin_ns - span_ns[0]) * scale, 0, box.width)
    right = np.clip((instances.end_ns - span_ns[0]) * scale, 0, box.width)
    wide = np.flatnonzero((right - left > 0.2) & (instances.lane < MOST_LANES))
    for i in wide[np.argsort(left[wide] - right[wide], kind="stable")][:MOST_LABELS].tolist():
        path = instances.paths[int(instances.path[i])]
        room = float(right[i] - left[i]) - 0.08
        name = _short(path, room)
        if name:
            sheet.text(
                box.left + float(left[i] + right[i]) / 2,
                box.top + (int(instances.lane[i]) + 0.43) * height,
                name,
                size=SMALL - 1,
                color=ink_on(colors.get(path, sheet.palette.rest)),
                align="center",
            )


def _short(path: str, room: float) -> str:
    """The whole path, or else its last part, if one of them fits."""
    for name in (path, path.rpartition("/")[2]):
        name = lettering.drawable(name[:200])
        if name and lettering.width(name, SMALL - 1) <= room:
            return name
    return ""


def _rgb(color: str) -> tuple[float, float, float]:
    return tuple(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))  # type: ignore[return-value]
