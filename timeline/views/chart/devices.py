"""The GPUs on the picture: under the curve a plot for each, its layers on each other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from timeline.analysis.types import Analysis, DeviceMemory
from timeline.units import format_bytes
from timeline.views.chart import lettering
from timeline.views.chart.sheet import BODY, SMALL, Box, Plot, Sheet
from timeline.views.chart.ticks import byte_ticks
from timeline.views.device_layers import (
    LAYERS,
    MOST_DEVICES,
    Layers,
    drawn_total,
    layers_of,
    names_drawn,
)
from timeline.views.device_words import peak_words, title
from timeline.views.palette import layer_colors

_HEADING = 0.46
_HEIGHT = 0.13
"""Of the width."""

_POINTS = 4000


@dataclass(frozen=True, slots=True)
class Panel:
    """One device with the place of its plot."""

    memory: DeviceMemory
    layers: Layers
    plot: Plot

    @property
    def bottom(self) -> float:
        """Inches from the upper edge of the paper."""
        return self.plot.box.bottom


def panels(analysis: Analysis, under: Plot, width: float) -> list[Panel]:
    """The devices under each other below a plot, sharing its time."""
    out: list[Panel] = []
    y = under.box.bottom
    height = min(max(_HEIGHT * width, 0.9), 2.4)
    for memory in analysis.devices[:MOST_DEVICES]:
        layers = layers_of(memory, _POINTS)
        top = max(layers.highest, drawn_total(memory, layers), 1) * 1.12
        box = Box(under.box.left, y + _HEADING, under.box.width, height)
        out.append(Panel(memory, layers, replace(under, box=box, top=top)))
        y = box.bottom
    return out


def widest_label(analysis: Analysis) -> float:
    """Inches that the sizes beside these plots take."""
    tops = [layers_of(each, _POINTS).highest for each in analysis.devices[:MOST_DEVICES]]
    labels = [label for top in tops for _, label in byte_ticks(max(top, 1) * 2.6, 12)]
    return max((lettering.width(label, SMALL) for label in labels), default=0.0)


def draw(sheet: Sheet, analysis: Analysis, panel: Panel) -> None:
    """Draw one device: what it is, its keys, its layers, its total and its peak."""
    memory, plot, layers = panel.memory, panel.plot, panel.layers
    palette = sheet.palette
    colors = layer_colors(palette)
    box = plot.box
    words = f"{title(memory)}: {peak_words(analysis, memory)}"
    sheet.text(box.left, box.top - 0.3, lettering.fit(words, BODY, box.width), bold=False)
    x = box.left
    names = names_drawn(memory)
    total = drawn_total(memory, layers)
    for name in names:
        sheet.swatch(x, box.top - 0.11, colors["outside torch" if name == "used" else name])
        sheet.text(x + 0.17, box.top - 0.11, name, size=SMALL, color=palette.faint)
        x += 0.17 + lettering.width(name, SMALL) + 0.22
    if memory.device.total > 0:
        text = f"of {format_bytes(memory.device.total)}"
        sheet.text(x, box.top - 0.11, text, size=SMALL, color=palette.faint)
    axes = sheet.axes(box)
    axes.set_xlim(plot.begin_ns, plot.end_ns)
    axes.set_ylim(0, plot.top)
    for size, label in byte_ticks(plot.top, max(round(box.height / 0.4), 2)):
        axes.axhline(size, color=palette.grid if size else palette.faint, linewidth=0.7, zorder=0)
        sheet.text(
            box.left - 0.08, plot.y(size), label, size=SMALL, color=palette.faint, align="right"
        )
    t = np.stack((layers.since_ns, layers.t_ns), 1).ravel()
    below = np.zeros(len(t), np.int64)
    for name, edge in zip(LAYERS, layers.edges, strict=True):
        level = np.repeat(edge, 2)
        axes.fill_between(t, below, level, color=colors[name], linewidth=0)
        below = level
    if total:
        axes.axhline(total, color=palette.peak, linewidth=0.9, linestyle=(0, (5, 3)))
    peak = memory.peak
    size = peak.allocated if memory.by_torch else peak.used
    axes.plot(
        [peak.t_ns], [size], color=palette.peak, marker="o", markersize=4,
        markeredgecolor=palette.paper, markeredgewidth=0.8, clip_on=False,
    )  # fmt: skip
