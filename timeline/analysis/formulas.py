"""What should be held while a step runs, by the formulas of its layers.

Of each call of a layer a recording keeps what it was given, and what made that. By the formulas
(`timeline.theory.layers`) follows what should be saved for backward, each storage once. What is
held beside that is followed along the chain of calls: in forward a layer's input and output, in
backward their gradients and those of parameters. Measured is only how far the step had come, and
which gradients stood by then: a program may set them to None or gather them over micro-steps.

What stands outside of layers, such as attention that is a function, has no formula; neither has a
layer under autocast or in a checkpoint. Of such a call only the gradients of its parameters follow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from types import SimpleNamespace

from timeline.recording.anatomy import Anatomy, LayerCall
from timeline.theory.layers import Formula, formula_of

_ONE_MORE = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d")
"""Their backward makes one more tensor as large as the input, where that and the gradient are
contiguous (aten/src/ATen/native/Normalization.cpp)."""

Key = tuple[str, int]
"""Of a storage: where it is known from, and its number."""


@dataclass(frozen=True, slots=True)
class Held:
    """What should be held at one moment, in bytes.

    Attributes:
        activation: saved for backward.
        gradient: of parameters.
        temporary: what the layer under way is given and returns, or the gradients of these and of
            its parameters.
    """

    activation: int
    gradient: int
    temporary: int

    def total(self) -> int:
        """All of these."""
        return self.activation + self.gradient + self.temporary


@dataclass(frozen=True, slots=True)
class _Step:
    """One call by its formula: sizes of what it is given and returns, and what it saves.

    ``through``: this turn's backward goes through it; ``kept``: a later one will, too.
    """

    call: int
    through: bool
    kept: bool
    layer: int
    given: Key | None
    given_bytes: int
    returned: Key
    returned_bytes: int
    saved: tuple[tuple[Key, int], ...]


class Turn:
    """The calls of layers between two backwards, and those before whose backward is yet to come.

    What no backward of the step goes through is none of these: whether it is kept nobody knows.

    Attributes:
        known: whether any of them has a formula.
        counted: how many of the turn's own have one.
        without: the kinds of its own that have none, with how many calls.
        cast, packed: of these, how many were called under autocast, and how many where what is
            saved is packed.
        unknown: the numbers of all calls that have none.
    """

    def __init__(self, weighed: Anatomy, turn: int) -> None:
        self._weighed = weighed
        self.counted = 0
        self.without: Counter[str] = Counter()
        self.cast = self.packed = 0
        self.unknown: set[int] = set()
        self._steps = list(self._followed(turn))
        self.known = any(step.call not in self.unknown for step in self._steps)

    def tells_gradients(self, past: int) -> bool:
        """Whether it is known which parameters have one once backward has come to a call.

        Of a layer that was called in a way of its own nobody knows which of its are trained.
        """
        calls = self._weighed.calls
        passed = [step.call for step in self._steps if step.through and step.call > past]
        return bool(self._steps) and not any(
            self._parameter(calls[each].layer)
            and not (calls[each].plain or calls[each].cast or calls[each].packed)
            for each in passed
        )

    def forward(self, reached: int) -> Held:
        """While a call is under way.

        Args:
            reached: its number in the step. What is beside it may be a call without a formula.
        """
        saved: set[Key] = set()
        total = loose = 0
        for step in self._steps:
            if step.call > reached:
                break
            for key, size in step.saved:
                if key not in saved:
                    saved.add(key)
                    total += size
            beside = {step.given: step.given_bytes, step.returned: step.returned_bytes}
            loose = sum(
                size for key, size in beside.items() if key is not None and key not in saved
            )
        return Held(total, 0, loose)

    def backward(self, reached: int, stood: Mapping[int, int]) -> Held:
        """While the backward of a call is under way.

        Args:
            reached: the number of the call in the step.
            stood: by layer, the bytes of its gradients that were there before.
        """
        held: set[Key] = set()
        left = loose = 0
        done: set[int] = set()
        waiting: set[int] = set()
        under: int | None = None
        for step in self._steps:
            gone = step.through and step.call > reached
            if gone:
                done.add(step.layer)
            if not gone or step.kept:
                for key, size in step.saved:
                    if key not in held:
                        held.add(key)
                        left += size
            if gone or not step.through:
                continue
            waiting.add(step.layer)
            under = step.layer
            # The gradients of what it returned and, unless it is an input, of what it was given.
            loose = step.returned_bytes + (step.given_bytes if step.given is not None else 0)
            if self._weighed.layers[step.layer].kind in _ONE_MORE:
                loose += step.given_bytes
        # Of a layer that was called several times the gradients are summed before they are in
        # ``.grad``; and the one that is being made stands beside those.
        loose += sum(map(self._parameter, done & waiting))
        if under is not None:
            loose += self._parameter(under)
        there = {**stood, **{layer: self._parameter(layer) for layer in done - waiting}}
        return Held(left, sum(there.values()), loose)

    def _parameter(self, layer: int) -> int:
        return self._weighed.layers[layer].parameter

    def by_layer(self) -> dict[int, int]:
        """What each layer is the first to save, in bytes."""
        found: dict[int, int] = {}
        seen: set[Key] = set()
        for step in self._steps:
            for key, size in step.saved:
                if key not in seen:
                    seen.add(key)
                    found[step.layer] = found.get(step.layer, 0) + size
        return found

    def _followed(self, turn: int) -> Iterable[_Step]:
        weighed = self._weighed
        given: list[Key | None] = []
        returned: list[Key] = []
        sizes: list[int | None] = []
        for i, call in enumerate(weighed.calls):
            told = self._formula(call)
            source, size = self._source(call, given, returned, sizes)
            in_place = told is not None and told.in_place and source is not None
            result: Key = source if in_place and source is not None else ("returned", i)
            made = prod(told.output) * call.element if told is not None else None
            given.append(source)
            returned.append(result)
            sizes.append(made)
            turns = call.turns
            if not turns or not call.turn <= turn <= turns[-1]:
                continue
            through, kept = turn in turns, turn != turns[-1]
            own = call.turn == turn
            if told is None or made is None:
                if call.layer >= len(weighed.layers):
                    continue
                self.without[weighed.layers[call.layer].kind] += own
                self.cast += own and call.cast
                self.packed += own and call.packed
                self.unknown.add(i)
                yield _Step(i, through, kept, call.layer, None, 0, ("returned", i), 0, ())
                continue
            self.counted += own
            saved: list[tuple[Key, int]] = []
            if told.saves_input and source is not None:
                saved.append((source, size))
            if told.saves_output:
                saved.append((result, made))
            if told.more:
                saved.append((("more", i), told.more))
            yield _Step(i, through, kept, call.layer, source, size, result, made, tuple(saved))

    def _formula(self, call: LayerCall) -> Formula | None:
        if not call.plain or call.layer >= len(self._weighed.layers):
            return None
        settings = self._weighed.settings.get(call.layer, {})
        named = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in settings.items()
        }
        kind = self._weighed.layers[call.layer].kind
        return formula_of(kind, SimpleNamespace(**named), call.shape, call.element)

    def _source(
        self,
        call: LayerCall,
        given: list[Key | None],
        returned: list[Key],
        sizes: list[int | None],
    ) -> tuple[Key | None, int]:
        """Which storage a call was given, and its bytes; None for one that stands anyway."""
        if call.storage < 0:
            return None, call.bytes
        if call.maker < 0:
            return ("seen", call.storage), call.bytes
        # What returned its own input, as a view does, made no storage.
        if self._weighed.calls[call.maker].storage == call.storage:
            return given[call.maker], call.bytes
        size = sizes[call.maker]
        return returned[call.maker], call.bytes if size is None else size
