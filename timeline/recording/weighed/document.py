"""``breakdown.json``, made of what was read in the weighed step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timeline.recording.weighed.coarse import filled_in
from timeline.recording.weighed.course import course
from timeline.recording.weighed.facts import (
    CATEGORIES,
    MOST_GIVEN,
    Call,
    Facts,
    Piece,
    held_at,
    saved_at,
)
from timeline.recording.weighed.packing import unpacked
from timeline.recording.weighed.peaks import in_turn, made_outside, peaks
from timeline.recording.weighed.table import Table

_AS_READ = ("timeline", "step", "began", "ended", "spent", "before", "imports", "heap_most")


def document_of(raw: Mapping[str, Any]) -> dict[str, object]:
    """The document of a weighed step.

    Args:
        raw: what ``weighed.json`` holds.

    Raises:
        LookupError, TypeError, ValueError: it was not written by us.
    """
    raw = unpacked(filled_in(raw))
    facts = Facts(raw)
    table = Table(facts)
    untold = made_outside(facts)
    entries = peaks(facts, table, untold)
    most = _fill(facts, table)
    on_cpu = [[numbers, size] for _, numbers, size, cpu in raw["parameters"] if cpu]
    return {
        **{key: raw[key] for key in _AS_READ},
        "phases": entries,
        "categories": most,
        "layers": table.rows,
        "parameters": sum(row["parameters"] for row in table.rows),
        "trained": raw["trained"],
        "sizes": on_cpu,
        "given": _given(facts, table),
        "course": course(facts, table.number, untold),
        "devices": sorted(raw["devices"]),
        "coarse": str(raw["coarse"]["why"]) if "coarse" in raw else "",
        "not_counted": [*raw["notes"], *(f"tensors of {name}" for name in sorted(raw["unseen"]))],
    }


def _fill(facts: Facts, table: Table) -> dict[str, int]:
    """Fill in what the layers hold. Returns the categories at their most."""
    each = [
        (held_at(pieces, tick), tick)
        for call, pieces in in_turn(facts)
        for tick in (call.ticks[0], call.ticks[-1])
    ]
    most = {name: max((held[name] for held, _ in each), default=0) for name in CATEGORIES}
    if each:
        _, fullest = max(each, key=lambda pair: pair[0]["activation"])
        for layer, size in saved_at(facts.pieces, fullest).items():
            table.row(layer)["activation"] = size
    backwards = [call for call in facts.calls if call.is_backward]
    for piece in facts.pieces:
        if piece.category in ("parameter", "buffer") or (
            piece.category == "gradient" and _stays(piece, backwards)
        ):
            table.row(piece.layer)[piece.category] += piece.size
    return most


def _stays(gradient: Piece, backwards: list[Call]) -> bool:
    """Whether it was there at the end of the step's last backward."""
    return not backwards or gradient.is_there(backwards[-1].ticks[-1])


def _given(facts: Facts, table: Table) -> dict[str, object]:
    given = facts.raw["given"]
    whole = len(given["calls"]) < MOST_GIVEN
    return {
        "calls": [[table.number[layer], *rest] for layer, *rest in given["calls"]] if whole else [],
        "settings": {str(table.number[layer]): each for layer, each in given["settings"]},
        "walked": facts.walked() if whole else [],
        "older": facts.raw["older"],
    }
