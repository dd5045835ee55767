"""The course of a weighed step: what was held at each tick, each storage's life, and the graph.

What a change would save is not told by the peak alone: another moment may be the highest then. So
all moments are kept, with the storages that stood at each, and the nodes of autograd with what
they save. All of it was read by the step; here it is put into rows, once the step has ended.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any

from timeline.recorder.hooks.weighing import OLDER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from timeline.recorder.hooks.weighing import Weighing

MOST_TICKS = 5000
MOST_PIECES = 20_000
"""Of a step with more there is no course: its rows would take longer than the step."""


def course(
    weighing: Weighing, rows: Mapping[int, int], untold: set[int], categories: tuple[str, ...]
) -> dict[str, object]:
    """The rows that docs/format.md describes; none of a step that is too long.

    Args:
        weighing: the step, which has ended.
        rows: of each layer its row among the layers.
        untold: the ids of the pieces that torch does not tell to be given back.
        categories: the names, which pieces have by number.
    """
    told = {id(each): each for call in weighing.calls for each in call.ticks}
    ticks = sorted(told.values(), key=lambda each: each.read["t"])
    pieces = weighing.pieces.all
    if len(ticks) > MOST_TICKS or len(pieces) > MOST_PIECES:
        return {}
    times = [each.read["t"] for each in ticks]
    sequences = [each.sequence for each in ticks]
    number = {name: i for i, name in enumerate(categories)}
    place: dict[int, int] = {}
    lives: list[list[int]] = []
    for piece in pieces:
        if piece.device != "cpu":
            continue
        if piece.sequence >= 0:
            first = bisect_right(sequences, piece.sequence)
        else:
            first = bisect_left(times, piece.born_ns)
        last = bisect_left(times, piece.died_ns)
        place[id(piece)] = len(lives)
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
    index = {id(each): i for i, each in enumerate(ticks)}
    given = weighing.given
    return {
        "ticks": [[each.held, each.most, given.before(each.sequence)] for each in ticks],
        "spans": [
            [call.path, index[id(call.ticks[0])], index[id(call.ticks[-1])], call.turn]
            for call in weighing.calls
        ],
        "pieces": lives,
        "batch": weighing.first_sides.pop() if len(weighing.first_sides) == 1 else 0,
        **_graph(weighing, rows, place),
    }


def _graph(weighing: Weighing, rows: Mapping[int, int], place: dict[int, int]) -> dict[str, object]:
    """The nodes in the order in which they were made, and what they save."""
    saved: dict[int, list[int]] = {}
    for number, piece in weighing.pieces.savers:
        there = place.get(id(piece))
        if there is not None:
            saved.setdefault(number, []).append(there)
    kinds: dict[str, int] = {}
    order = {number: i for i, number in enumerate(sorted(weighing.nodes))}
    nodes: list[list[Any]] = []
    for number in order:
        layer, kind, told, before = weighing.nodes[number]
        shape = [int(side) for side in told[0].shape] if told else []
        nodes.append(
            [
                kinds.setdefault(kind.__name__, len(kinds)),
                rows.get(layer, -1) if layer != OLDER else -1,
                shape,
                told[0].dtype.itemsize if told else 0,
                [order.get(each, -1) for each in before],
                saved.get(number, []),
            ]
        )
    return {"kinds": list(kinds), "nodes": nodes}
