"""The lines of traced functions on the page, each beside the phases that it belongs to."""

from __future__ import annotations

from timeline.analysis.types import Analysis
from timeline.recording.lines import TracedFunction, TracedLine
from timeline.units import format_bytes
from timeline.views.page.words import escaped
from timeline.views.table import lines_above

_HEADINGS = ("Line", "Memory", "Increment", "Count", "Phase", "")


def card(analysis: Analysis) -> str:
    """A section with a table for each function; nothing where none was traced."""
    if not analysis.lines:
        return ""
    above = lines_above(analysis)
    return (
        '<section class="card" id="lines" aria-label="Line by line"><h2>Line by line</h2>'
        '<p class="hint">Resident memory after each line, and what all its runs added together, '
        f"as memory_profiler reads it.{f' {above[0].upper()}{above[1:]}.' if above else ''}</p>"
        f"{''.join(map(_function, analysis.lines))}</section>"
    )


def _function(function: TracedFunction) -> str:
    heads = "".join(f'<th scope="col">{each}</th>' for each in _HEADINGS)
    most = max((abs(each.increment) for each in function.lines), default=0)
    rows = "".join(_row(each, most) for each in function.lines)
    name = escaped(function.name.removeprefix("__main__."))
    return (
        f'<h3 title="{escaped(function.file)}"><bdi>{name}</bdi></h3>'
        '<div class="scroll" tabindex="0" role="group" aria-label="Lines"><table class="source">'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(line: TracedLine, most: int) -> str:
    ran = line.count > 0
    hot = ran and most and line.increment * 2 > most
    increment = format_bytes(line.increment, signed=True) if ran else ""
    return (
        f"<tr><td>{line.number}</td><td>{format_bytes(line.memory) if ran else ''}</td>"
        f"<td>{f'<b>{increment}</b>' if hot else increment}</td>"
        f"<td>{f'{line.count:,}' if ran else ''}</td>"
        f'<td class="name">{escaped(", ".join(line.phases))}</td>'
        f'<td class="name"><pre>{escaped(line.text)}</pre></td></tr>'
    )
