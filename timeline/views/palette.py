"""One colour for each thing, the same in every view.

The phases that the hooks make have fixed colours; other paths take the free ones in turn. The hues
are Okabe and Ito's (2008), which stay apart for colour-blind readers, darkened where text or thin
lines would be too pale on white.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Theme = Literal["light", "dark"]


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of a theme that belong to no phase."""

    paper: str
    ink: str
    faint: str
    grid: str
    curve: str
    envelope: str
    peak: str
    gap: str


PALETTES: dict[Theme, Palette] = {
    "light": Palette(
        paper="#ffffff",
        ink="#1f2430",
        faint="#6b7280",
        grid="#e5e7eb",
        curve="#1d4e89",
        envelope="#8fb3d9",
        peak="#c1121f",
        gap="#f3f4f6",
    ),
    "dark": Palette(
        paper="#14171f",
        ink="#e6e8ee",
        faint="#9aa1b0",
        grid="#2a2f3b",
        curve="#8ec1ff",
        envelope="#35567f",
        peak="#ff6b6b",
        gap="#1d212b",
    ),
}

_KNOWN = {
    "load": "#7a7f8c",
    "data": "#56b4e9",
    "step/forward": "#0072b2",
    "step/loss": "#3fa7a0",
    "step/backward": "#d55e00",
    "step/optimizer": "#009e73",
    "inference": "#cc79a7",
}
_FREE = ("#e69f00", "#8d6bb8", "#b5a800", "#a0522d", "#5f8f3e", "#c2547a", "#4b6cb7", "#8a8f2a")


def phase_colors(paths: Iterable[str]) -> dict[str, str]:
    """The colour of each path, ``#rrggbb``: fixed for known phases, the others in turn."""
    colors: dict[str, str] = {}
    free = 0
    for path in paths:
        if path in colors:
            continue
        if path in _KNOWN:
            colors[path] = _KNOWN[path]
        else:
            colors[path] = _FREE[free % len(_FREE)]
            free += 1
    return colors
