"""What was noted of a step that was weighed coarsely, as the lists of one weighed in full.

It was noted by columns, storages again and again: which of them are the same, what they are for and
from when to when each was there, is found here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from typing import Any

from timeline.recording.weighed.facts import CATEGORIES, OLDER
from timeline.recording.weighed.packing import numbers_in

_CATEGORY, _LAYER, _SEQUENCE, _DIED = 2, 3, 4, 6
"""Places in the row of a piece."""

_NEVER = 1 << 62

_ACTIVATION, _INPUT = CATEGORIES.index("activation"), CATEGORIES.index("input")

_NONE: dict[str, Any] = {
    "calls": [], "settings": [], "walked": [], "begins": [], "trains": [],
}  # fmt: skip


def filled_in(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The document with the lists of one weighed in full; as it is, where it is of such a one.

    Raises:
        AttributeError, LookupError, TypeError, ValueError: it was not written by us.
    """
    coarse = raw.get("coarse")
    if coarse is None:
        return raw
    storages = _Storages(numbers_in(coarse["from"]), numbers_in(coarse["layer"]))
    for batch in coarse["batches"]:
        storages.see(
            {
                key: numbers_in(each) if isinstance(each, str) else each
                for key, each in batch.items()
            }
        )
    own = [numbers_in(coarse[key]) for key in ("owners", "numbers", "element", "on_cpu")]
    parameters = list(zip(*own, strict=True))
    return {
        **raw,
        "phases": [
            [*phase[:8], _stood(numbers_in(coarse["stood"][str(phase[0])]), parameters), phase[9]]
            for phase in raw["phases"]
        ],
        "pieces": storages.rows,
        "asked": storages.asked,
        "calls_of": list(Counter(numbers_in(coarse["entered"])).items()),
        "parameters": parameters,
        "trained": [
            {**group, "sizes": [one[1:3] for one in _at(numbers_in(places), parameters) if one[3]]}
            for group, places in coarse["trained"]
        ],
        "given": _NONE,
        "nodes": [],
        "dtypes": [],
        "savers": [],
        "older": storages.older,
    }


def _at(places: list[int], parameters: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    return [parameters[place] for place in places if 0 <= place < len(parameters)]


def _stood(places: list[int], parameters: list[tuple[int, ...]]) -> list[tuple[int, int]]:
    """By layer, the bytes of the parameters that had a gradient."""
    found: dict[int, int] = {}
    for layer, numbers, element, on_cpu in _at(places, parameters):
        if on_cpu:
            found[layer] = found.get(layer, 0) + numbers * element
    return list(found.items())


class _Storages:
    """Each once, with the name that it was given first.

    Attributes:
        rows: as those of a piece in ``weighed.json``.
        asked: of the step's inputs, the number of the row and the bytes by their shapes.
        older: the turns whose backward goes through what was there before the step.
    """

    def __init__(self, begins: list[int], layers: list[int]) -> None:
        """``begins``: the nodes of autograd from which on those of another layer come."""
        self.rows: list[list[int]] = []
        self.asked: list[tuple[int, int]] = []
        self.older: list[int] = []
        self._begins = begins
        self._layers = layers
        self._there: dict[int, int] = {}
        self._made_before: dict[int, int] = {}

    def see(self, batch: Mapping[str, Any]) -> None:
        """Storages that were noted together."""
        category, t, keys = batch["category"], batch["t"], batch["key"]
        nothing, never = [-1] * len(keys), [_NEVER] * len(keys)
        zeros = [0] * len(keys)
        for key, size, layer, sequence, died, mapped, device, asked, before in zip(
            keys,
            batch["size"],
            batch.get("layer", nothing),
            batch.get("sequence", nothing),
            batch.get("died", never),
            batch.get("mapped", zeros),
            batch.get("device", zeros),
            batch.get("asked", zeros),
            batch.get("before", zeros),
            strict=True,
        ):
            if category == _ACTIVATION:
                layer = self._layer_of(sequence, batch["turn"])
            place = self._there.get(key)
            known = None if place is None else self.rows[place]
            if known is not None and known[_DIED] > t:
                if sequence >= 0:
                    self._is_saved(known, place or 0, layer, sequence)
                continue
            if not size:
                continue
            self._there[key] = place = len(self.rows)
            self.rows.append([size, device, category, layer, sequence, t, died, mapped])
            if category == _INPUT:
                self.asked.append((place, asked))
                self._made_before[place] = before

    def _layer_of(self, sequence: int, turn: int) -> int:
        place = bisect_right(self._begins, sequence) - 1
        if place >= 0:
            return self._layers[place]
        if turn not in self.older:
            self.older.append(turn)
        return OLDER

    def _is_saved(self, row: list[int], place: int, layer: int, sequence: int) -> None:
        if row[_CATEGORY] == _INPUT and sequence < self._made_before.get(place, 0):
            row[_CATEGORY], row[_SEQUENCE], row[_LAYER] = _ACTIVATION, sequence, layer
        elif row[_CATEGORY] == _ACTIVATION and sequence < row[_SEQUENCE]:
            row[_SEQUENCE], row[_LAYER] = sequence, layer
