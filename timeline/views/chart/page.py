"""Where everything stands on the picture, from the title down to the notes."""

from __future__ import annotations

from dataclasses import replace

from matplotlib.figure import Figure

from timeline.analysis.types import HOST, Analysis, ChannelSummary, Curve
from timeline.units import format_duration
from timeline.views.chart import (
    children,
    curve,
    devices,
    flags,
    keys,
    lanes,
    legend,
    lettering,
    limits,
    notes,
    parts,
)
from timeline.views.chart.sheet import BODY, LINE, SMALL, TITLE, Box, Plot, Sheet
from timeline.views.chart.ticks import byte_ticks
from timeline.views.device_layers import MOST_DEVICES
from timeline.views.device_words import channels_of
from timeline.views.ending import death_sentences, headroom_sentence
from timeline.views.family import sum_sentences
from timeline.views.limits import drawn_limits, shown_at_first
from timeline.views.palette import Palette, channel_color

MOST_CHANNELS = 6
"""Channels drawn beside the first one: those with the highest peaks."""

_MARGIN = 0.2
_LANE = 0.2
_MOST_NOTES = 7
_MOST_SAID = 3


def draw(analysis: Analysis, palette: Palette, width: float, dpi: float) -> Figure:
    """The picture as a figure, ``width`` inches wide and as high as it needs to be."""
    room = width - 2 * _MARGIN
    channels = _channels(analysis)
    main = channels[:1]
    drawn = [
        (
            analysis.curves[each.channel.name],
            channel_color(palette, analysis.channels.index(each), each.channel.name),
        )
        for each in channels
    ]
    begin_ns, end_ns = _span(analysis, [each for each, _ in drawn])
    height = min(max(0.3 * width, 1.9), 6.0)
    highest = max((each.peak for each in channels), default=0)
    lines = drawn_limits(analysis, highest)
    # Over the highest peak stands its figure; over a limit that is higher, nothing.
    over = max((each.bytes for each in lines), default=0) * height / (height - 0.12)
    top = max(max(highest, 1) * height / (height - curve.HEADROOM), over)
    labels = [lettering.width(label, SMALL) for _, label in byte_ticks(top, 20)]
    left = _MARGIN + max(0.4, devices.widest_label(analysis), *labels) + 0.1
    weighed = parts.composition(analysis, width)
    wide = width - _MARGIN - 0.1 - left - (parts.ROOM if weighed else 0.0)

    # Where the plot begins depends on its keys, and these on which gaps are wide enough to see.
    plot = Plot(Box(left, 0.0, wide, height), begin_ns, end_ns, top)
    named = keys.of(palette, drawn, plot) + children.key(analysis, palette)
    key_rows = keys.rows(named, room)
    said = _said(analysis, main, room)
    lower = (len(said) - 1) * LINE
    y = 0.66 + lower + len(key_rows) * keys.ROW + (flags.HEIGHT if analysis.marks else 0.06)
    plot = replace(plot, box=replace(plot.box, top=y))
    lane_count = min(analysis.instances.lanes, lanes.MOST_LANES)
    panels = devices.panels(analysis, plot, width)
    y = panels[-1].bottom if panels else plot.box.bottom
    y += 0.07 if lane_count else 0.0
    lanes_box = Box(left, y, wide, lane_count * _LANE)
    table = legend.table(analysis, room, palette.rest)
    table_box = Box(_MARGIN, lanes_box.bottom + 0.3, room, table.height)
    processes = children.table(analysis)
    processes_top = table_box.bottom + (0.12 if processes and table.lines else 0.0)
    processes_box = Box(_MARGIN, processes_top, room, children.height(processes))
    flown = flags.place(plot, analysis.marks)
    sentences = death_sentences(analysis)
    shown = [each.channel.name for each in channels] + list(channels_of(analysis))
    if headroom := headroom_sentence(analysis):
        sentences.append(headroom)
    sentences += sum_sentences(analysis)
    sentences += notes.sentences(analysis, shown) + _left_out(analysis, len(channels), flown)
    written = notes.lines(sentences, notes.SIZE, room, _MOST_NOTES)
    tables = bool(table.lines or processes)
    notes_top = processes_box.bottom + (0.12 if written and tables else 0.0)
    total = notes_top + len(written) * notes.ROW + 0.14

    sheet = Sheet(Figure(figsize=(width, total), dpi=dpi), palette)
    _heading(sheet, analysis, said, room)
    for i, row in enumerate(key_rows):
        keys.draw(sheet, _MARGIN, 0.72 + lower + i * keys.ROW, row)
    children.draw_band(sheet, plot, analysis)
    limits.draw(sheet, plot, lines)
    curve.draw(sheet, plot, drawn)
    flags.draw(sheet, plot, flown)
    if weighed:
        parts.draw(sheet, plot, weighed)
    for each in main:
        curve.mark_peak(sheet, plot, each, bool(analysis.phases))
    if not drawn:
        x, y = left + wide / 2, plot.box.top + height / 2
        sheet.text(x, y, "no memory was read", color=palette.faint, align="center")
    for panel in panels:
        devices.draw(sheet, analysis, panel)
    lanes.draw(sheet, lanes_box, analysis.instances, (begin_ns, end_ns), legend.colors_of(analysis))
    curve.time_axis(sheet, plot, lanes_box.bottom)
    legend.draw(sheet, table_box, table)
    children.draw(sheet, processes_box, processes)
    for i, line in enumerate(written):
        middle = notes_top + (i + 0.5) * notes.ROW
        sheet.text(_MARGIN, middle, line, size=notes.SIZE, color=palette.faint)
    return sheet.figure


def _channels(analysis: Analysis) -> list[ChannelSummary]:
    """The channel that the picture is about, if any was read, and those drawn beside it."""
    read = [
        each
        for each in analysis.channels
        if each.channel.unit == "byte" and len(analysis.curves[each.channel.name].t_ns)
    ]
    read = read[:1] + [each for each in read[1:] if shown_at_first(analysis, each.channel.name)]
    highest = sorted(read[1:], key=lambda each: -each.peak)[:MOST_CHANNELS]
    return read[:1] + [each for each in read[1:] if each in highest]


def _span(analysis: Analysis, drawn: list[Curve]) -> tuple[int, int]:
    """The time across the picture: the run, and whatever was read beyond it."""
    begin = min([0, *(int(each.t_ns[0]) for each in drawn)])
    end = max([analysis.duration_ns, *(int(each.t_ns[-1]) for each in drawn)])
    return begin, max(end, begin + 1)


def _heading(sheet: Sheet, analysis: Analysis, said: list[str], room: float) -> None:
    title = lettering.fit(analysis.title, TITLE, room, bold=True)
    sheet.text(_MARGIN, 0.24, title, size=TITLE, bold=True)
    for i, line in enumerate(said):
        sheet.text(_MARGIN, 0.49 + i * LINE, line, color=sheet.palette.faint)


def _said(analysis: Analysis, main: list[ChannelSummary], room: float) -> list[str]:
    """What stands under the title, in one line but for a long death."""
    parts = [format_duration(analysis.duration_ns / 1e9), lettering.drawable(analysis.ending)]
    for each in main:
        name = "" if each.channel.name == HOST else f" of {each.channel.name}"
        peak = f"peak{name} {curve.peak_figure(each.peak, each.exact)}"
        phase = lettering.fit(each.peak_phase or "", BODY, curve.LONGEST_NAME)
        where = f"in {phase}" if phase else "as the process ended" if each.peak_at_end else ""
        parts.append(f"{peak} {where}".rstrip())
    text = "  ·  ".join(parts)
    if lettering.width(text, BODY) <= room or analysis.death is None:
        return [lettering.fit(text, BODY, room)]
    # The peak stands at its place in the plot as well.
    lines = lettering.wrap("  ·  ".join(parts[:2]), BODY, room)
    return lines if len(lines) <= _MOST_SAID else [lettering.fit(text, BODY, room)]


def _left_out(analysis: Analysis, channels: int, flown: flags.Flown) -> list[str]:
    """What the picture has no room for."""
    deeper = analysis.instances.lanes - lanes.MOST_LANES
    read = sum(
        len(curve.t_ns) > 0 and shown_at_first(analysis, name)
        for name, curve in analysis.curves.items()
    )
    out = []
    if deeper > 0:
        out.append(f"Not drawn: {deeper:,} more lanes of deeper or overlapping phases")
    if len(analysis.devices) > MOST_DEVICES:
        out.append(f"Not drawn: {len(analysis.devices) - MOST_DEVICES:,} more GPUs")
    if read > channels:
        out.append(f"Not drawn: {read - channels:,} more channels")
    if flown.silent:
        out.append(f"Not written: the texts of {flown.silent:,} of {len(analysis.marks):,} marks")
    return out
