"""The table of the target's children, which the page's script sorts and makes go to the chart."""

from __future__ import annotations

from timeline.analysis.types import Analysis
from timeline.recording.types import UNKNOWN
from timeline.units import format_bytes, format_duration
from timeline.views.family import Row, meaning, rows, sums
from timeline.views.page.words import escaped

MOST_ROWS = 500
"""With more processes those of one name share a row."""

_HEADINGS = (
    ("Process", "Its command without the interpreter, or its own name; point at it to read all"),
    ("Pid", "The kernel's number"),
    ("From", "When it began, since the start of the run"),
    ("To", "When it was seen to have ended, and by which signal where the kernel told of one; or "
           "the end of the recording, which it lived to see"),
    ("Peak RSS", "The kernel's high-water mark; pages that it shares with others count in full"),
    ("PSS", "The largest proportional set size that was read: shared pages are shared out"),
    ("Exact", "Whether the peak can have been no higher: nobody saw the last moments of one that "
              "ended"),
)  # fmt: skip


def table(analysis: Analysis) -> str:
    """The section with the sums and the table; nothing without children."""
    lines = rows(analysis, MOST_ROWS)
    if not lines:
        return ""
    heads = "".join(
        f'<th scope="col" aria-sort="none"><button type="button" title="{why}">{name}</button></th>'
        for name, why in _HEADINGS
    )
    count = len(analysis.processes)
    highest = max(1, *(each.peak for each in lines))
    return (
        '<section class="card" aria-label="Child processes"><h2>Child processes</h2>'
        f"{_sums(analysis)}"
        f'<p class="hint">{"One process" if count == 1 else f"{count:,} processes"}. Click a row '
        "to go to its life; click a heading to sort.</p>"
        '<div class="scroll" tabindex="0" role="group" aria-label="Table of child processes">'
        f'<table id="processes"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(_row(each, highest) for each in lines)}</tbody></table></div></section>"
    )


def _sums(analysis: Analysis) -> str:
    said = [
        f"<li>~<b>{format_bytes(each.total)}</b> with children at "
        f"{format_duration(each.t_ns / 1e9)}: target {format_bytes(each.target)} + children "
        f"{format_bytes(each.children)}; {meaning(each.channel)}"
        f"{escaped(each.remark)}</li>"
        for each in sums(analysis)
    ]
    return f'<ul class="sums">{"".join(said)}</ul>' if said else ""


def _row(row: Row, highest: int) -> str:
    name, command = escaped(row.name), escaped(row.command or row.name)
    sign = "" if row.exact else "~"
    part = f"{min(100 * max(row.peak, 0) / highest, 100):.1f}%"
    end = format_duration(row.end_ns / 1e9) + ("" if row.ended else ", the end")
    end += f", {escaped(row.killed)}" if row.killed else ""
    figure = f"{sign}{format_bytes(row.peak)}" if row.peak != UNKNOWN else "–"
    pss = f"~{format_bytes(row.pss)}" if row.pss != UNKNOWN else "–"
    return (
        f'<tr data-begin="{row.begin_ns}" data-end="{row.end_ns}">'
        f'<td class="name" data-value="{name}"><span><button type="button" title="{command}">'
        f"<bdi>{name}</bdi></button></span></td>"
        f"{_cell(row.pid, str(row.pid) if row.pid else '')}"
        f"{_cell(row.begin_ns, format_duration(row.begin_ns / 1e9))}"
        f"{_cell(row.end_ns, end)}"
        f'<td class="meter" data-value="{row.peak}" title="{row.peak:,} bytes"><div>'
        f'<s style="--part:{part};--meter:var(--others-0)"></s>{figure}</div></td>'
        f"{_cell(row.pss, pss)}"
        f"{_cell(int(row.exact), 'exact' if row.exact else 'no')}</tr>"
    )


def _cell(value: int, text: str) -> str:
    return f'<td data-value="{value}">{text}</td>'
