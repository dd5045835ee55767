"""The paper: places in inches from its upper left corner, text in points."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from timeline.views.chart import lettering
from timeline.views.palette import Palette

TITLE, BODY, SMALL = 13.0, 9.0, 8.0
"""Sizes of text in points."""

LEAST_GAP = 0.02
"""Inches; narrower gaps are not drawn."""

LINE = 0.185
"""From one line of text to the next, in inches."""


@dataclass(frozen=True, slots=True)
class Box:
    """A part of the paper, in inches from its upper left corner."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Inches from the left edge of the paper."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Inches from the upper edge of the paper."""
        return self.top + self.height


@dataclass(frozen=True, slots=True)
class Plot:
    """Where the curves are drawn: a box, the time across it, the bytes up to its upper edge."""

    box: Box
    begin_ns: int
    end_ns: int
    top: float

    def x(self, t_ns: float) -> float:
        """Inches from the left edge of the paper."""
        return self.box.left + self.box.width * (t_ns - self.begin_ns) / (
            self.end_ns - self.begin_ns
        )

    @property
    def least_gap_ns(self) -> float:
        """What lies closer together is one line: a gap in it would be under the line's width."""
        return (self.end_ns - self.begin_ns) * LEAST_GAP / self.box.width

    def y(self, size: float) -> float:
        """Inches from the upper edge of the paper."""
        return self.box.bottom - self.box.height * size / self.top


class Sheet:
    """A figure of a size in inches, drawn on from the top."""

    def __init__(self, figure: Figure, palette: Palette) -> None:
        self.figure = figure
        self.palette = palette
        self.width, self.height = (float(side) for side in figure.get_size_inches())
        figure.set_facecolor(palette.paper)

    def axes(self, box: Box) -> Axes:
        """Empty axes without frame or ticks, at whole pixels so that thin lines stay crisp."""
        dpi = self.figure.dpi
        left, right = round(box.left * dpi), round(box.right * dpi)
        low, high = (round((self.height - y) * dpi) for y in (box.bottom, box.top))
        across, up = self.width * dpi, self.height * dpi
        axes = self.figure.add_axes(
            (left / across, low / up, (right - left) / across, (high - low) / up)
        )
        axes.set_facecolor("none")
        axes.set_axis_off()
        return axes

    def pixels(self, box: Box) -> int:
        """How many pixels wide a box is."""
        return round(box.right * self.figure.dpi) - round(box.left * self.figure.dpi)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = BODY,
        color: str | None = None,
        bold: bool = False,
        align: str = "left",
        halo: bool = False,
    ) -> None:
        """Write one drawable line, the middle of its small letters ``y`` inches from the top."""
        self.figure.text(
            x / self.width,
            # From the baseline to the middle of an x is about a quarter of the size.
            1 - (y + size * 0.27 / 72) / self.height,
            text,
            color=color or self.palette.ink,
            fontproperties=lettering.font(size, bold),
            horizontalalignment=align,
            verticalalignment="baseline",
            parse_math=False,
            # Of paper around the letters alone: a box would hide more of what is behind them.
            path_effects=[withStroke(linewidth=2.5, foreground=self.palette.paper)]
            if halo
            else None,
        )

    def swatch(
        self, x: float, y: float, color: str, *, width: float = 0.11, hatch: str | None = None
    ) -> None:
        """A small filled box, its middle ``y`` inches from the top."""
        self._rectangle(Box(x, y - 0.055, width, 0.11), color, hatch)

    def dash(self, x: float, y: float, color: str, weight: float = 1.4) -> None:
        """A short line as a key, its middle ``y`` inches from the top."""
        self._rectangle(Box(x, y - weight / 144, 0.22, weight / 72), color)

    def box(self, box: Box, color: str) -> None:
        """A filled box."""
        self._rectangle(box, color)

    def line(self, x0: float, y0: float, x1: float, y1: float, color: str) -> None:
        """A thin straight line between two places."""
        across = [x0 / self.width, x1 / self.width]
        up = [1 - y0 / self.height, 1 - y1 / self.height]
        self.figure.add_artist(Line2D(across, up, color=color, linewidth=0.8))

    def _rectangle(self, box: Box, color: str, hatch: str | None = None) -> None:
        self.figure.add_artist(
            Rectangle(
                (box.left / self.width, 1 - box.bottom / self.height),
                box.width / self.width,
                box.height / self.height,
                facecolor=color,
                edgecolor=self.palette.grid,
                linewidth=0,
                hatch=hatch,
            )
        )
