"""Which model of the chart takes which colour of the palette, so that a theme can be put on later.

The script in the page goes through the same list when the reader chooses light or dark.
"""

from __future__ import annotations

from timeline.analysis.types import HOST
from timeline.views.palette import PALETTES, Theme

Paint = tuple[str, str, str]
"""Name of a model, its property, and the colour of the palette that it takes."""

PAINT: list[Paint] = [
    ("gap", "hatch_color", "grid"),
    ("gap", "fill_color", "gap"),
    ("ceiling", "line_color", "envelope"),
    ("band", "fill_color", "envelope"),
    ("family", "fill_color", "family"),
    ("under", "fill_color", "body"),
    ("outline", "line_color", "curve"),
    ("peak", "fill_color", "peak"),
    ("peak", "line_color", "paper"),
    ("peak label", "text_color", "peak"),
    ("peak label", "background_fill_color", "paper"),
    ("mark", "line_color", "faint"),
    ("mark label", "text_color", "faint"),
    ("mark label", "background_fill_color", "paper"),
    ("limit", "line_color", "peak"),
    ("limit label", "text_color", "peak"),
    ("limit label", "background_fill_color", "paper"),
    ("focus", "fill_color", "ink"),
    ("lane focus", "line_color", "ink"),
    ("curve figure", "outline_line_color", "grid"),
    ("lanes figure", "outline_line_color", "grid"),
    *(
        (name, property, color)
        for name in ("curve time", "curve bytes", "lanes time")
        for property, color in (
            ("axis_line_color", "grid"),
            ("major_tick_line_color", "grid"),
            ("major_label_text_color", "faint"),
        )
    ),
    *(
        (f"{name} grid", "grid_line_color", "grid")
        for name in ("curve time", "curve bytes", "lanes time")
    ),
]


def color_of(theme: Theme, color: str) -> str:
    """A colour of a palette by its name; ``others/2`` is the third of the other channels."""
    palette = PALETTES[theme]
    name, _, place = color.partition("/")
    if name == "others":
        return palette.others[int(place) % len(palette.others)]
    value: str = getattr(palette, name)
    return value


def color_of_channel(index: int, name: str) -> str:
    """The name of the colour of the line of a channel, by its place among the channels."""
    if name == HOST:
        return "curve"
    return f"others/{index % len(PALETTES['light'].others)}"
