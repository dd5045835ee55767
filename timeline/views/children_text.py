"""The children of a run on the terminal: the sums, and a line for each process or kind of it."""

from __future__ import annotations

from timeline.analysis.types import Analysis
from timeline.views.family import HEADINGS, matters, rows, sum_sentences
from timeline.views.terminal import DIM, Look, columns, fit, pad

PROCESSES_SHOWN = 12
_NARROWEST_NAME = 14


def children_block(analysis: Analysis, look: Look) -> list[str]:
    """The lines; none where there were no children, or none that matter."""
    if not matters(analysis):
        return []
    said = [line for text in sum_sentences(analysis) for line in look.lines(text, rest="  ")]
    return [*said, *_table(analysis, look)]


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
