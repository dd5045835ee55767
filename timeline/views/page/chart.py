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
from bokeh.models.glyphs import (
    HSpan,
    Line,
    Quad,
    Scatter,
    Segment,
    Text,
    VArea,
    VSpan,
    VStrip,
)
from bokeh.plotting import figure

from timeline.analysis.decimation import Buckets, decimate
from timeline.analysis.types import HOST, Analysis, Curve
from timeline.views.band import told_in
from timeline.views.family import band_channel
from timeline.views.limits import drawn_limits, shown_at_first
from timeline.views.page import devices
from timeline.views.page.colors import PAINT, Paint, color_of, color_of_channel

BUCKETS = 1200
"""Of the first view: one a pixel of a usual window."""

CURVE_HEIGHT = 340
LEFT, RIGHT = 78, 16
"""Pixels beside the frame, the same in both figures so that their times stand in line."""

MOST_LANES = 12
"""Deeper lanes are not drawn, and the page says so."""

_LANE_HEIGHT = 24
_AXIS_HEIGHT = 30
_HEADROOM = 1.1


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
    plots, of_devices = devices.plots(analysis, times, _figure)
    figures = [top, *plots, *([_lanes(analysis.instances.lanes, times)] if has_lanes else [])]
    layout = column(*figures, sizing_mode="stretch_width", spacing=0, name="layout")
    paint = [*PAINT, *paint, *of_devices]
    # One walk over all models: select() takes one for each name, which is most of a second.
    named = {model.name: model for model in layout.references() if model.name}
    for name, property, color in paint:
        if name in named:
            setattr(named[name], property, color_of("light", color))
    return Chart(dict(json_item(layout, target)), paint, span_ns / 1e9)  # type: ignore[arg-type]


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
    largest = largest_shown(analysis)
    lines = [each.bytes / _HEADROOM * 1.04 for each in drawn_limits(analysis, largest)]
    sizes = Range1d(
        start=0, end=max(largest, 1 << 20, *lines) * _HEADROOM, name="sizes", min_interval=4096
    )
    plot = _figure("curve", CURVE_HEIGHT + (_AXIS_HEIGHT if axis else 0), times, sizes)
    plot.yaxis.ticker = AdaptiveTicker(base=2, mantissas=[1], min_interval=1, desired_num_ticks=5)
    plot.yaxis.name, plot.ygrid.name = "curve bytes", "curve bytes grid"
    plot.xaxis.visible = axis

    gap = VStrip(
        x0="left", x1="right", line_color=None, hatch_pattern="/", hatch_scale=9, hatch_weight=1,
        hatch_alpha=1, name="gap",
    )  # fmt: skip
    plot.add_glyph(_source("gaps", left=[], right=[]), gap)
    plot.add_layout(BoxAnnotation(name="focus", fill_alpha=0.07, visible=False, line_color=None))

    if band_channel(analysis):
        for name in ("family", "under"):
            area = VArea(x="x", y1="low", y2="high", fill_alpha=1, name=name)
            plot.add_glyph(_source(f"{name} area", x=[], low=[], high=[]), area)

    views = {name: decimate(curve, 0, span_ns, BUCKETS) for name, curve in analysis.curves.items()}
    band: dict[str, Any] = {"x": [], "low": [], "high": []}
    if HOST in views:
        band = envelope(analysis.curves[HOST], views[HOST])
    plot.add_glyph(
        _source("bands", **band), VArea(x="x", y1="low", y2="high", fill_alpha=1, name="band")
    )
    plot.add_glyph(
        _source("outlines", x=[], y=[]), Line(x="x", y="y", line_alpha=0.45, name="outline")
    )
    plot.add_glyph(
        _source("ceilings", x0=[], x1=[], y=[]),
        Segment(
            x0="x0", y0="y", x1="x1", y1="y", line_width=1.5, line_dash="dashed", name="ceiling"
        ),
    )
    paint: list[Paint] = []
    # The first channel last, so that it lies on top.
    for index, (name, view) in reversed(list(enumerate(views.items()))):
        t, value = view.line()
        if not shown_at_first(analysis, name):
            t, value = t[:0], value[:0]
        line = Line(x="x", y="y", line_width=1.5, name=f"channel {index}")
        plot.add_glyph(_source(f"line {index}", x=t / 1e9, y=value), line)
        paint.append((f"channel {index}", "line_color", color_of_channel(index, name)))
        body = VArea(x="x", y1="low", y2="high", fill_alpha=1, name=f"body of {index}")
        plot.add_glyph(_source(f"body {index}", x=[], low=[], high=[]), body)
        paint.append((f"body of {index}", "fill_color", color_of_channel(index, name)))
    plot.add_glyph(
        _source("dots", x=[], y=[], color=[]),
        Scatter(x="x", y="y", size=5, fill_color="color", line_color=None, name="dot"),
    )
    plot.add_glyph(
        _source("marks", x=[]), VSpan(x="x", line_dash="dotted", line_width=1.2, name="mark")
    )
    plot.add_glyph(
        _source("mark labels", x=[], y=[], text=[]),
        Text(
            x="x", y="y", text="text", text_font_size="11px", text_baseline="bottom", x_offset=4,
            y_offset=-4, background_fill_alpha=0.75, name="mark label",
        ),
    )  # fmt: skip
    limit_lines = _source("limits", y=[])
    plot.add_glyph(limit_lines, HSpan(y="y", line_dash="dashed", line_width=1.2, name="limit"))
    plot.add_glyph(
        _source("limit labels", x=[], y=[], text=[]),
        Text(
            x="x", y="y", text="text", text_font_size="11px", text_baseline="top", x_offset=6,
            y_offset=3, background_fill_alpha=0.75, name="limit label",
        ),
    )  # fmt: skip
    peaks = _source("peaks", x=[], y=[], text=[], align=[], shift=[])
    plot.add_glyph(peaks, Scatter(x="x", y="y", size=10, line_width=2, name="peak"))
    plot.add_glyph(
        peaks,
        Text(
            x="x", y="y", text="text", text_font_size="12px", text_font_style="bold",
            text_align="align", text_baseline="bottom", x_offset="shift", y_offset=-7,
            background_fill_alpha=0.75, name="peak label",
        ),
    )  # fmt: skip
    return plot, paint


def largest_shown(analysis: Analysis) -> int:
    """The highest value of the channels that are shown at first."""
    shown = (curve for name, curve in analysis.curves.items() if shown_at_first(analysis, name))
    return max((int(curve.high.max()) for curve in shown if len(curve.high)), default=0)


def _lanes(lanes: int, times: Range1d) -> figure:
    lanes = min(lanes, MOST_LANES)
    height = _LANE_HEIGHT * lanes + 6
    plot = _figure("lanes", height + _AXIS_HEIGHT, times, Range1d(start=lanes, end=0, name="rows"))
    plot.yaxis.visible = False
    plot.ygrid.visible = False
    box: dict[str, Any] = {"left": "left", "right": "right", "top": "top", "bottom": "bottom"}
    nothing: dict[str, list[float]] = {name: [] for name in box}
    plot.add_glyph(
        _source("boxes", **nothing, color=[]),
        Quad(**box, fill_color="color", line_color=None, name="box"),
    )
    plot.add_glyph(
        _source("chosen", **nothing), Quad(**box, fill_color=None, line_width=2, name="lane focus")
    )
    plot.add_glyph(
        _source("names", x=[], y=[], text=[], color=[]),
        Text(
            x="x", y="y", text="text", text_color="color", text_font_size="11px",
            text_baseline="middle", x_offset=5, name="name",
        ),
    )  # fmt: skip
    return plot


def _figure(name: str, height: int, times: Range1d, down: Range1d) -> figure:
    # With its focus maintained it stops before the whole run is in view.
    wheel = WheelZoomTool(dimensions="width", maintain_focus=False, name=f"{name} wheel")
    pan = PanTool(dimensions="width", name=f"{name} pan")
    box = BoxZoomTool(dimensions="width", name=f"{name} box")
    plot = figure(
        name=f"{name} figure", height=height, sizing_mode="stretch_width", x_range=times,
        y_range=down, tools=[pan, box, wheel], active_drag=pan, active_scroll=wheel,
        toolbar_location=None, min_border_left=LEFT, min_border_right=RIGHT, min_border_top=6,
        min_border_bottom=0, lod_threshold=None, background_fill_color=None,
        border_fill_color=None,
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


def envelope(curve: Curve, buckets: Buckets) -> dict[str, Any]:
    """The area between the readings and the high-water marks, as columns to fill between.

    A high-water mark speaks of all the time since the reading before, so it is drawn back to
    there. At a gap, and between readings without such a mark, the area closes to no height and a
    NaN breaks its outline.
    """
    if not len(buckets):
        return {"x": [], "low": [], "high": []}
    told, first_told = told_in(curve, buckets)
    apart = buckets.broken | ~first_told
    apart[0] = False
    before = np.concatenate((buckets.begin_ns[:1], buckets.end_ns[:-1]))
    since = np.where(apart, buckets.begin_ns, before)
    last = np.concatenate((buckets.first[:1], buckets.last[:-1]))
    left = np.where(buckets.count == 1, np.where(apart, buckets.first, last), buckets.low)
    # Without a mark the line alone is drawn, which shows the least and the largest of many.
    left = np.where(told, left, buckets.first)
    bottom = np.where(told, buckets.low, buckets.last)
    top = np.where(told, buckets.high, buckets.last)
    over = np.where(told, buckets.high, buckets.first)
    blank = np.full(len(buckets), np.nan)
    x = np.stack((before, blank, since, since, buckets.end_ns), 1)
    low = np.stack((last, blank, buckets.first, left, bottom), 1)
    high = np.stack((last, blank, buckets.first, over, top), 1)
    keep = np.ones(x.shape, bool)
    keep[:, :3] = apart[:, None]
    return {"x": x[keep] / 1e9, "low": low[keep], "high": high[keep]}
