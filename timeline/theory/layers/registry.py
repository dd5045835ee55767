"""Closed formulas of single layers: parameters, output, and what autograd saves of them.

The second way to the same figures, independent of the first: `breakdown` follows operators and
needs no formula; here is the algebra, for one layer and the shape of its input. The tests hold the
two against each other, to the byte, for every kind.

What a layer saves is its input, its output and more of its own. A layer's input is mostly the
output of another one and saved once: which is why the sum over a network needs to know who shares
what, and `breakdown` follows it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from timeline.errors import UsageError

Shape = tuple[int, ...]
Rule = Callable[[Any, Shape, int], "Formula"]
"""Of a layer, the shape of its input and the bytes of one number."""


@dataclass(frozen=True, slots=True)
class Formula:
    """What a layer needs by its formula, in training with all its parameters trained.

    Attributes:
        parameters: how many numbers.
        output: shape of the output.
        saves_input, saves_output: whether autograd saves them.
        more: bytes that it saves beside them and beside parameters and buffers.
        in_place: the output is written over the input, so that both are one storage.
    """

    parameters: int
    output: Shape
    saves_input: bool = False
    saves_output: bool = False
    more: int = 0
    in_place: bool = False


_RULES: dict[type, Rule] = {}


def rule(*kinds: type) -> Callable[[Rule], Rule]:
    """A decorator that registers a formula for classes of layers, the user's own as well.

    Example::

        @rule(MyScale)
        def scale(layer, shape, element):
            return Formula(parameters=1, output=shape, saves_input=True)
    """

    def register(function: Rule) -> Rule:
        for kind in kinds:
            _RULES[kind] = function
        return function

    return register


def formula(layer: nn.Module, shape: Sequence[int], element: int = 4) -> Formula:
    """What a layer needs by its formula.

    Args:
        layer: its settings are read, not its weights; it may be on the meta device.
        shape: of its input, with the batch.
        element: bytes of one number of the input and the parameters.

    Raises:
        UsageError: its class has no formula.
    """
    found = _RULES.get(type(layer))
    if found is None:
        raise UsageError(
            f"{type(layer).__name__} has no formula: register one with timeline.theory.layers.rule"
        )
    return found(layer, tuple(shape), element)


def has_rule(layer: nn.Module) -> bool:
    """Whether the class of a layer has a formula; its settings may still have none."""
    return type(layer) in _RULES


def without_rule(model: nn.Module) -> tuple[str, ...]:
    """The classes of a model's innermost layers that have no formula, each once."""
    kinds = {type(each) for each in model.modules() if not any(True for _ in each.children())}
    return tuple(sorted(each.__name__ for each in kinds if each not in _RULES))
