"""The course of a weighed step: what was held at each tick, each storage's life, and the graph.

What a change would save is not told by the peak alone: another moment may be the highest then. So
all moments are kept, with the storages that stood at each, and the nodes of autograd with what
they save.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import Any

from timeline.recording.weighed.facts import CATEGORIES, OLDER, Facts

MOST_TICKS = 5000
MOST_PIECES = 20_000
"""Of a step with more there is no course: its rows would be most of the recording."""

MOST_NODES = 5000
"""Of a step with more there is no graph: what it saves cannot be told from a part of it."""


def course(facts: Facts, rows: Mapping[int, int], untold: set[int]) -> dict[str, object]:
    """The rows that docs/format.md describes; none of a step that is too long.

    Args:
        facts: the step.
        rows: of each layer its row among the layers.
        untold: the ids of the pieces that torch does not tell to be given back.
    """
    ticks, pieces = facts.ticks, facts.pieces
    if len(ticks) > MOST_TICKS or len(pieces) > MOST_PIECES:
        return {}
    times = [each.t for each in ticks]
    sequences = [each.sequence for each in ticks]
    number = {name: i for i, name in enumerate(CATEGORIES)}
    place: dict[int, int] = {}
    lives: list[list[int]] = []
    for i, piece in enumerate(pieces):
        if not piece.on_cpu:
            continue
        if piece.sequence >= 0:
            first = bisect_right(sequences, piece.sequence)
        else:
            first = bisect_left(times, piece.born)
        last = bisect_left(times, piece.died)
        place[i] = len(lives)
        lives.append(
            [
                number[piece.category],
                rows.get(piece.layer, -1),
                piece.size,
                first,
                last,
                int(id(piece) not in untold),
            ]
        )
    begins = facts.begins
    sides = facts.raw["first_sides"]
    # The first size is then that of the sequence, as far as anybody can tell from outside.
    batched = len(sides) == 1 and not facts.raw.get("sequence_first")
    return {
        "ticks": [[each.held, each.most, bisect_left(begins, each.sequence) - 1] for each in ticks],
        "spans": [[call.path, call.begin, call.end - 1, call.turn] for call in facts.calls],
        "pieces": lives,
        "batch": sides[0] if batched else 0,
        **_graph(facts, rows, place),
    }


def _graph(facts: Facts, rows: Mapping[int, int], place: dict[int, int]) -> dict[str, object]:
    """The nodes in the order in which they were made, and what they save."""
    if len(facts.raw["nodes"]) > MOST_NODES:
        return {"kinds": [], "nodes": []}
    saved: dict[int, list[int]] = {}
    for number, piece in facts.raw["savers"]:
        if piece in place:
            saved.setdefault(number, []).append(place[piece])
    told = sorted(facts.raw["nodes"])
    order = {row[0]: i for i, row in enumerate(told)}
    kinds: dict[str, int] = {}
    nodes: list[list[Any]] = [
        [
            kinds.setdefault(kind, len(kinds)),
            rows.get(layer, -1) if layer != OLDER else -1,
            shape,
            facts.raw["dtypes"][dtype][1] if dtype >= 0 else 0,
            [order.get(each, -1) for each in before],
            saved.get(number, []),
        ]
        for number, kind, layer, shape, dtype, before in told
    ]
    return {"kinds": list(kinds), "nodes": nodes}
