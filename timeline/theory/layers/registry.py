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
from typing import TYPE_CHECKING, Any

from timeline.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

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


_RULES: dict[type | str, Rule] = {}

_HOME = "torch.nn.modules."


def rule(*kinds: type | str) -> Callable[[Rule], Rule]:
    """A decorator that registers a formula for classes of layers, the user's own as well.

    Those of torch.nn are registered by their names: so the formulas can be asked without torch.

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
    found = _rule_for(type(layer))
    if found is None:
        raise UsageError(
            f"{type(layer).__name__} has no formula: register one with timeline.theory.layers.rule"
        )
    return found(layer, tuple(shape), element)


def formula_of(kind: str, settings: Any, shape: Sequence[int], element: int = 4) -> Formula | None:
    """The same of a layer of torch.nn that is not at hand; None where it has no formula.

    Args:
        kind: the name of its class.
        settings: has the layer's settings as attributes; a parameter is None where it has none.
        shape, element: as in `formula`.
    """
    found = _RULES.get(kind)
    try:
        return found(settings, tuple(shape), element) if found is not None else None
    except (UsageError, AttributeError, TypeError, ValueError, ArithmeticError, IndexError):
        return None


def _rule_for(kind: type) -> Rule | None:
    found = _RULES.get(kind)
    if found is None and kind.__module__.startswith(_HOME):
        found = _RULES.get(kind.__name__)
    return found


def has_rule(layer: nn.Module) -> bool:
    """Whether the class of a layer has a formula; its settings may still have none."""
    return _rule_for(type(layer)) is not None


def without_rule(model: nn.Module) -> tuple[str, ...]:
    """The classes of a model's innermost layers that have no formula, each once."""
    kinds = {type(each) for each in model.modules() if not any(True for _ in each.children())}
    return tuple(sorted(each.__name__ for each in kinds if _rule_for(each) is None))
