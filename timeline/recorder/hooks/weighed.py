"""The document of a weighed step: what was held at the peak of each of its phases, and what for.

See docs/format.md for its keys. All of it was read; what it means is for the analysis to say.
"""

from __future__ import annotations

import time
from typing import Any

from timeline.recorder.hooks.weighing import LOSS, Call, Tick, Weighing
from timeline.recording.format import BREAKDOWN, FORMAT_VERSION
from timeline.recording.writer import write_json

CATEGORIES = (
    "parameter", "buffer", "gradient", "optimizer_state", "activation", "input", "temporary",
)  # fmt: skip

SAME_PEAK = 256 << 10
"""Stretches that went within so many bytes as high have the same peak: resident memory often stays
where it is while what it holds changes."""

_BUILDING = ("step/forward", "step/loss", "inference")
"""Phases that make activations; those of the layer under way are there when it returns."""


def write(directory: str, weighing: Weighing, *, step: int, before: dict[str, int]) -> None:
    """Write the document into the run directory, by rename."""
    document = {
        "timeline": FORMAT_VERSION,
        "step": step,
        "began": weighing.began_ns,
        "ended": time.monotonic_ns(),
        "spent": weighing.spent_ns,
        "before": before,
        "phases": [_phase(call, weighing) for call in weighing.calls],
        **_whole(weighing),
    }
    write_json(directory, BREAKDOWN, document)


def _phase(call: Call, weighing: Weighing) -> dict[str, object]:
    at, after = _peak(call.ticks)
    first = call.ticks[0]
    held = _held(weighing, at)
    began = _held(weighing, first)
    rise: int | None = None
    if at.held is not None and first.held is not None and after.most is not None:
        rise = max(after.most - at.held, 0) if after is not at else 0
        known = sum(held.values()) - sum(began.values())
        loose = at.held - first.held - known
        saved = 0
        if call.path in _BUILDING:
            saved = _held(weighing, after)["activation"] - held["activation"]
            saved = min(max(saved, 0), rise)
        held["activation"] += saved
        held["temporary"] = max(loose, 0) + rise - saved
    return {
        "phase": call.number,
        "path": call.path,
        "what": call.what,
        "at": at.read,
        "high": max(after.read["high"], after.read["rss"], at.read["rss"]),
        "rise": rise,
        "shared": sum(
            each.size for each in weighing.pieces.all if each.mapped and _is_there(each, at)
        ),
        "categories": held,
        "layers": _by_layer(weighing, at),
    }


def _peak(ticks: list[Tick]) -> tuple[Tick, Tick]:
    """The two ticks between which memory went highest; where that is often, with most in use."""
    pairs = list(zip(ticks, ticks[1:], strict=False))  # noqa: RUF007 - itertools is one more
    pairs = pairs or [(ticks[0], ticks[0])]

    def high(pair: tuple[Tick, Tick]) -> int:
        return max(pair[0].read["rss"], pair[1].read["high"], pair[1].read["rss"])

    def in_use(pair: tuple[Tick, Tick]) -> int:
        at, after = pair
        risen = (after.most or 0) - (at.held or 0)
        return (at.held or 0 if at.held is not None else at.read["in_use"]) + max(risen, 0)

    top = max(map(high, pairs))
    return max((pair for pair in pairs if high(pair) >= top - SAME_PEAK), key=in_use)


def _is_there(piece: Any, tick: Tick) -> bool:
    there: bool = piece.is_there(tick.read["t"], tick.sequence)
    return there and piece.device == "cpu"


def _held(weighing: Weighing, tick: Tick) -> dict[str, int]:
    held = dict.fromkeys(CATEGORIES, 0)
    for piece in weighing.pieces.all:
        if _is_there(piece, tick):
            held[piece.category] += piece.size
    return held


def _by_layer(weighing: Weighing, tick: Tick) -> list[list[int]]:
    """(number of a layer, bytes that are saved for its backward); the last number is the loss's."""
    by: dict[int, int] = {}
    for piece in weighing.pieces.all:
        if piece.category == "activation" and _is_there(piece, tick):
            layer = piece.layer if piece.layer >= 0 else len(weighing.layers)
            by[layer] = by.get(layer, 0) + piece.size
    return [[layer, size] for layer, size in sorted(by.items())]


def _whole(weighing: Weighing) -> dict[str, object]:
    """The categories at their most, and the layers."""
    moments = [tick for call in weighing.calls for tick in (call.ticks[0], call.ticks[-1])]
    each = [(_held(weighing, tick), tick) for tick in moments]
    most = {name: max((held[name] for held, _ in each), default=0) for name in CATEGORIES}
    rows: list[dict[str, Any]] = [
        {
            "name": _name(weighing, name),
            "kind": kind,
            "parameters": 0,
            "parameter": 0,
            "buffer": 0,
            "gradient": 0,
            "activation": 0,
            "output_shape": None,
            "output_dtype": None,
            "output_bytes": 0,
            "calls": weighing.calls_of.get(i, 0),
        }
        for i, (name, kind) in enumerate(weighing.layers)
    ]
    rows.append({**dict.fromkeys(rows[0] if rows else (), 0), "name": LOSS, "kind": "loss"})
    rows[-1].update(output_shape=None, output_dtype=None)
    if each:
        _, fullest = max(each, key=lambda pair: pair[0]["activation"])
        for i, size in _by_layer(weighing, fullest):
            rows[i]["activation"] = size
    for piece in weighing.pieces.all:
        if piece.category in ("parameter", "buffer", "gradient"):
            row = rows[piece.layer]  # -1, of no layer, is the last
            if piece.category != "gradient" or _latest(weighing, piece):
                row[piece.category] += piece.size
    for tensor, layer in weighing.parameters.values():
        rows[layer]["parameters"] += tensor.numel()
    for i, (shape, kind, size) in weighing.outputs.items():
        count = 1
        for side in shape:
            count *= int(side)
        rows[i].update(
            output_shape=[int(side) for side in shape],
            output_dtype=kind,
            output_bytes=count * size,
        )
    total = sum(row["parameters"] for row in rows)
    devices = {piece.device for piece in weighing.pieces.all}
    unseen = sorted(weighing.pieces.unseen)
    return {
        "categories": most,
        "layers": rows,
        "parameters": total,
        "devices": sorted(devices),
        "not_counted": [*weighing.notes, *(f"tensors of {name}" for name in unseen)],
    }


def _latest(weighing: Weighing, piece: Any) -> bool:
    """Whether a gradient is there at the end, or was at the step's last backward."""
    backwards = [call for call in weighing.calls if call.path.endswith("backward")]
    return not backwards or _is_there(piece, backwards[-1].ticks[-1])


def _name(weighing: Weighing, name: str) -> str:
    """With one model a layer's own name; with several the model's before it."""
    title, _, own = name.partition("\0")
    several = any(not other.startswith(f"{title}\0") for other, _ in weighing.layers)
    return f"{title}.{own}".rstrip(".") if several else own
