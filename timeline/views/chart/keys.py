"""What the lines and areas of the curve stand for, in a row over it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from timeline.analysis.types import Curve
from timeline.views.band import told
from timeline.views.chart import lettering
from timeline.views.chart.curve import HATCH, with_gaps_shown
from timeline.views.chart.sheet import SMALL, Plot, Sheet
from timeline.views.palette import Palette

ROW = 0.2
_LONGEST = 3.0
_SPACE = 0.28


@dataclass(frozen=True, slots=True)
class Key:
    """One line or area and what it stands for."""

    kind: Literal["line", "area", "gap"]
    color: str
    name: str

    @property
    def width(self) -> float:
        """Inches, with the sign before it."""
        return 0.3 + lettering.width(self.name, SMALL)


def of(palette: Palette, drawn: list[tuple[Curve, str]], plot: Plot) -> list[Key]:
    """The keys of the curves and their colours, and of what is drawn beside the first."""
    out = [
        Key("line", color, lettering.fit(curve.channel.name, SMALL, _LONGEST))
        for curve, color in drawn
    ]
    for curve, _ in drawn[:1]:
        if len(with_gaps_shown(curve, plot).gaps_ns):
            dashed = "; dashed: the maximum in there" if curve.known.any() else ""
            out.insert(1, Key("gap", palette.gap, f"no samples{dashed}"))
        if told(curve).any():
            out.insert(1, Key("area", palette.envelope, "between samples, by the high-water mark"))
    return out


def rows(keys: list[Key], room: float) -> list[list[Key]]:
    """The keys in rows of at most ``room`` inches."""
    out: list[list[Key]] = []
    used = 0.0
    for key in keys:
        if not out or used + key.width > room:
            out.append([])
            used = 0.0
        out[-1].append(key)
        used += key.width + _SPACE
    return out


def draw(sheet: Sheet, left: float, y: float, row: list[Key]) -> None:
    """Draw one row, its middle ``y`` inches from the top."""
    for key in row:
        if key.kind == "line":
            sheet.dash(left, y, key.color)
        else:
            hatch = HATCH if key.kind == "gap" else None
            sheet.swatch(left, y, key.color, width=0.22, hatch=hatch)
        sheet.text(left + 0.3, y, key.name, size=SMALL, color=sheet.palette.faint)
        left += key.width + _SPACE
