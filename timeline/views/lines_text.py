"""The lines of traced functions, for the terminal: memory_profiler's table, with the phases."""

from __future__ import annotations

from timeline.analysis.types import Analysis
from timeline.recording.lines import TracedFunction
from timeline.units import format_bytes
from timeline.views.table import lines_above
from timeline.views.terminal import DIM, Look, columns, fit, pad

_HEADINGS = ("line", "memory", "increment", "count", "phase")


def line_tables(analysis: Analysis, look: Look) -> list[list[str]]:
    """A block of lines for each function that was traced."""
    tables = [_table(each, look) for each in analysis.lines]
    if above := lines_above(analysis):
        tables[-1] += look.lines(f"  {above}", rest="    ")
    return tables


def _table(function: TracedFunction, look: Look) -> list[str]:
    rows = [[*_HEADINGS, ""]]
    for each in function.lines:
        ran = each.count > 0
        rows.append(
            [
                str(each.number),
                format_bytes(each.memory) if ran else "",
                format_bytes(each.increment, signed=True) if ran else "",
                f"{each.count:,}" if ran else "",
                _phases(each.phases, look),
                look.plain(each.text.expandtabs(4)) if each.text.strip() else "",
            ]
        )
    widths = [max(columns(row[i]) for row in rows) for i in range(5)]
    widths[4] = min(widths[4], 24)
    room = max(look.width - sum(widths) - 2 * 5, 10)
    lines = look.lines(
        f"Lines of {function.name.removeprefix('__main__.')}, {function.file}", rest="  "
    )
    for number, row in enumerate(rows):
        cells = [row[i].rjust(widths[i]) for i in range(4)]
        cells.append(pad(fit(row[4], widths[4], ellipsis=look.ellipsis), widths[4]))
        cells.append(_cut(row[5], room))
        line = "  ".join(cells).rstrip()
        lines.append(look.paint(line, DIM) if number == 0 else line)
    return lines


def _cut(text: str, room: int) -> str:
    """The beginning of a line: its end says least."""
    while columns(text) > room:
        text = text[:-1]
    return text


def _phases(paths: tuple[str, ...], look: Look) -> str:
    if not paths:
        return ""
    more = f" +{len(paths) - 1}" if len(paths) > 1 else ""
    return look.phase(paths[0]) + more
