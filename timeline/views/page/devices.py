"""The GPUs on the page: a plot for each under the curve, and what is to be said in a card."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import numpy as np
from bokeh.models import AdaptiveTicker, ColumnDataSource, Range1d
from bokeh.models.annotations import Span
from bokeh.models.glyphs import Scatter, Text, VArea

from timeline.analysis.types import Analysis, DeviceMemory
from timeline.units import format_bytes
from timeline.views.device_layers import (
    LAYERS,
    MOST_DEVICES,
    drawn_total,
    layers_of,
    names_drawn,
)
from timeline.views.device_words import (
    ALIVE_COLUMNS,
    alive_rows,
    layers_words,
    main_channel,
    peak_words,
    snapshot_words,
    title,
    trouble_words,
)
from timeline.views.page.colors import Paint
from timeline.views.page.words import escaped
from timeline.views.table import figure as figure_of

HEIGHT = 150
POINTS = 3000
MOST_PHASES = 200

COLORS = {"allocated": "curve", "cached": "envelope", "outside torch": "rest", "used": "rest"}
"""The palette's, as `timeline.views.palette.layer_colors` has them."""


def plots(
    analysis: Analysis, times: Range1d, make: Callable[[str, int, Range1d, Range1d], Any]
) -> tuple[list[Any], list[Paint]]:
    """A figure for each device, and what takes which colour.

    Args:
        analysis: what to show.
        times: the range that all figures share.
        make: makes an empty figure of a name and a height.
    """
    figures: list[Any] = []
    paint: list[Paint] = []
    for number, memory in enumerate(analysis.devices[:MOST_DEVICES]):
        figures.append(_plot(number, memory, times, make, paint))
    return figures, paint


def name_of(number: int) -> str:
    """What the models and sources of a device's plot are called, for the script."""
    return f"device {number}"


def _plot(
    number: int,
    memory: DeviceMemory,
    times: Range1d,
    make: Callable[[str, int, Range1d, Range1d], Any],
    paint: list[Paint],
) -> Any:
    name = name_of(number)
    layers = layers_of(memory, POINTS)
    total = drawn_total(memory, layers)
    top = max(layers.highest, total, 1 << 20) * 1.14
    plot = make(name, HEIGHT, times, Range1d(start=0, end=top, name=f"{name} sizes"))
    plot.xaxis.visible = False
    plot.yaxis.ticker = AdaptiveTicker(base=2, mantissas=[1], min_interval=1, desired_num_ticks=3)
    plot.yaxis.name, plot.ygrid.name = f"{name} bytes", f"{name} bytes grid"
    t = np.stack((layers.since_ns, layers.t_ns), 1).ravel() / 1e9
    below = np.zeros(len(t))
    for layer, edge in zip(LAYERS, layers.edges, strict=True):
        level = np.repeat(edge, 2).astype(np.float64)
        area = VArea(x="x", y1="low", y2="high", fill_alpha=1, name=f"{name} {layer}")
        columns = {"x": t, "low": below, "high": level}
        plot.add_glyph(ColumnDataSource(name=f"{name} {layer} edges", data=columns), area)
        paint.append((f"{name} {layer}", "fill_color", COLORS[layer]))
        below = level
    if total:
        line = Span(
            location=total, dimension="width", line_dash="dashed", line_width=1.2,
            name=f"{name} total",
        )  # fmt: skip
        plot.add_layout(line)
        paint.append((f"{name} total", "line_color", "peak"))
    peak = memory.peak
    size = peak.allocated if memory.by_torch else peak.used
    dot = ColumnDataSource(data={"x": [peak.t_ns / 1e9], "y": [size]})
    plot.add_glyph(dot, Scatter(x="x", y="y", size=9, line_width=2, name=f"{name} peak"))
    label = ColumnDataSource(
        name=f"{name} labels", data={"x": [0.0], "y": [top], "text": [memory.name]}
    )
    text = Text(
        x="x", y="y", text="text", text_font_size="12px", text_font_style="bold",
        text_baseline="top", y_offset=4, x_offset=4, background_fill_alpha=0.75,
        name=f"{name} label",
    )  # fmt: skip
    plot.add_glyph(label, text)
    paint += [
        (f"{name} peak", "fill_color", "peak"),
        (f"{name} peak", "line_color", "paper"),
        (f"{name} label", "text_color", "ink"),
        (f"{name} label", "background_fill_color", "paper"),
        (f"{name} figure", "outline_line_color", "grid"),
        (f"{name} bytes", "axis_line_color", "grid"),
        (f"{name} bytes", "major_tick_line_color", "grid"),
        (f"{name} bytes", "major_label_text_color", "faint"),
        (f"{name} bytes grid", "grid_line_color", "grid"),
        (f"{name} time grid", "grid_line_color", "grid"),
    ]
    return plot


def card(analysis: Analysis) -> str:
    """What is to be said of the devices; nothing where there is none."""
    blocks = [_block(analysis, memory) for memory in analysis.devices]
    if not blocks:
        return ""
    if analysis.alive:
        blocks.append(_alive(analysis))
    said = "".join(
        f'<p>{escaped(words)} (<a href="{escaped(quote(os.path.basename(path)))}">file</a>)</p>'
        for words, path in zip(snapshot_words(analysis), analysis.snapshots, strict=True)
    )
    if said:
        blocks.append(f"<div><h2>Snapshots</h2>{said}</div>")
    return f'<section class="card gpus" aria-label="GPUs">{"".join(blocks)}</section>'


def _block(analysis: Analysis, memory: DeviceMemory) -> str:
    words = [peak_words(analysis, memory), layers_words(memory), trouble_words(memory)]
    said = "".join(f"<p>{escaped(each)}</p>" for each in words if each)
    keys = "".join(
        f'<span><i style="background:var(--{COLORS[name]})"></i>{name}</span>'
        for name in names_drawn(memory)
    )
    heading = f"<h2>{escaped(title(memory))}</h2>"
    return f'<div>{heading}<p class="key">{keys}</p>{said}{_phases(analysis, memory)}</div>'


def _phases(analysis: Analysis, memory: DeviceMemory) -> str:
    channel = main_channel(memory)
    rows = [each for each in analysis.phases if channel in each.peak]
    shown = sorted(rows, key=lambda each: -each.peak[channel].bytes)[:MOST_PHASES]
    if not shown:
        return ""
    lines = "".join(
        f"<tr><td><bdi>{escaped(each.path)}</bdi></td>"
        f'<td title="{each.peak[channel].bytes:,} bytes">'
        f"{figure_of(each.peak[channel].bytes, each.peak[channel].exact)}</td>"
        f"<td>{format_bytes(each.peak[channel].delta, signed=True)}</td></tr>"
        for each in shown
    )
    left = len(rows) - len(shown)
    more = f"<p>and {left:,} more phases with smaller peaks</p>" if left else ""
    name = escaped(memory.name)
    return (
        f"<details><summary>Peaks by phase on {name}</summary><table><thead><tr><th>Phase</th>"
        f"<th>Peak</th><th>Delta</th></tr></thead><tbody>{lines}</tbody></table>{more}</details>"
    )


def _alive(analysis: Analysis) -> str:
    head = "".join(f"<th>{name}</th>" for name in ALIVE_COLUMNS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escaped(cell)}</td>" for cell in row) + "</tr>"
        for row in alive_rows(analysis, MOST_PHASES)
    )
    left = len(analysis.alive) - MOST_PHASES
    more = f"<p>and {left:,} more places with less</p>" if left > 0 else ""
    return (
        '<div class="alive"><h2>What was alive at the peak</h2>'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{more}</div>"
    )
