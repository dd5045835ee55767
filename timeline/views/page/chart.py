"""The Bokeh document of the page: the curve, the phase lanes under it, and one time axis for both.

It holds a first view of the readings, at most some thousand points. ``assets/`` fills the same
sources anew from all readings whenever the view moves. Models have names, by which the script
finds them; no text of a user stands in any model, since Bokeh reads some texts as TeX and then
loads a renderer from the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from bokeh.embed import json_item
from bokeh.layouts import column
from bokeh.models import (
    AdaptiveTicker,
    BoxZoomTool,
    ColumnDataSource,
    CompositeTicker,
    PanTool,
    Range1d,
    WheelZoomTool,
)
from bokeh.models.annotations import BoxAnnotation
from bokeh.plotting import figure

from timeline.analysis.decimation import Buckets, decimate
from timeline.analysis.types import HOST, Analysis
from timeline.views.palette import PALETTES

BUCKETS = 1200
"""Of the first view: one a pixel of a usual window."""

CURVE_HEIGHT = 340
LEFT, RIGHT = 78, 16
"""Pixels beside the frame, the same in both figures so that their times stand in line."""

_TALLEST_LANE, _LANES_HEIGHT = 24, 264
_AXIS_HEIGHT = 30
_HEADROOM = 1.1

Paint = tuple[str, str, str]
"""Name of a model, its property, and the colour of the palette that it takes."""

_LINE_OF_CHANNEL = "line_color"
_PAINT: list[Paint] = [
    ("gap", "hatch_color", "grid"),
    ("gap", "fill_color", "gap"),
    ("ceiling", "line_color", "envelope"),
    ("band", "fill_color", "envelope"),
    ("outline", "line_color", "envelope"),
    ("peak", "fill_color", "peak"),
    ("peak", "line_color", "paper"),
    ("peak label", "text_color", "peak"),
    ("peak label", "background_fill_color", "paper"),
    ("mark", "line_color", "faint"),
    ("mark label", "text_color", "faint"),
    ("mark label", "background_fill_color", "paper"),
    ("focus", "fill_color", "ink"),
    ("lane focus", "line_color", "ink"),
    *(
        (name, property, color)
        for name in ("curve figure", "lanes figure")
        for property, color in (
            ("background_fill_color", "paper"),
            ("border_fill_color", "paper"),
            ("outline_line_color", "grid"),
        )
    ),
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


@dataclass(frozen=True, slots=True)
class Chart:
    """The document as JSON for ``Bokeh.embed.embed_item``, and what takes which colour."""

    item: dict[str, Any]
    paint: list[Paint]
    span_s: float


def build(analysis: Analysis, target: str) -> Chart:
    """The chart of an analysis.

    Args:
        analysis: what to show.
        target: id of the element that the chart will fill.
    """
    span_ns = span(analysis)
    pad = span_ns / 1e9 * 0.008
    times = Range1d(
        start=-pad, end=span_ns / 1e9 + pad, bounds=(-pad, span_ns / 1e9 + pad), min_interval=1e-6,
        name="times",
    )  # fmt: skip
    has_lanes = len(analysis.instances) > 0
    top, paint = _curve(analysis, times, span_ns, axis=not has_lanes)
    figures = [top, _lanes(analysis.instances.lanes, times)] if has_lanes else [top]
    layout = column(*figures, sizing_mode="stretch_width", spacing=0, name="layout")
    paint = [*_PAINT, *paint]
    for name, property, color in paint:
        for model in layout.select({"name": name}):
            setattr(model, property, color_of("light", color))
    return Chart(dict(json_item(layout, target)), paint, span_ns / 1e9)  # type: ignore[arg-type]


def color_of(theme: str, color: str) -> str:
    """A colour of a palette by its name; ``others/2`` is the third of the other channels."""
    palette = PALETTES["dark" if theme == "dark" else "light"]
    name, _, place = color.partition("/")
    if name == "others":
        return palette.others[int(place) % len(palette.others)]
    value: str = getattr(palette, name)
    return value


def color_of_channel(index: int, name: str) -> str:
    """The name of the colour of the line of a channel, by its place among the channels."""
    return "curve" if name == HOST else f"others/{index}"


def span(analysis: Analysis) -> int:
    """The time that the chart shows, in ns: the run's, or up to the last thing known of it."""
    ends = [analysis.duration_ns, *(mark.t_ns for mark in analysis.marks)]
    ends += [int(curve.t_ns[-1]) for curve in analysis.curves.values() if len(curve.t_ns)]
    if len(analysis.instances):
        ends.append(int(analysis.instances.end_ns.max()))
    return max(*ends, 1_000_000)


def _curve(
    analysis: Analysis, times: Range1d, span_ns: int, *, axis: bool
) -> tuple[figure, list[Paint]]:
    largest = max((int(c.high.max()) for c in analysis.curves.values() if len(c.high)), default=0)
    sizes = Range1d(start=0, end=max(largest, 1 << 20) * _HEADROOM, name="sizes", min_interval=4096)
    plot = _figure("curve", CURVE_HEIGHT + (_AXIS_HEIGHT if axis else 0), times, sizes)
    plot.yaxis.ticker = AdaptiveTicker(base=2, mantissas=[1], min_interval=1, desired_num_ticks=5)
    plot.yaxis.name, plot.ygrid.name = "curve bytes", "curve bytes grid"
    plot.xaxis.visible = axis

    gaps = _source("gaps", left=[], right=[])
    plot.vstrip("left", "right", source=gaps, line_color=None, hatch_pattern="/",
                hatch_scale=9, hatch_weight=1, hatch_alpha=1).glyph.name = "gap"  # fmt: skip
    plot.add_layout(BoxAnnotation(name="focus", fill_alpha=0.07, visible=False, line_color=None))

    views = {name: decimate(curve, 0, span_ns, BUCKETS) for name, curve in analysis.curves.items()}
    host = views.get(HOST)
    band = _source("bands", **envelope(host)) if host else _source("bands", x=[], low=[], high=[])
    plot.varea("x", "low", "high", source=band, fill_alpha=0.85).glyph.name = "band"
    outline = _source("outlines", x=[], y=[])
    plot.line("x", "y", source=outline, line_width=1.5).glyph.name = "outline"
    ceilings = _source("ceilings", x0=[], x1=[], y=[])
    plot.segment("x0", "y", "x1", "y", source=ceilings, line_width=1.5,
                 line_dash="dashed").glyph.name = "ceiling"  # fmt: skip

    paint: list[Paint] = []
    # The first channel last, so that it lies on top.
    for index, (name, view) in reversed(list(enumerate(views.items()))):
        t, value = view.line()
        renderer = plot.line(
            "x", "y", source=_source(f"line {index}", x=t / 1e9, y=value), line_width=1.5,
            name=f"renderer {index}",
        )  # fmt: skip
        renderer.glyph.name = f"channel {index}"
        paint.append((f"channel {index}", _LINE_OF_CHANNEL, color_of_channel(index, name)))
    dots = _source("dots", x=[], y=[], color=[])
    plot.scatter("x", "y", source=dots, size=5, color="color").glyph.name = "dot"

    marks = _source("marks", x=[])
    plot.vspan("x", source=marks, line_dash="dotted", line_width=1.2).glyph.name = "mark"
    labels = _source("mark labels", x=[], y=[], text=[])
    plot.text("x", "y", "text", source=labels, text_font_size="11px", text_baseline="top",
              x_offset=4, y_offset=4, background_fill_alpha=0.85).glyph.name = "mark label"  # fmt: skip
    peaks = _source("peaks", x=[], y=[], text=[], align=[], shift=[])
    plot.scatter("x", "y", source=peaks, size=10, line_width=2).glyph.name = "peak"
    plot.text("x", "y", "text", source=peaks, text_font_size="12px", text_font_style="bold",
              text_align="align", x_offset="shift", y_offset=-7, text_baseline="bottom",
              background_fill_alpha=0.75, padding=1).glyph.name = "peak label"  # fmt: skip
    return plot, paint


def _lanes(lanes: int, times: Range1d) -> figure:
    each = min(_TALLEST_LANE, max(_LANES_HEIGHT / lanes, 1))
    height = int(each * lanes) + 6
    plot = _figure("lanes", height + _AXIS_HEIGHT, times, Range1d(start=lanes, end=0, name="rows"))
    plot.yaxis.visible = False
    plot.ygrid.visible = False
    boxes = _source("boxes", left=[], right=[], top=[], bottom=[], color=[])
    plot.quad("left", "right", "top", "bottom", source=boxes, fill_color="color",
              line_color=None).glyph.name = "box"  # fmt: skip
    chosen = _source("chosen", left=[], right=[], top=[], bottom=[])
    plot.quad("left", "right", "top", "bottom", source=chosen, fill_color=None,
              line_width=2).glyph.name = "lane focus"  # fmt: skip
    names = _source("names", x=[], y=[], text=[], color=[])
    plot.text("x", "y", "text", source=names, text_color="color", text_font_size="11px",
              text_baseline="middle", x_offset=5).glyph.name = "name"  # fmt: skip
    return plot


def _figure(name: str, height: int, times: Range1d, down: Range1d) -> figure:
    wheel = WheelZoomTool(dimensions="width", name=f"{name} wheel")
    pan = PanTool(dimensions="width", name=f"{name} pan")
    box = BoxZoomTool(dimensions="width", name=f"{name} box")
    plot = figure(
        name=f"{name} figure", height=height, sizing_mode="stretch_width", x_range=times,
        y_range=down, tools=[pan, box, wheel], active_drag=pan, active_scroll=wheel,
        toolbar_location=None, min_border_left=LEFT, min_border_right=RIGHT, min_border_top=6,
        min_border_bottom=0, lod_threshold=None,
    )  # fmt: skip
    plot.xaxis.ticker = _durations()
    plot.xaxis.name, plot.xgrid.name = f"{name} time", f"{name} time grid"
    for axis in plot.axis:
        axis.major_label_text_font_size = "11px"
        axis.minor_tick_line_color = None
        axis.major_tick_in = 0
    return plot


def _durations() -> CompositeTicker:
    """Ticks at round fractions of a second, then at round minutes, hours and days."""

    def ticks(base: int, mantissas: list[int], least: float, most: float | None) -> AdaptiveTicker:
        return AdaptiveTicker(
            base=base, mantissas=mantissas, min_interval=least, max_interval=most, num_minor_ticks=0
        )

    return CompositeTicker(
        tickers=[
            ticks(10, [1, 2, 5], 0, 0.5),
            ticks(60, [1, 2, 5, 10, 15, 20, 30], 1, 1800),
            ticks(24, [1, 2, 4, 6, 8, 12], 3600, 43_200),
            ticks(10, [1, 2, 5], 86_400, None),
        ]
    )


def _source(name: str, **columns: Any) -> ColumnDataSource:
    return ColumnDataSource(name=name, data=columns)


def envelope(buckets: Buckets) -> dict[str, Any]:
    """The area between the readings and the high-water marks, as columns to fill between.

    A high-water mark speaks of all the time since the reading before, so it is drawn back to
    there. At a gap the area closes to no height, and a NaN breaks its outline.
    """
    if not len(buckets):
        return {"x": [], "low": [], "high": []}
    before = np.concatenate((buckets.begin_ns[:1], buckets.end_ns[:-1]))
    since = np.where(buckets.broken, buckets.begin_ns, before)
    last = np.concatenate((buckets.first[:1], buckets.last[:-1]))
    left = np.where(buckets.count == 1, np.where(buckets.broken, buckets.first, last), buckets.low)
    blank = np.full(len(buckets), np.nan)
    x = np.stack((before, blank, since, since, buckets.end_ns), 1)
    low = np.stack((last, blank, buckets.first, left, buckets.low), 1)
    high = np.stack((last, blank, buckets.first, buckets.high, buckets.high), 1)
    keep = np.ones(x.shape, bool)
    keep[:, :3] = buckets.broken[:, None]
    return {"x": x[keep] / 1e9, "low": low[keep], "high": high[keep]}
