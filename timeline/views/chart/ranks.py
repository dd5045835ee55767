"""The picture of all ranks: their envelope with the highest rank in it, and a strip of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from timeline.analysis.rank_curves import RankCurves
from timeline.analysis.rank_types import RankPeak, RanksAnalysis
from timeline.recording.types import UNKNOWN, Ints
from timeline.units import format_bytes, format_duration
from timeline.views.chart import curve, lettering, notes
from timeline.views.chart.sheet import BODY, LINE, SMALL, TITLE, Box, Plot, Sheet
from timeline.views.chart.ticks import byte_ticks
from timeline.views.palette import Palette
from timeline.views.ranks_words import (
    channel_sentences,
    clock_sentences,
    ended_words,
    size_words,
    slowest_words,
)

PHASES_SHOWN = 10

_MARGIN = 0.2
_ROW = 0.14
_LEAST_STRIP, _MOST_STRIP = 0.28, 2.6
_SEPARATED = 0.06
_OVER = 0.05
_MOST_NOTES = 10
_HEADINGS = ("phase", "most", "on rank", "median", "least", "slowest into it")


def draw(analysis: RanksAnalysis, palette: Palette, width: float, dpi: float) -> Figure:
    """The picture as a figure, ``width`` inches wide and as high as it needs to be."""
    room = width - 2 * _MARGIN
    height = min(max(0.26 * width, 1.9), 5.0)
    peak = _top(analysis)
    top = max(peak.bytes if peak else 1, 1) * height / (height - curve.HEADROOM)
    labels = [lettering.width(label, SMALL) for _, label in byte_ticks(top, 20)]
    left = _MARGIN + max(0.55, *labels) + 0.1
    wide = width - _MARGIN - 0.1 - left
    end = max(analysis.duration_ns, *(each.end_ns for each in analysis.ranks), 1)
    plot = Plot(Box(left, 0.95, wide, height), 0, end, top)
    strip = min(max(analysis.world * _ROW, _LEAST_STRIP), _MOST_STRIP)
    strip_box = Box(left, plot.box.bottom + 0.12, wide, strip)
    phases_top = strip_box.bottom + 0.38
    phases = analysis.phases[:PHASES_SHOWN] if len(analysis.ranks) > 1 else ()
    written = notes.lines(_sentences(analysis), notes.SIZE, room, _MOST_NOTES)
    notes_top = phases_top + ((len(phases) + 1) * LINE + 0.12 if phases else 0.0)
    total = notes_top + len(written) * notes.ROW + 0.14

    sheet = Sheet(Figure(figsize=(width, total), dpi=dpi), palette)
    _heading(sheet, analysis, room)
    curves = analysis.curves
    _keys(sheet, analysis)
    if curves is None or peak is None:
        x, y = left + wide / 2, plot.box.top + height / 2
        sheet.text(x, y, "no memory was read", color=palette.faint, align="center")
    else:
        _overlay(sheet, plot, analysis, curves)
        _peak(sheet, plot, analysis, peak)
        _strip(sheet, strip_box, plot, analysis, curves)
    curve.time_axis(sheet, plot, strip_box.bottom)
    if phases:
        _phases(sheet, analysis, phases_top, room)
    for i, line in enumerate(written):
        middle = notes_top + (i + 0.5) * notes.ROW
        sheet.text(_MARGIN, middle, line, size=notes.SIZE, color=palette.faint)
    return sheet.figure


def _top(analysis: RanksAnalysis) -> RankPeak | None:
    if analysis.peak is None:
        return None
    return analysis.rank(analysis.peak.most_rank).peaks[analysis.channel]


def _heading(sheet: Sheet, analysis: RanksAnalysis, room: float) -> None:
    title = lettering.fit(analysis.title, TITLE, room, bold=True)
    sheet.text(_MARGIN, 0.24, title, size=TITLE, bold=True)
    parts = [size_words(analysis), format_duration(analysis.duration_ns / 1e9)]
    if analysis.peak is not None and len(analysis.ranks) > 1:
        parts.append(f"imbalance {analysis.peak.imbalance:.2f}")
    parts.append(lettering.drawable(analysis.ending))
    text = lettering.fit("  ·  ".join(parts), BODY, room)
    sheet.text(_MARGIN, 0.49, text, color=sheet.palette.faint)


def _keys(sheet: Sheet, analysis: RanksAnalysis) -> None:
    palette = sheet.palette
    x, y = _MARGIN, 0.72
    named = [("area", palette.envelope, "all ranks, least to most")]
    named.append(("line", palette.faint, "median of the ranks"))
    if analysis.peak is not None:
        named.append(("line", palette.curve, f"rank {analysis.peak.most_rank}, the highest"))
    for kind, color, name in named:
        if kind == "line":
            sheet.dash(x, y, color)
        else:
            sheet.swatch(x, y, color, width=0.22)
        sheet.text(x + 0.3, y, name, size=SMALL, color=palette.faint)
        x += 0.58 + lettering.width(name, SMALL)


def _overlay(sheet: Sheet, plot: Plot, analysis: RanksAnalysis, curves: RankCurves) -> None:
    palette = sheet.palette
    axes = sheet.axes(plot.box)
    axes.set_xlim(plot.begin_ns, plot.end_ns)
    axes.set_ylim(0, plot.top)
    for size, label in byte_ticks(plot.top, max(round(plot.box.height / 0.42), 3)):
        axes.axhline(size, color=palette.grid if size else palette.faint, linewidth=0.7, zorder=0)
        sheet.text(
            plot.box.left - 0.08, plot.y(size), label, size=SMALL, color=palette.faint,
            align="right",
        )  # fmt: skip
    least, middle, most = map(_drawable, curves.envelope())
    edges = np.append(curves.begin_ns, curves.begin_ns[-1:] + curves.width_ns)
    t = np.repeat(edges, 2)[1:-1]
    low, high = np.repeat(least, 2), np.repeat(most, 2)
    axes.fill_between(t, low, high, color=palette.envelope, linewidth=0)
    axes.plot(t, np.repeat(middle, 2), color=palette.faint, linewidth=0.7)
    if analysis.peak is not None:
        own = _drawable(curves.high[curves.row(analysis.peak.most_rank)])
        axes.plot(t, np.repeat(own, 2), color=palette.curve, linewidth=0.9)


def _drawable(values: Ints) -> NDArray[np.float64]:
    return np.where(values == UNKNOWN, np.nan, values)


def _peak(sheet: Sheet, plot: Plot, analysis: RanksAnalysis, peak: RankPeak) -> None:
    assert analysis.peak is not None
    rank = analysis.rank(analysis.peak.most_rank)
    where = f"{peak.phase} " if peak.phase else ""
    when = f"{where}at {format_duration(peak.t_ns / 1e9)}"
    place = lettering.fit(f"rank {rank.rank} on {rank.host}, {when}", SMALL, plot.box.width)
    curve.point_at(sheet, plot, peak.t_ns, peak.bytes, peak.exact, place)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Which row of the strip each rank is in; many ranks share one."""

    count: int
    world: int

    def of(self, rank: int) -> int:
        return int(rank * self.count // self.world)


def _strip(sheet: Sheet, box: Box, plot: Plot, analysis: RanksAnalysis, curves: RankCurves) -> None:
    """A row of colour for each rank over time: pale is the least of all, full the most.

    Ranks and buckets that share a pixel show the largest of them.
    """
    palette = sheet.palette
    columns = sheet.pixels(box)
    rows = _Rows(min(analysis.world, round(box.height * float(sheet.figure.dpi))), analysis.world)
    image = np.full((rows.count, columns), UNKNOWN, np.int64)
    scale = columns / (plot.end_ns - plot.begin_ns)
    ends = curves.begin_ns + curves.width_ns
    first = np.clip((curves.begin_ns * scale).astype(np.int64), 0, columns - 1)
    stop = np.clip(np.ceil(ends * scale).astype(np.int64), first + 1, columns)
    for i, rank in enumerate(curves.ranks):
        row = image[rows.of(rank)]
        high = curves.high[i]
        for column, until, size in zip(first.tolist(), stop.tolist(), high.tolist(), strict=True):
            if size != UNKNOWN:
                part = row[column:until]
                np.maximum(part, size, out=part)
    known = image[image != UNKNOWN]
    # One spike of one rank must not make all others look alike.
    low, full = (int(size) for size in np.percentile(known, (0, 99.5), method="nearest"))
    part = np.clip((image - low) / max(full - low, 1), 0, 1)[..., None]
    pale, strong, over = (
        np.array(_rgb(color)) for color in (palette.gap, palette.curve, palette.peak)
    )
    colors = (1 - part) * (0.75 * pale + 0.25 * strong) + part * strong
    more = image > full + (full - low) * _OVER
    colors = np.where(more[..., None], over, colors)
    opaque = (image != UNKNOWN)[..., None].astype(float)
    axes = sheet.axes(box)
    axes.set_facecolor(palette.gap)
    axes.patch.set_visible(True)
    axes.imshow(np.concatenate((colors, opaque), axis=2), aspect="auto", interpolation="nearest")
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows.count - 0.5, -0.5)
    if rows.count == analysis.world and box.height / rows.count >= _SEPARATED:
        for row in range(1, rows.count):
            axes.axhline(row - 0.5, color=palette.paper, linewidth=1.0)
    for each in analysis.ranks:
        if each.failed:
            x = min(plot.x(each.end_ns), box.right)
            y = box.top + box.height * (each.rank + 0.5) / analysis.world
            sheet.text(x + 0.02, y, "×", size=BODY, color=palette.peak, bold=True, halo=True)
    step = _label_step(analysis.world, box.height)
    for rank in range(0, analysis.world, step):
        y = box.top + box.height * (rank + 0.5) / analysis.world
        text = f"rank {rank}" if rank == 0 else f"{rank:,}"
        sheet.text(box.left - 0.08, y, text, size=SMALL - 1, color=palette.faint, align="right")
    said = f"each rank: pale {format_bytes(low)}, full {format_bytes(full)}"
    said += ", red more" if more.any() else ""
    if any(each.failed for each in analysis.ranks):
        said += "; × it died"
    sheet.text(
        box.right, box.bottom + 0.27, said, size=SMALL - 1, color=palette.faint, align="right"
    )


def _label_step(world: int, height: float) -> int:
    least = world * 0.13 / height
    for power in range(7):
        for digit in (1, 2, 5):
            if digit * 10**power >= least:
                return int(digit * 10**power)
    return world


def _phases(sheet: Sheet, analysis: RanksAnalysis, top: float, room: float) -> None:
    palette = sheet.palette
    rows = [_HEADINGS]
    for each in analysis.phases[:PHASES_SHOWN]:
        sizes = ("–", "–", "–", "–")
        if each.peak is not None:
            most = curve.peak_figure(each.peak.most, each.exact)
            of = each.peak
            sizes = (most, f"{of.most_rank:,}", format_bytes(of.median), format_bytes(of.least))
        slowest = slowest_words(each.slowest) if each.slowest else ""
        rows.append((lettering.name(each.path), *sizes, slowest))
    widths = [max(lettering.width(row[i], SMALL) for row in rows) + 0.22 for i in range(6)]
    widths[0] = min(widths[0], max(room - sum(widths[1:]), 1.0))
    hot = _top(analysis)
    for i, row in enumerate(rows):
        x, y = _MARGIN, top + (i + 0.5) * LINE
        bold = i > 0 and hot is not None and analysis.phases[i - 1].path == hot.phase
        for place, text in enumerate(row):
            color = palette.faint if i == 0 else palette.ink
            right = 0 < place < 5
            name = lettering.fit(text, SMALL, widths[place] - 0.1, bold=bold)
            at = x + widths[place] - 0.22 if right else x
            align = "right" if right else "left"
            sheet.text(at, y, name, size=SMALL, color=color, bold=bold, align=align)
            x += widths[place]


def _sentences(analysis: RanksAnalysis) -> list[str]:
    failed = sorted((each for each in analysis.ranks if each.failed), key=lambda each: each.end_ns)
    out = [f"Rank {each.rank} on {each.host}: {ended_words(each)}" for each in failed[:3]]
    if len(failed) > 3:
        out.append(f"and {len(failed) - 3:,} more ranks that failed later")
    if len(analysis.phases) > PHASES_SHOWN and len(analysis.ranks) > 1:
        out.append(f"Not written: {len(analysis.phases) - PHASES_SHOWN:,} more phases")
    out += channel_sentences(analysis)
    out += clock_sentences(analysis)
    out += [f"Not measured: {sentence}" for sentence in analysis.missing]
    return out + [f"Note: {sentence}" for sentence in analysis.notes]


def _rgb(color: str) -> tuple[float, ...]:
    return tuple(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
