"""Advice for the terminal: each change with what it saves, the largest first."""

from __future__ import annotations

from collections.abc import Sequence

from timeline.theory.types import Advice
from timeline.units import format_bytes
from timeline.views.terminal import DIM, Look, columns, wrap

NOT_FOR_TRAINING = ("inference_mode",)
"""Kinds of advice that a training cannot take: faint, so that none is taken for the first to try.
"""


def lines_of(advice: Sequence[Advice], peak: int, look: Look) -> list[str]:
    """What each saves, in bytes and as a share of a peak, and what it costs."""
    lines: list[str] = []
    width = max((columns(format_bytes(each.saves)) for each in advice), default=0)
    for each in advice:
        share = f"{100 * each.saves / peak:.0f} %"
        saves = format_bytes(each.saves).rjust(width)
        # The words wrap beside the figures, not below them.
        figures = f"  {saves}  {share:>5}  "
        words = look.plain(f"{each.what}; costs {each.costs}").split()
        style = DIM if each.kind in NOT_FOR_TRAINING else ""
        own = wrap(words, look.width, first=figures, rest=" " * len(figures))
        lines += [look.paint(line, style) for line in own]
    return lines
