"""What the peak is made of, for the terminal."""

from __future__ import annotations

from timeline.analysis.types import Analysis
from timeline.units import format_bytes
from timeline.views import advice_text
from timeline.views.parts import (
    LABELS,
    at_the_peak,
    has_row,
    how_to_lower_it,
    share_unexplained,
    to_be_lowered,
    which,
    why_not_advised,
)
from timeline.views.terminal import BOLD, DIM, Look

ADVICE_SHOWN = 5
"""The largest; a page has all."""


def lines_of(analysis: Analysis, look: Look) -> list[str]:
    """The table: for each part estimated, measured and residual; nothing where none was weighed."""
    anatomy = analysis.anatomy
    composition = at_the_peak(analysis, anatomy) if anatomy is not None else None
    if anatomy is None or composition is None:
        return []
    path = look.phase(composition.path)
    out = look.lines(f"The peak of {path}, by {which(anatomy)}:", rest="  ")
    rows = [("", "estimated", "measured", "residual")]
    for part in composition.parts:
        if not has_row(part):
            continue
        rows.append(
            (
                LABELS[part.category],
                _size(part.estimated),
                _size(part.measured) or "not known",
                "" if part.residual is None else format_bytes(part.residual, signed=True),
            )
        )
    rows.append(("together", "", format_bytes(composition.peak), ""))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    # A narrow terminal shows what was measured alone, as where nothing was estimated.
    estimated = any(row[1] for row in rows[1:]) and sum(widths) + 8 <= look.width
    shown = [0, 1, 2, 3] if estimated else [0, 2]
    for number, row in enumerate(rows):
        if number == 0 and not estimated:
            continue
        cells = [row[i].rjust(widths[i]) if i else row[i].ljust(widths[i]) for i in shown]
        line = look.plain("  " + "  ".join(cells).rstrip())
        style = DIM if number == 0 else BOLD if number == len(rows) - 1 else ""
        share = share_unexplained(composition)
        if row[0] == LABELS["unexplained"] and share is not None:
            told = f"  {100 * share:.1f} % of the growth"
            if len(line + told) > look.width:
                out.append(line)
                line = "  " + told
            else:
                line += told
        out.append(look.paint(line, style) if style else line)
    notes = [*anatomy.notes, *(f"not weighed: {each}" for each in anatomy.weighed.not_counted)]
    for note in notes:
        out += [look.paint(line, DIM) for line in look.lines(note, "  ", "    ")]
    return out


def advice_of(analysis: Analysis, look: Look) -> list[str]:
    """The largest savings, and what tells of more."""
    anatomy = analysis.anatomy
    if anatomy is None or (not anatomy.phases and anatomy.advised is None):
        return []
    told = anatomy.advised
    lines: list[str] = []
    notes = [look.plain(why_not_advised(anatomy)), how_to_lower_it(anatomy)]
    if told is not None and told.advice:
        peak = look.plain(to_be_lowered(analysis, anatomy))
        lines += look.lines(f"What would lower {peak}, each alone:", rest="  ")
        lines += advice_text.lines_of(told.advice[:ADVICE_SHOWN], told.peak, look)
        more = len(told.advice) - ADVICE_SHOWN
        if more > 0:
            notes.insert(0, f"and {more} more: on the page, and in --json")
    for note in filter(None, notes):
        lines += [look.paint(line, DIM) for line in look.lines(note, "  ", "    ")]
    return lines


def _size(size: int | None) -> str:
    return "" if size is None else format_bytes(size)
