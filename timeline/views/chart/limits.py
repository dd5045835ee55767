"""The limits as dashed lines across the curve, each with what it is."""

from __future__ import annotations

from timeline.views.chart.sheet import SMALL, Plot, Sheet
from timeline.views.limits import DrawnLimit

_APART = 0.16
"""Inches between two texts; of lines that lie closer the upper one's text stands above."""


def draw(sheet: Sheet, plot: Plot, limits: tuple[DrawnLimit, ...]) -> None:
    """Draw the lines, and their texts at the left, where a curve that ends at a limit is low."""
    axes = sheet.axes(plot.box)
    axes.set_xlim(plot.begin_ns, plot.end_ns)
    axes.set_ylim(0, plot.top)
    free = plot.box.bottom
    for limit in limits:
        color = sheet.palette.peak
        axes.axhline(limit.bytes, color=color, linewidth=0.9, linestyle=(0, (5, 3)))
        y = plot.y(limit.bytes)
        # Under its line; above it where the text of the line below is in the way.
        place = y + 0.1 if y + 0.1 <= free - _APART or free == plot.box.bottom else y - 0.1
        free = place
        sheet.text(
            plot.box.left + 0.06, place, limit.text, size=SMALL - 0.5, color=color, halo=True
        )
