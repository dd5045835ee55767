"""The curve with its exact envelope, its gaps and its peak, and the channels beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from numpy.typing import NDArray

from timeline.analysis.decimation import Buckets, decimate
from timeline.analysis.types import ChannelSummary, Curve
from timeline.units import format_bytes, format_duration
from timeline.views.band import told_in
from timeline.views.chart import lettering
from timeline.views.chart.sheet import BODY, SMALL, Plot, Sheet
from timeline.views.chart.ticks import byte_ticks, time_ticks

Floats = NDArray[np.float64]

LONGEST_NAME = 4.0
"""Inches that the name of the phase of the peak may take."""

HATCH = "////"

HEADROOM = 0.5
"""Inches over the highest peak, where its figure stands: nothing else is ever drawn there."""


@dataclass(frozen=True, slots=True, eq=False)
class Envelope:
    """The area between the readings and the high-water marks, as columns to fill between.

    A high-water mark speaks of all the time since the reading before, so its height is drawn back
    to there, except across a gap. A reading without one has no area. A NaN stands between areas.
    """

    t_ns: Floats
    low: Floats
    high: Floats


def envelope(curve: Curve, buckets: Buckets, begin_ns: int) -> Envelope:
    """The area of a curve's buckets, the first of which speaks of the time since ``begin_ns``."""
    if not len(buckets):
        none = np.empty(0, np.float64)
        return Envelope(none, none, none)
    told, first_told = told_in(curve, buckets)
    previous = np.concatenate((buckets.first[:1], buckets.last[:-1]))
    since = np.concatenate(([min(begin_ns, int(buckets.begin_ns[0]))], buckets.end_ns[:-1]))
    apart = buckets.broken | ~first_told
    since = np.where(apart, buckets.begin_ns, since)
    previous = np.where(apart, buckets.first, previous)
    # Under a single reading runs the line from the one before; under many, their least.
    left = np.where(buckets.count == 1, previous, np.minimum(previous, buckets.low))
    high = np.maximum(buckets.high, left)
    t = np.stack((np.full(len(buckets), np.nan), since, buckets.end_ns), 1)
    keep = np.repeat(told[:, None], 3, axis=1)
    keep[1:, 0] &= apart[1:] | ~told[:-1]
    keep[0, 0] = False
    blank = t[:, 0]
    return Envelope(
        t[keep],
        np.stack((blank, left, buckets.low), 1)[keep],
        np.stack((blank, high, high), 1)[keep],
    )


def draw(sheet: Sheet, plot: Plot, drawn: list[tuple[Curve, str]]) -> None:
    """Draw the curves in their colours and the grid behind them; the first has its envelope."""
    axes = sheet.axes(plot.box)
    axes.set_xlim(plot.begin_ns, plot.end_ns)
    axes.set_ylim(0, plot.top)
    _grid(sheet, plot, axes, bool(drawn))
    columns = sheet.pixels(plot.box)
    palette = sheet.palette
    # The first is drawn last, over the others.
    for i, (whole, color) in reversed(list(enumerate(drawn))):
        curve = with_gaps_shown(whole, plot)
        buckets = decimate(curve, plot.begin_ns, plot.end_ns, columns)
        weight = 0.8 if i else 1.1
        if i == 0:
            _gaps(sheet, plot, axes, curve)
            area = envelope(curve, buckets, 0)
            axes.fill_between(area.t_ns, area.low, area.high, color=palette.envelope, linewidth=0)
            axes.plot(area.t_ns, area.high, color=palette.envelope, linewidth=0.8)
        axes.plot(*buckets.line(), color=color, linewidth=weight, solid_joinstyle="round")
        _lone(axes, buckets, color)


def with_gaps_shown(curve: Curve, plot: Plot) -> Curve:
    """The curve without the gaps that are too narrow to be drawn."""
    width = curve.gaps_ns[:, 1] - curve.gaps_ns[:, 0]
    return replace(curve, gaps_ns=curve.gaps_ns[width >= plot.least_gap_ns])


def _grid(sheet: Sheet, plot: Plot, axes: Axes, read: bool) -> None:
    palette = sheet.palette
    rise = max(round(plot.box.height / 0.42), 3)
    for size, label in byte_ticks(plot.top if read else 0, rise):
        axes.axhline(size, color=palette.grid if size else palette.faint, linewidth=0.7, zorder=0)
        sheet.text(
            plot.box.left - 0.08, plot.y(size), label, size=SMALL, color=palette.faint,
            align="right",
        )  # fmt: skip


def time_axis(sheet: Sheet, plot: Plot, top: float) -> None:
    """Write the times under everything that shares the axis, ``top`` inches from the top."""
    for t, label in time_ticks(plot.begin_ns, plot.end_ns, max(int(plot.box.width / 0.75), 2)):
        sheet.text(
            plot.x(t), top + 0.1, label, size=SMALL, color=sheet.palette.faint, align="center"
        )


def _lone(axes: Axes, buckets: Buckets, color: str) -> None:
    """A dot for every reading that no line reaches: alone, or between two gaps."""
    after = np.append(buckets.broken[1:], True)
    before = buckets.broken.copy()
    before[:1] = True
    alone = before & after & (buckets.begin_ns == buckets.end_ns)
    axes.plot(
        buckets.begin_ns[alone], buckets.last[alone],
        color=color, linestyle="none", marker="o", markersize=2.5, markeredgewidth=0,
    )  # fmt: skip


def _gaps(sheet: Sheet, plot: Plot, axes: Axes, curve: Curve) -> None:
    """Hatch the gaps, with the maximum that is known of each."""
    wide = curve.gaps_ns
    if not len(wide):
        return
    palette = sheet.palette
    left, right = wide[:, 0], wide[:, 1]
    corners = np.stack(
        [np.stack((t, np.full(len(wide), y)), 1)
         for t, y in ((left, 0), (right, 0), (right, plot.top), (left, plot.top))],
        1,
    )  # fmt: skip
    axes.add_collection(
        PolyCollection(
            list(corners), facecolor=palette.gap, edgecolor=palette.grid, hatch=HATCH, linewidth=0
        ),
        autolim=False,
    )
    at = np.searchsorted(curve.t_ns, right)
    known = curve.known[at]
    high = curve.high[at]
    ends = np.stack((np.stack((left, high), 1), np.stack((right, high), 1)), 1)[known]
    axes.add_collection(
        LineCollection(list(ends), colors=palette.envelope, linewidths=1.0, linestyles=(0, (4, 3))),
        autolim=False,
    )


def mark_peak(sheet: Sheet, plot: Plot, channel: ChannelSummary, phases: bool) -> None:
    """Point at the peak and say how much, where and when, within the edges of the plot."""
    outside = "as the process ended" if channel.peak_at_end else "outside phases" if phases else ""
    where = channel.peak_phase or outside
    when = f"at {format_duration(channel.peak_ns / 1e9)}"
    room = min(plot.box.width - lettering.width(f" {when}", SMALL), LONGEST_NAME)
    where = lettering.fit(where, SMALL, room)
    place = f"{where} {when}" if where else when
    point_at(sheet, plot, channel.peak_ns, channel.peak, channel.exact, place)


def point_at(sheet: Sheet, plot: Plot, t_ns: int, size: int, exact: bool, place: str) -> None:
    """Point at a peak, with its figure and under it `place`, a drawable line."""
    palette = sheet.palette
    x, y = plot.x(t_ns), plot.y(size)
    axes = sheet.axes(plot.box)
    axes.set_xlim(plot.begin_ns, plot.end_ns)
    axes.set_ylim(0, plot.top)
    axes.plot(
        [t_ns], [size], color=palette.peak, marker="o", markersize=5,
        markeredgecolor=palette.paper, markeredgewidth=0.9, clip_on=False,
    )  # fmt: skip
    figure = f"peak {peak_figure(size, exact)}"
    lines = ((figure, BODY, True, 0.31), (place, SMALL, False, 0.15))
    half = max(lettering.width(text, points, bold=bold) for text, points, bold, _ in lines) / 2
    center = min(max(x, plot.box.left + half), plot.box.right - half)
    for text, points, bold, above in lines:
        color = palette.peak if bold else palette.ink
        sheet.text(
            center, y - above, text, size=points, bold=bold, color=color, align="center", halo=True
        )


def peak_figure(size: int, exact: bool) -> str:
    """A peak as text; one that is not exact, so that the true one may be higher, has a ``~``."""
    return f"{'' if exact else '~'}{format_bytes(size)}"
