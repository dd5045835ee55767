"""The user's text marks, as flags over the curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from matplotlib.collections import LineCollection

from timeline.analysis.types import TextMark
from timeline.views.chart import lettering
from timeline.views.chart.sheet import Box, Plot, Sheet

HEIGHT = 0.24
"""Inches of the strip over the plot that the flags stand in."""

_SIZE = 7.5
_LONGEST = 1.6
_SPACE = 0.1
_FROM_POLE = 0.05
_SILENT = 0.06
"""Inches of the line of a silent mark: it ends under the texts, so that none is struck through."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A text beside its pole, ``x`` inches from the left."""

    x: float
    text: str
    side: Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Flown:
    """The flags that have room.

    Attributes:
        silent: how many marks have none for their text.
        poles: places of these, in inches, no two closer than a line is wide.
    """

    flags: tuple[Flag, ...]
    silent: int
    poles: tuple[float, ...]


def place(plot: Plot, marks: tuple[TextMark, ...]) -> Flown:
    """Find room for the marks' texts, from left to right, so that none overlaps another."""
    flags: list[Flag] = []
    poles: dict[int, float] = {}
    silent = 0
    taken = plot.box.left - _SPACE
    for mark in marks:
        x = min(max(plot.x(mark.t_ns), plot.box.left), plot.box.right)
        text = lettering.fit(mark.text, _SIZE, _LONGEST) if x > taken else ""
        width = _FROM_POLE + lettering.width(text, _SIZE)
        if text and x >= taken + _SPACE and x + width <= plot.box.right:
            flags.append(Flag(x, text, "right"))
            taken = x + width
        elif text and x + width > plot.box.right and x - width >= taken + _SPACE:
            flags.append(Flag(x, text, "left"))
            taken = x
        else:
            silent += 1
            poles.setdefault(round(x * 100), x)
    return Flown(tuple(flags), silent, tuple(poles.values()))


def draw(sheet: Sheet, plot: Plot, flown: Flown) -> None:
    """Draw flags on poles through the whole plot, and a short line for each silent mark."""
    box = Box(plot.box.left, plot.box.top - HEIGHT, plot.box.width, plot.box.height + HEIGHT)
    axes = sheet.axes(box)
    axes.set_xlim(box.left, box.right)
    axes.set_ylim(box.bottom, box.top)
    lines = [[(flag.x, box.top + 0.04), (flag.x, box.bottom)] for flag in flown.flags]
    lines += [[(x, plot.box.top - _SILENT), (x, plot.box.top)] for x in flown.poles]
    color = sheet.palette.faint
    axes.add_collection(
        LineCollection(lines, colors=color, linewidths=0.5, alpha=0.7), autolim=False
    )
    for flag in flown.flags:
        right = flag.side == "right"
        sheet.text(
            flag.x + (_FROM_POLE if right else -_FROM_POLE),
            box.top + 0.1,
            flag.text,
            size=_SIZE,
            align="left" if right else "right",
            halo=True,
        )
