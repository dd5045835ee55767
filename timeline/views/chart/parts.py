"""What the peak is made of, as a stacked bar beside the curve on the curve's own scale."""

from __future__ import annotations

from dataclasses import dataclass

from timeline.analysis.composition import Composition
from timeline.analysis.types import Analysis
from timeline.units import format_bytes
from timeline.views.chart import lettering
from timeline.views.chart.sheet import SMALL, Box, Plot, Sheet
from timeline.views.palette import PALETTES
from timeline.views.parts import LABELS, at_the_peak, colors, share_unexplained
from timeline.views.parts import stack as stacked

ROOM = 2.35
"""Inches that bar and texts take at the right of the curve."""

NARROWEST = 6.5
"""On narrower pictures there is no bar: the curve needs the room."""

_BAR = 0.3
_LINE = 0.155
_TEXT = SMALL - 0.5


@dataclass(frozen=True, slots=True)
class _Label:
    """A text, where its segment is and where it stands itself, in inches from the top."""

    text: str
    color: str
    segment: float
    y: float


def composition(analysis: Analysis, width: float) -> Composition | None:
    """What the bar shows; None where nothing was weighed or there is no room."""
    if analysis.anatomy is None or width < NARROWEST:
        return None
    return at_the_peak(analysis, analysis.anatomy)


def draw(sheet: Sheet, plot: Plot, of: Composition) -> None:
    """Draw the bar, its texts beside it and what it is of above."""
    paint = colors("dark" if sheet.palette is PALETTES["dark"] else "light")
    left = plot.box.right + 0.2
    segments = stacked(of)
    for name, low, high in segments:
        top, bottom = plot.y(high), plot.y(low)
        sheet.box(Box(left, top, _BAR, max(bottom - top, 0.004)), paint[name])
    labels = [
        _Label(
            f"{LABELS[name]}  {format_bytes(high - low)}",
            paint[name],
            (plot.y(low) + plot.y(high)) / 2,
            0.0,
        )
        for name, low, high in _told(segments, plot)
    ]
    x = left + _BAR + 0.26
    placed = _apart(labels, plot.box)
    for label in placed:
        sheet.line(left + _BAR + 0.02, label.segment, x - 0.05, label.y, label.color)
        text = lettering.fit(label.text, _TEXT, sheet.width - x - 0.02)
        sheet.text(x, label.y, text, size=_TEXT)
    share = share_unexplained(of)
    title = f"peak of {of.path}"
    if share is not None:
        title += f", {100 * share:.1f} % unexplained"
    unwritten = -(of["untouched"].measured or 0)
    if unwritten > 0:  # the bar ends so much above the peak
        title += f", less {format_bytes(unwritten)} never written"
    room = sheet.width - left - 0.05
    lines = lettering.wrap(title, _TEXT, room)[:2]
    # Labels of small segments are pushed up, beyond the bar: the title stays over them too.
    highest = min([plot.y(of.peak), *(each.y - _LINE / 2 for each in placed)])
    first = highest - 0.12 - (len(lines) - 1) * _LINE
    for i, line in enumerate(lines):
        sheet.text(left, first + i * _LINE, line, size=_TEXT, color=sheet.palette.faint)


def _told(segments: list[tuple[str, int, int]], plot: Plot) -> list[tuple[str, int, int]]:
    """The segments that have a text: as many as there is room for, the largest first."""
    most = max(int(plot.box.height / _LINE) - 1, 1)
    largest = sorted(segments, key=lambda each: each[1] - each[2])[:most]
    return [each for each in segments if each in largest or each[0] == "unexplained"]


def _apart(labels: list[_Label], box: Box) -> list[_Label]:
    """The labels with a line's height between any two, each as near to its segment as can be."""
    placed: list[_Label] = []
    floor = box.bottom - 0.05
    for label in labels:  # from the bottom up
        y = min(label.segment, floor)
        placed.append(_Label(label.text, label.color, label.segment, y))
        floor = y - _LINE
    ceiling = box.top + 0.3
    for i in reversed(range(len(placed))):
        each = placed[i]
        placed[i] = _Label(each.text, each.color, each.segment, max(each.y, ceiling))
        ceiling = placed[i].y + _LINE
    return placed
