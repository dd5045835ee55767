"""What to know about the figures: what is not exact and why, what is missing, what was lost."""

from __future__ import annotations

from collections.abc import Collection

from timeline.analysis.types import Analysis
from timeline.views.chart import lettering

SIZE, ROW = 7.0, 0.155
"""Points, and inches from one line to the next."""

_NAMES = 3


def sentences(analysis: Analysis, drawn: Collection[str]) -> list[str]:
    """Each reason why a peak is not exact, once, then what is missing and what to know.

    Args:
        analysis: of the run.
        drawn: the channels that the picture shows; of others nothing is said.
    """
    reasons: dict[str, list[str]] = {}
    for channel in analysis.channels:
        if not channel.exact and channel.reason and channel.channel.name in drawn:
            reasons.setdefault(channel.reason, []).append(channel.channel.name)
    of_channels = set(reasons)
    outside = (analysis.outside,) if analysis.outside else ()
    for phase in (*analysis.phases, *outside):
        if phase.reason and phase.reason not in of_channels:
            reasons.setdefault(phase.reason, []).append(phase.path or "outside phases")
    return [
        *(f"~ not exact: {_some(names)}: {reason}" for reason, names in reasons.items()),
        *(f"Not measured: {sentence}" for sentence in analysis.missing),
        *(f"Note: {sentence}" for sentence in analysis.notes),
    ]


def lines(notes: list[str], size: float, room: float, most: int) -> list[str]:
    """The sentences in at most ``most`` lines of ``room`` inches; the last tells of the rest."""
    out: list[str] = []
    for i, note in enumerate(notes):
        wrapped = lettering.wrap(note, size, room)
        left = len(notes) - i
        # One line is kept for telling of the rest, unless this is the rest.
        space = most - len(out) - (1 if left > 1 else 0)
        if len(wrapped) > space:
            return [*out, f"and {left:,} more, which the table and the page tell"]
        out += wrapped
    return out


def _some(names: list[str]) -> str:
    more = len(names) - _NAMES
    text = ", ".join(names[:_NAMES])
    return f"{text} and {more:,} more" if more > 0 else text
