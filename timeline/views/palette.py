"""One colour for each thing, the same in every view.

The phases that the hooks make have fixed colours; other paths take the free ones in turn. The hues
are Okabe and Ito's (2008), which stay apart for colour-blind readers, darkened where text or thin
lines would be too pale on white.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from timeline.analysis.types import HOST

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
    rest: str
    """Phases that have no colour of their own, because there are too many."""
    body: str
    """Under the first curve, where children are stacked on it."""
    family: str
    """The children that are."""
    others: tuple[str, ...]
    """Lines of channels beside the first, in turn."""


PALETTES: dict[Theme, Palette] = {
    "light": Palette(
        paper="#ffffff",
        ink="#1f2430",
        faint="#6b7280",
        grid="#e5e7eb",
        curve="#1d4e89",
        envelope="#86aed8",
        peak="#c1121f",
        gap="#f3f4f6",
        rest="#b3b8c2",
        body="#e6eef8",
        family="#bfe5de",
        others=("#0f766e", "#9a3fb5", "#b45309", "#4d7c0f", "#0e86a8", "#475569"),
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
        rest="#565d6b",
        body="#1b2738",
        family="#1f4a49",
        others=("#4fd1c5", "#d08bea", "#f0a95b", "#a3d65c", "#67d5ee", "#a9b4c4"),
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
_FREE = (
    "#e69f00", "#8d6bb8", "#5f8f3e", "#a0522d", "#c2547a", "#4b6cb7",
    "#b5a800", "#44a5b8", "#b0413e", "#9c8fd6", "#3d7a5c", "#d98c5f",
)  # fmt: skip


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


def channel_color(palette: Palette, place: int, name: str) -> str:
    """The colour of a channel's line, by its place among the channels of the analysis."""
    return palette.curve if name == HOST else palette.others[place % len(palette.others)]


def layer_colors(palette: Palette) -> dict[str, str]:
    """The colours of a GPU's layers: what torch holds in one hue, and what is outside in grey."""
    return {
        "allocated": palette.curve,
        "cached": palette.envelope,
        "outside torch": palette.rest,
    }


def ink_on(color: str) -> str:
    """Black or white, whichever is easier to read on ``#rrggbb``."""
    red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    # Relative luminance of WCAG 2.1; text is as readable in black as in white at 0.18, and white
    # looks better on a strong hue a little beyond.
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)
    ]
    return (
        "#000000"
        if 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.3
        else "#ffffff"
    )
