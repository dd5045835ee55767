"""The children of the target: a band stacked on its memory, and a small table of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from timeline.analysis.decimation import decimate
from timeline.analysis.types import HOST, Analysis, Curve
from timeline.views.chart import lettering
from timeline.views.chart.curve import with_gaps_shown
from timeline.views.chart.keys import Key
from timeline.views.chart.sheet import LINE, SMALL, Box, Plot, Sheet
from timeline.views.family import HEADINGS, Row, band_channel, matters, meaning, rows
from timeline.views.palette import Palette

MOST_SHOWN = 6
"""Lines of the table; processes of one name share a line where there are more."""

_SPACE = 0.22


def key(analysis: Analysis, palette: Palette) -> list[Key]:
    """What the band stands for; nothing without a band."""
    channel = band_channel(analysis)
    return [Key("area", palette.family, f"children: {meaning(channel)}")] if channel else []


def draw_band(sheet: Sheet, plot: Plot, analysis: Analysis) -> None:
    """Fill up to the memory of all, and over that, up to the target's own, in its colour."""
    channel = band_channel(analysis)
    if not channel:
        return
    axes = sheet.axes(plot.box)
    axes.set_xlim(plot.begin_ns, plot.end_ns)
    axes.set_ylim(0, plot.top)
    _fill(axes, sheet, plot, analysis.curves[channel], sheet.palette.family)
    if HOST in analysis.curves:
        _fill(axes, sheet, plot, analysis.curves[HOST], sheet.palette.body)


def _fill(axes: Any, sheet: Sheet, plot: Plot, curve: Curve, color: str) -> None:
    shown = with_gaps_shown(curve, plot)
    t, value = decimate(shown, plot.begin_ns, plot.end_ns, sheet.pixels(plot.box)).line()
    # A hatch of a gap and a halo of a text are drawn later, so they stay to be seen.
    axes.fill_between(t, 0, value, color=color, linewidth=0, where=~np.isnan(value))


def table(analysis: Analysis) -> list[Row]:
    """The lines of the table; none where no child matters."""
    return rows(analysis, MOST_SHOWN) if matters(analysis) else []


def height(lines: list[Row]) -> float:
    """Inches, the headings counted."""
    return (len(lines) + 1) * LINE if lines else 0.0


def draw(sheet: Sheet, box: Box, lines: list[Row]) -> None:
    """Draw the table into a box of its height."""
    if not lines:
        return
    columns = list(zip(*(row.figures for row in lines), strict=True))
    widths = [
        max(lettering.width(text, SMALL) for text in (heading, *column)) + _SPACE
        for heading, column in zip(HEADINGS[1:], columns, strict=True)
    ]
    names = [lettering.drawable(row.name) for row in lines]
    room = box.width - sum(widths)
    name = min(max(lettering.width(text, SMALL) for text in (HEADINGS[0], *names)), max(room, 0.8))
    y = box.top + LINE / 2
    faint = sheet.palette.faint
    _line(sheet, box.left, y, HEADINGS[0], HEADINGS[1:], name, widths, faint)
    for text, row in zip(names, lines, strict=True):
        y += LINE
        fitted = lettering.fit(text, SMALL, name)
        _line(sheet, box.left, y, fitted, row.figures, name, widths, sheet.palette.ink)


def _line(
    sheet: Sheet,
    left: float,
    y: float,
    first: str,
    figures: tuple[str, ...],
    name: float,
    widths: list[float],
    color: str,
) -> None:
    sheet.text(left, y, first, size=SMALL, color=color)
    x = left + name
    for text, width in zip(figures, widths, strict=True):
        x += width
        if text and x <= sheet.width:
            sheet.text(x, y, text, size=SMALL, color=color, align="right")
