"""The document of a weighed step: what was held at the peak of each of its phases, and what for.

See docs/format.md for its keys. All of it was read; what it means is for the analysis to say.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from timeline.recorder.hooks.course import course
from timeline.recorder.hooks.given import MOST, UNKNOWN, Given
from timeline.recorder.hooks.weighing import LOSS, NO_LAYER, OLDER, Call, Tick, Weighing
from timeline.recording.format import BREAKDOWN, FORMAT_VERSION
from timeline.recording.writer import write_json

if TYPE_CHECKING:
    from collections.abc import Iterator

CATEGORIES = (
    "parameter", "buffer", "gradient", "optimizer_state", "activation", "input", "temporary",
)  # fmt: skip

_OPTIONS = (
    "momentum", "amsgrad", "centered", "foreach", "fused", "weight_decay", "nesterov", "maximize",
)  # fmt: skip
"""Of optimizers, those that add to their state or to what a step holds for a moment."""

Pair = tuple[Tick, Tick]
"""Two ticks, one after the other."""

MOST_CANDIDATES = 8

BEFORE = "(before the step)"
"""Stands for the layers of what had been saved before the step began."""

SAME_PEAK = 256 << 10
"""Stretches that went within so many bytes as high have the same peak: resident memory often stays
where it is while what it holds changes."""


def write(
    directory: str,
    weighing: Weighing,
    *,
    step: int,
    before: dict[str, int],
    imports: list[tuple[int, int, int]],
) -> None:
    """Write the document into the run directory, by rename.

    Args:
        directory: of the run.
        weighing: the step, which has ended.
        step: its number; 0 for a call without a step.
        before: the moment before the model.
        imports: those since then, see `timeline.recorder.hooks.imported`.
    """
    began = time.monotonic_ns()
    table = Table(weighing)
    untold = _saved_outside(weighing)
    walked = _walked(weighing)
    phases = {
        id(call): [
            _phase(call, pair, pieces, untold, table, weighing)
            | {
                name: _reached(call, pieces, tick, pair[1], weighing.given, walked)
                for name, tick in (("reached", pair[0]), ("past", pair[1]))
            }
            for pair in _candidates(call.ticks)
        ]
        for call, pieces in _in_turn(weighing)
    }
    document: dict[str, object] = {
        "timeline": FORMAT_VERSION,
        "step": step,
        "began": weighing.began_ns,
        "ended": time.monotonic_ns(),
        "before": before,
        "imports": [list(each) for each in imports],
        "heap_most": weighing.resident.largest(),
        "phases": [each for call in weighing.calls for each in phases[id(call)]],
        **_whole(weighing, table),
        "course": course(weighing, table.number, untold, CATEGORIES),
    }
    document["spent"] = weighing.spent_ns + time.monotonic_ns() - began
    # In the midst of the program's step: by lines it took as long as a step of 40 small layers.
    write_json(directory, BREAKDOWN, document, indent=None)


def _in_turn(weighing: Weighing) -> Iterator[tuple[Call, list[Any]]]:
    """Each call, as they began, with all pieces that may be there in its course.

    A step of many micro-steps saves anew in each: to go through all of them for every call kept
    the program waiting for seconds.
    """
    every = weighing.pieces.all
    seen = sorted((each for each in every if each.sequence < 0), key=lambda one: -one.born_ns)
    saved = sorted((each for each in every if each.sequence >= 0), key=lambda one: -one.sequence)
    there: list[Any] = []
    for call in sorted(weighing.calls, key=lambda one: one.ticks[0].read["t"]):
        first, last = call.ticks[0], call.ticks[-1]
        there = [each for each in there if each.died_ns > first.read["t"]]
        while seen and seen[-1].born_ns <= last.read["t"]:
            there.append(seen.pop())
        while saved and saved[-1].sequence < last.sequence:
            there.append(saved.pop())
        yield call, there


def _phase(
    call: Call,
    pair: Pair,
    pieces: list[Any],
    untold: set[int],
    table: Table,
    weighing: Weighing,
) -> dict[str, object]:
    at, after = pair
    first = call.ticks[0]
    held = _held(pieces, at)
    rise: int | None = None
    if at.held is not None and first.held is not None and after.most is not None:
        rise = max(after.most - at.held, 0) if after is not at else 0
        known = _told(pieces, untold, at) - _told(pieces, untold, first)
        loose = at.held - first.held - known
        # Of what was asked for since the tick, that is named which is there at the next one. What a
        # layer returned is an activation, too, once the next layer's node saves it.
        later, left = _held(pieces, after), rise
        for name in ("activation", "gradient", "optimizer_state"):
            more = max(later[name] - held[name], 0)
            named = min(more, left)
            earlier = min(more - named, max(loose, 0)) if name == "activation" else 0
            held[name] += named + earlier
            left -= named
            loose -= earlier
        held["temporary"] = max(loose, 0) + left
    return {
        "phase": call.number,
        "path": call.path,
        "what": call.what,
        "at": at.read,
        "after": after.read,
        "begin": first.read,
        "end": call.ticks[-1].read,
        "high": max(after.read["high"], after.read["rss"], at.read["rss"]),
        "rise": rise,
        "stays": None if rise is None else (after.held or 0) - (at.held or 0),
        "turn": call.turn,
        "first": call.first,
        "asked": _asked(weighing, first),
        "stood": table.pairs(call.stood),
        "shared": sum(each.size for each in pieces if each.mapped and _is_there(each, at)),
        "categories": held,
        "layers": table.pairs(_by_layer(pieces, at)),
    }


def _asked(weighing: Weighing, tick: Tick) -> int:
    """Bytes of the inputs that the program had then, by their shapes.

    Of earlier micro-steps it may have kept them or not, which is for itself to decide.
    """
    return sum(
        size
        for piece, size in weighing.asked
        if piece.category == "input" and _is_there(piece, tick)
    )


def _reached(
    call: Call, pieces: list[Any], at: Tick, after: Tick, given: Given, walked: list[list[int]]
) -> int:
    """The call of a layer that is under way then, or whose backward is.

    How far a backward has come is told by what it has given back and what it still has. The
    program may hold some of that, and a layer may give its own back bit by bit. Of what waits for
    another backward nothing is told; and of the first layers, which save the step's inputs alone,
    by whether they have their gradients.
    """
    if not call.path.endswith("backward"):
        return given.before(after.sequence)
    began, now = call.ticks[0].read["t"], at.read["t"]
    gone, there = [], []
    for each in pieces:
        number = given.of(each.sequence) if each.sequence >= 0 else UNKNOWN
        if number < 0 or call.turn not in walked[number]:
            continue
        if each.died_ns > now:
            there.append(number)
        elif each.died_ns > began:
            gone.append(number)
    last = min(gone) if gone else given.before(call.ticks[0].sequence)
    if there:
        return min(max(there), last)
    made = {each.layer for each in pieces if each.category == "gradient" and each.born_ns <= now}
    without = {layer for layer, has in given.trains.items() if has} - made - set(call.stood)
    for number in range(last - 1, -1, -1):
        if call.turn in walked[number] and given.calls[number][0] in without:
            return number
    return UNKNOWN


def _candidates(ticks: list[Tick]) -> list[Pair]:
    """The ticks between which memory went highest; where that is often, with most in use.

    Then those between which it may have gone higher than these readings tell: the sampler takes
    the high-water mark, too, and what it took is in its rows. Who reads the recording has both.
    """
    pairs = list(zip(ticks, ticks[1:], strict=False))  # noqa: RUF007 - itertools is one more
    pairs = pairs or [(ticks[0], ticks[0])]

    def high(pair: Pair) -> int:
        return max(pair[0].read["rss"], pair[1].read["high"], pair[1].read["rss"])

    def risen(pair: Pair) -> int:
        at, after = pair
        return max((after.most or 0) - (at.held or 0), 0) if after is not at else 0

    def in_use(pair: Pair) -> int:
        at = pair[0]
        return (at.held or 0 if at.held is not None else at.read["in_use"]) + risen(pair)

    top = max(map(high, pairs))
    first = max((pair for pair in pairs if high(pair) >= top - SAME_PEAK), key=in_use)

    def most(pair: Pair) -> int:
        return pair[0].read["rss"] + risen(pair)

    higher = [pair for pair in pairs if pair is not first and most(pair) > top + SAME_PEAK]
    return [first, *sorted(higher, key=most, reverse=True)[:MOST_CANDIDATES]]


def _is_there(piece: Any, tick: Tick) -> bool:
    there: bool = piece.is_there(tick.read["t"], tick.sequence)
    return there and piece.device == "cpu"


def _held(pieces: list[Any], tick: Tick) -> dict[str, int]:
    held = dict.fromkeys(CATEGORIES, 0)
    t, sequence = tick.read["t"], tick.sequence
    for piece in pieces:
        if piece.is_there(t, sequence) and piece.device == "cpu":
            held[piece.category] += piece.size
    return held


def _told(pieces: list[Any], untold: set[int], tick: Tick) -> int:
    """Bytes of the pieces that torch reports when they are given back."""
    t, sequence = tick.read["t"], tick.sequence
    return sum(
        piece.size
        for piece in pieces
        if piece.is_there(t, sequence) and piece.device == "cpu" and id(piece) not in untold
    )


def _saved_outside(weighing: Weighing) -> set[int]:
    """The ids of pieces that were saved outside of every call, as by a loss that is a function.

    These were taken while nobody asked, and torch does not report when such blocks are given back.
    """
    asked = [(call.ticks[0].sequence, call.ticks[-1].sequence) for call in weighing.calls]
    return {
        id(piece)
        for piece in weighing.pieces.all
        if piece.sequence >= 0 and not any(first <= piece.sequence < last for first, last in asked)
    }


def _by_layer(pieces: list[Any], tick: Tick) -> dict[int, int]:
    """By layer, the bytes that are saved for its backward."""
    by: dict[int, int] = {}
    for piece in pieces:
        if piece.category == "activation" and _is_there(piece, tick):
            by[piece.layer] = by.get(piece.layer, 0) + piece.size
    return by


class Table:
    """The layers as rows: model by model, each in the order of its modules, and the loss after.

    Where something was saved before the step, that comes last.
    """

    def __init__(self, weighing: Weighing) -> None:
        self._weighing = weighing
        layers = weighing.layers
        order = sorted(range(len(layers)), key=lambda i: (layers[i].root, layers[i].place))
        self.number = {layer: number for number, layer in enumerate(order)}
        self.number[NO_LAYER] = len(order)
        used = sorted({layer.root for layer in layers})
        titles = {root: weighing.models[root] for root in used}
        for root in used:
            same = [other for other in used if weighing.models[other] == weighing.models[root]]
            if len(same) > 1 and root != same[0]:
                titles[root] += f"#{same.index(root) + 1}"
        self.rows = [
            _row(
                f"{titles[layers[i].root]}.{layers[i].name}".rstrip(".")
                if len(used) > 1
                else layers[i].name,
                layers[i].kind,
                weighing.calls_of.get(i, 0),
            )
            for i in order
        ]
        self.rows.append(_row(LOSS, "loss", 0))
        if weighing.older:
            self.number[OLDER] = len(self.rows)
            self.rows.append(_row(BEFORE, "", 0))

    def row(self, layer: int) -> dict[str, Any]:
        """The row of a layer by its number in the weighing."""
        return self.rows[self.number[layer]]

    def pairs(self, by: dict[int, int]) -> list[list[int]]:
        """Figures by layer as (number of the row, figure)."""
        return sorted([self.number[layer], size] for layer, size in by.items())


def _row(name: str, kind: str, calls: int) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "parameters": 0,
        "parameter": 0,
        "buffer": 0,
        "gradient": 0,
        "activation": 0,
        "output_shape": None,
        "output_dtype": None,
        "output_bytes": 0,
        "calls": calls,
    }


def _whole(weighing: Weighing, table: Table) -> dict[str, object]:
    """The categories at their most, and the layers."""
    each = [
        (_held(pieces, tick), tick)
        for call, pieces in _in_turn(weighing)
        for tick in (call.ticks[0], call.ticks[-1])
    ]
    most = {name: max((held[name] for held, _ in each), default=0) for name in CATEGORIES}
    if each:
        _, fullest = max(each, key=lambda pair: pair[0]["activation"])
        for layer, size in _by_layer(weighing.pieces.all, fullest).items():
            table.row(layer)["activation"] = size
    for piece in weighing.pieces.all:
        if piece.category in ("parameter", "buffer"):
            table.row(piece.layer)[piece.category] += piece.size
        elif piece.category == "gradient" and _is_last(weighing, piece):
            table.row(piece.layer)["gradient"] += piece.size
    for tensor, layer in weighing.parameters:
        table.row(layer)["parameters"] += tensor.numel()
    for layer, (shape, kind, size) in weighing.outputs.items():
        count = 1
        for side in shape:
            count *= int(side)
        table.row(layer).update(
            output_shape=[int(side) for side in shape],
            output_dtype=kind,
            output_bytes=count * size,
        )
    tensors = [tensor for tensor, _ in weighing.parameters]
    devices = {piece.device for piece in weighing.pieces.all}
    unseen = sorted(weighing.pieces.unseen)
    return {
        "categories": most,
        "layers": table.rows,
        "parameters": sum(row["parameters"] for row in table.rows),
        "trained": [_group(each) for each in _groups(weighing)],
        "sizes": _sizes(tensors),
        "given": _given(weighing, table),
        "devices": sorted(devices),
        "not_counted": [*weighing.notes, *(f"tensors of {name}" for name in unseen)],
    }


def _given(weighing: Weighing, table: Table) -> dict[str, object]:
    given = weighing.given
    whole = len(given.calls) < MOST
    return {
        "calls": [[table.number[layer], *rest] for layer, *rest in given.calls] if whole else [],
        "settings": {table.number[layer]: each for layer, each in given.settings.items()},
        "walked": _walked(weighing) if whole else [],
        "older": weighing.older,
    }


def _walked(weighing: Weighing) -> list[list[int]]:
    """Of each call of a layer, the turns whose backward goes through it.

    One that makes no node of its own, as in evaluation, goes with the model's call around it.
    """
    found = list(weighing.given.walked)
    for call in weighing.calls:
        for number in range(call.first, call.last):
            found[number] = found[number] or call.walked
    return found


def _groups(weighing: Weighing) -> list[tuple[Any, dict[str, Any]]]:
    return [(each, group) for each in weighing.optimizers for group in each.param_groups]


def _group(pair: tuple[Any, dict[str, Any]]) -> dict[str, object]:
    """What theory needs to know of a group of parameters that an optimizer steps."""
    optimizer, group = pair
    trained = [each for each in group["params"] if each.requires_grad and str(each.device) == "cpu"]
    return {
        "optimizer": type(optimizer).__name__,
        "options": {
            name: bool(group[name])
            for name in _OPTIONS
            if isinstance(group.get(name), (bool, float, int))
        },
        "sizes": _sizes(trained),
    }


def _sizes(tensors: list[Any]) -> list[list[int]]:
    """(numbers, bytes of a number) of each tensor on the CPU."""
    return [[each.numel(), each.element_size()] for each in tensors if str(each.device) == "cpu"]


def _is_last(weighing: Weighing, piece: Any) -> bool:
    """Whether a gradient was there at the end of the step's last backward."""
    backwards = [call for call in weighing.calls if call.path.endswith("backward")]
    return not backwards or _is_there(piece, backwards[-1].ticks[-1])
