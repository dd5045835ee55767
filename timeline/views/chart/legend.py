"""What the lanes' colours mean: a small table of the phases that matter."""

from __future__ import annotations

from dataclasses import dataclass

from timeline.analysis.types import HOST, Analysis, PhaseSummary
from timeline.units import format_duration
from timeline.views.chart import lettering
from timeline.views.chart.curve import peak_figure
from timeline.views.chart.sheet import LINE, SMALL, Box, Sheet
from timeline.views.palette import phase_colors

MOST_SHOWN = 12
"""Paths with a line and a colour of their own; the others share one of each."""

_HEADINGS = ("phase", "count", "time", "peak")
_SPACE, _TIGHT = 0.22, 0.12
_SWATCH = 0.2


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table; ``color`` is None for the time outside phases."""

    color: str | None
    name: str
    figures: tuple[str, str, str]
    hottest: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """The lines of the table, in columns beside each other.

    Attributes:
        rows: lines in the highest column.
        name, figures: widths in inches.
    """

    lines: tuple[Line, ...]
    columns: int
    rows: int
    name: float
    figures: tuple[float, float, float]

    @property
    def height(self) -> float:
        """Inches, the headings counted."""
        return (self.rows + 1) * LINE if self.lines else 0.0


def chosen(analysis: Analysis) -> tuple[list[PhaseSummary], list[PhaseSummary]]:
    """The phases to show, in the order of first appearance, and those left out."""
    phases = list(analysis.phases)
    if len(phases) <= MOST_SHOWN:
        return phases, []
    hottest = analysis.channels[0].peak_phase if analysis.channels else None
    order = range(len(phases))
    keep = {i for i in order if phases[i].path == hottest}
    by_peak = sorted(order, key=lambda i: -phases[i].peak[HOST].bytes)
    by_time = sorted(order, key=lambda i: -phases[i].total_ns)
    for i in (*by_peak[: MOST_SHOWN // 2], *by_time):
        if len(keep) < MOST_SHOWN:
            keep.add(i)
    return [phases[i] for i in sorted(keep)], [phases[i] for i in order if i not in keep]


def colors_of(analysis: Analysis) -> dict[str, str]:
    """The colours of the phases that are shown; no two the same."""
    return phase_colors(each.path for each in chosen(analysis)[0])


def table(analysis: Analysis, room: float, rest: str) -> Table:
    """The table of the phases in ``room`` inches; ``rest`` colours what is left out."""
    lines = _lines(analysis, rest)
    if not lines:
        return Table((), 1, 0, 0.0, (0.0, 0.0, 0.0))
    space = _SPACE if room > 4 else _TIGHT
    figures = tuple(
        max(lettering.width(text, SMALL, bold=True) for text in (heading, *column)) + space
        for heading, column in zip(
            _HEADINGS[1:], zip(*(line.figures for line in lines), strict=True), strict=True
        )
    )
    longest = max(lettering.width(line.name, SMALL, bold=True) for line in lines)
    columns = 2 if len(lines) > 4 and room >= 2 * (sum(figures) + _SWATCH + 1.2) else 1
    most = (room - (columns - 1) * 2 * _SPACE) / columns - sum(figures) - _SWATCH
    name = min(max(longest, 0.6), most)
    return Table(lines, columns, -(-len(lines) // columns), name, figures)  # type: ignore[arg-type]


def _lines(analysis: Analysis, rest: str) -> tuple[Line, ...]:
    shown, left_out = chosen(analysis)
    colors = colors_of(analysis)
    read = HOST in analysis.curves and len(analysis.curves[HOST].t_ns) > 0
    hottest = analysis.channels[0].peak_phase if read else None

    def figures(phases: list[PhaseSummary]) -> tuple[str, str, str]:
        peaks = [each.peak[HOST] for each in phases]
        exact = all(peak.exact for peak in peaks)
        return (
            f"{sum(each.count for each in phases):,}",
            format_duration(sum(each.total_ns for each in phases) / 1e9),
            peak_figure(max(peak.bytes for peak in peaks), exact) if read else "–",
        )

    lines = [
        Line(colors[each.path], lettering.name(each.path), figures([each]), each.path == hottest)
        for each in shown
    ]
    if left_out:
        lines.append(Line(rest, f"+{len(left_out):,} more", figures(left_out)))
    if lines and analysis.outside is not None:
        _, time, peak = figures([analysis.outside])
        lines.append(Line(None, "(outside)", ("", time, peak), read and hottest is None))
    return tuple(lines)


def draw(sheet: Sheet, box: Box, table: Table) -> None:
    """Draw the table into a box of its height."""
    palette = sheet.palette
    figures = sum(table.figures)
    step = _SWATCH + table.name + figures + 2 * _SPACE
    for column in range(table.columns):
        lines = table.lines[column * table.rows : (column + 1) * table.rows]
        left = box.left + column * step
        names = left + _SWATCH
        if not lines:
            continue
        y = box.top + LINE / 2
        _figures(sheet, names + table.name, y, _HEADINGS[1:], table, palette.faint)
        sheet.text(names, y, _HEADINGS[0], size=SMALL, color=palette.faint)
        for line in lines:
            y += LINE
            if line.color:
                sheet.swatch(left + 0.02, y, line.color)
            name = lettering.fit(line.name, SMALL, table.name, bold=line.hottest)
            sheet.text(names, y, name, size=SMALL, bold=line.hottest)
            _figures(sheet, names + table.name, y, line.figures, table, palette.ink, line.hottest)


def _figures(
    sheet: Sheet,
    x: float,
    y: float,
    figures: tuple[str, ...],
    table: Table,
    color: str,
    bold: bool = False,
) -> None:
    for text, width in zip(figures, table.figures, strict=True):
        x += width
        if text:
            sheet.text(x, y, text, size=SMALL, color=color, bold=bold, align="right")
