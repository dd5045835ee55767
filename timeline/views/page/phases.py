"""The table of the phases, which the page's script sorts and makes go to the chart."""

from __future__ import annotations

from timeline.analysis.types import HOST, Analysis, PhaseSummary
from timeline.units import format_bytes, format_duration
from timeline.views.page.words import escaped
from timeline.views.palette import phase_colors
from timeline.views.table import host_of

_HEADINGS = (
    ("Phase", "In the order of first appearance; click a name to go to its highest instance"),
    ("Count", "How often it ran"),
    ("Total time", "The time of all instances together"),
    ("Share", "Its total time over the duration of the run"),
    ("Peak", "The most memory in use while any instance of it ran"),
    ("Delta", "That peak less what was in use when the instance began"),
    ("Kept", "What it left behind: end less begin, over all instances"),
    ("Exact", "Whether no instance can have been higher"),
)


def table(analysis: Analysis) -> str:
    """The section with the table, or one sentence where there are no phases."""
    if not analysis.phases:
        return (
            '<section class="card"><h2>Phases</h2><p class="note">This recording has no phases. '
            "Training code with torch has them by itself; any code has them by "
            '<code>with timeline.phase("name"):</code>.</p></section>'
        )
    host = host_of(analysis)
    highest = max(host.peak if host else 0, 1)
    colors = phase_colors(analysis.instances.paths)
    numbers = {path: i for i, path in enumerate(analysis.instances.paths)}
    heads = "".join(
        f'<th scope="col" aria-sort="none"><button type="button" title="{why}">{name}</button></th>'
        for name, why in _HEADINGS
    )
    rows = [_row(each, numbers[each.path], colors[each.path], highest) for each in analysis.phases]
    if analysis.outside is not None and host is not None:
        rows.append(_row(analysis.outside, -1, "", highest))
    count = len(analysis.phases)
    words = "one path" if count == 1 else f"{count:,} paths"
    instances = sum(each.count for each in analysis.phases)
    return (
        '<section class="card" aria-label="Phases"><h2>Phases</h2>'
        f'<p class="hint">{words}, {instances:,} instances. Click a row to go to the '
        "instance with the highest peak, click again for the next one; click a heading to sort.</p>"
        f'<div class="scroll" tabindex="0" role="group" aria-label="Table of phases">'
        f'<table id="phases"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _row(phase: PhaseSummary, number: int, color: str, highest: int) -> str:
    peak = phase.peak.get(HOST)
    name = shown_path(phase.path) if number >= 0 else "outside every phase"
    swatch = f'<i style="background:{color}"></i>' if color else "<i></i>"
    never = f'<span class="pill fair">{phase.open:,} never ended</span>' if phase.open else ""
    cells = [
        f'<td class="name" data-value="{name}"><span>{swatch}'
        f'<button type="button" title="{name}" aria-pressed="false"><bdi>{name}</bdi></button>'
        f"{never}</span></td>",
        _cell(phase.count, f"{phase.count:,}"),
        _cell(phase.total_ns, format_duration(phase.total_ns / 1e9)),
        _cell(phase.share, _percent(phase.share)),
    ]
    if peak is None or not peak.bytes:
        cells += [_cell(-1, "–")] * 4
    else:
        sign = "" if peak.exact else "~"
        part = f"{min(100 * peak.bytes / highest, 100):.1f}%"
        meter = f'<s style="--part:{part};--meter:{color or "var(--faint)"}"></s>'
        cells += [
            f'<td class="meter" data-value="{peak.bytes}" title="{peak.bytes:,} bytes"><div>'
            f"{meter}{sign}{format_bytes(peak.bytes)}</div></td>",
            _cell(peak.delta, format_bytes(peak.delta, signed=True)),
            _cell(peak.kept, format_bytes(peak.kept, signed=True)),
            _cell(int(peak.exact), "exact" if peak.exact else "no", escaped(phase.reason)),
        ]
    kind = ' class="outside"' if number < 0 else ""
    return f'<tr data-path="{number}"{kind}>{"".join(cells)}</tr>'


def shown_path(path: str) -> str:
    """A phase's path in HTML; one of spaces alone is quoted, to be seen at all."""
    return escaped(path if path.strip() else f'"{path}"')


def _cell(value: float, text: str, why: str = "") -> str:
    reason = f' title="{why}"' if why else ""
    return f'<td data-value="{value}"{reason}>{text}</td>'


def _percent(share: float) -> str:
    percent = 100 * share
    return "&lt;1 %" if 0 < percent < 0.5 else f"{percent:.0f} %"
