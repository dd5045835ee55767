"""The children of a run on the terminal: the sums, and a line for each process or kind of it."""

from __future__ import annotations

from timeline.analysis.types import Analysis
from timeline.units import format_bytes, format_duration
from timeline.views.family import HEADINGS, matters, meaning, rows, sums
from timeline.views.terminal import DIM, Look, columns, fit, pad

PROCESSES_SHOWN = 12
_NARROWEST_NAME = 14


def children_block(analysis: Analysis, look: Look) -> list[str]:
    """The lines; none where there were no children, or none that matter."""
    if not matters(analysis):
        return []
    lines = []
    for each in sums(analysis):
        by_rss = each.channel.endswith(".rss")
        what = "the same by RSS, which counts shared pages in each process"
        what = (what if by_rss else meaning(each.channel)) + each.remark
        text = (
            f"With children ~{format_bytes(each.total)} at {format_duration(each.t_ns / 1e9)}: "
            f"target {format_bytes(each.target)} + children {format_bytes(each.children)}; {what}"
        )
        lines += look.lines(text, rest="  ")
    return [*lines, *_table(analysis, look)]


def _table(analysis: Analysis, look: Look) -> list[str]:
    shown = rows(analysis, PROCESSES_SHOWN)
    if not shown:
        return []
    cells = [tuple(look.plain(text) for text in row.figures) for row in shown]
    names = [look.plain(row.name.replace("×", "x") if look.ascii else row.name) for row in shown]
    # Where there is no room the PSS goes first, then the pid, then the time.
    kept = [0, 1, 2, 3]
    widths = [max(columns(HEADINGS[i + 1]), *(columns(row[i]) for row in cells)) for i in kept]
    for least in (3, 0, 1):
        if look.width - 2 - sum(2 + widths[i] for i in kept) >= _NARROWEST_NAME:
            break
        kept.remove(least)
    room = look.width - 2 - sum(2 + widths[i] for i in kept)
    name = max(min(max(map(columns, (HEADINGS[0], *names))), room), 1)

    def line(first: str, figures: tuple[str, ...]) -> str:
        first = pad(fit(first, name, ellipsis=look.ellipsis), name)
        return "  " + "  ".join((first, *(figures[i].rjust(widths[i]) for i in kept)))

    count = len(analysis.processes)
    head = "One child process:" if count == 1 else f"{count:,} child processes:"
    lines = [*look.lines(head), look.paint(line(HEADINGS[0], HEADINGS[1:]), DIM)]
    return lines + [
        line(first, figures).rstrip() for first, figures in zip(names, cells, strict=True)
    ]
