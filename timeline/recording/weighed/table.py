"""The layers of a weighed step as rows."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from timeline.recording.weighed.facts import NO_LAYER, OLDER, Facts

LOSS = "(loss)"
"""Stands for a layer's name where something is saved outside every module, as in the theory."""

BEFORE = "(before the step)"
"""Stands for the layers of what had been saved before the step began."""


class Table:
    """Model by model, each in the order of its modules, and the loss after.

    Where something was saved before the step, that comes last.

    Attributes:
        rows: with the keys of a layer in ``breakdown.json``.
        number: by a layer's number in the step that of its row.
    """

    def __init__(self, facts: Facts) -> None:
        raw = facts.raw
        models, layers, calls_of = raw["models"], raw["layers"], dict(raw["calls_of"])
        order = sorted(range(len(layers)), key=lambda i: (layers[i][1], layers[i][2]))
        self.number = {layer: number for number, layer in enumerate(order)}
        self.number[NO_LAYER] = len(order)
        used = sorted({root for _, root, _, _ in layers})
        titles = {root: models[root] for root in used}
        for root in used:
            same = [other for other in used if models[other] == models[root]]
            if len(same) > 1 and root != same[0]:
                titles[root] += f"#{same.index(root) + 1}"
        self.rows: list[dict[str, Any]] = []
        for i in order:
            kind, root, _, name = layers[i]
            qualified = f"{titles[root]}.{name}".rstrip(".") if len(used) > 1 else name
            self.rows.append(_row(qualified, kind, calls_of.get(i, 0)))
        self.rows.append(_row(LOSS, "loss", 0))
        if raw["older"]:
            self.number[OLDER] = len(self.rows)
            self.rows.append(_row(BEFORE, "", 0))
        for layer, numbers, *_ in raw["parameters"]:
            self.row(layer)["parameters"] += numbers
        # What a layer returns is what the last of its nodes returns.
        last: dict[int, Any] = {}
        for node in raw["nodes"]:
            number, _, layer, _, dtype, _ = node
            if layer >= 0 and dtype >= 0 and (layer not in last or number > last[layer][0]):
                last[layer] = node
        for layer, (_, _, _, shape, dtype, _) in last.items():
            name, size = raw["dtypes"][dtype]
            self.row(layer).update(
                output_shape=shape, output_dtype=name, output_bytes=prod(shape) * size
            )

    def row(self, layer: int) -> dict[str, Any]:
        """The row of a layer by its number in the step."""
        return self.rows[self.number[layer]]

    def pairs(self, by: Mapping[int, int]) -> list[list[int]]:
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
