"""What Keras models and optimizers have, on Keras's torch backend; and what torch's have.

A Keras layer is a module of torch that keeps its variables in lists of its own. Its `_modules` has
a part of the layers inside alone: none that is in a list, and of a Sequential its stand-in. What a
model calls its parameters, trained or not, are here what Keras counts as such.
"""

from __future__ import annotations

import sys
from typing import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_LAZY = ("UninitializedParameter", "UninitializedBuffer")
"""Of torch.nn.parameter: to ask one of these for anything of memory raises."""

_SWITCHES = ("amsgrad", "centered", "nesterov", "momentum", "use_ema", "weight_decay")
"""Of Keras's optimizers, the attributes that say how much state there is."""


def is_keras(module: Any) -> bool:
    """Whether a module is a layer or a model of Keras. Keras is not imported for it."""
    kind = _of_keras("keras.src.layers.layer", "Layer")
    return isinstance(kind, type) and isinstance(module, kind)


def parameters_of(module: Any) -> list[tuple[str, Any]]:
    """A module's own parameters by name, without those of modules inside; None for one not made."""
    if not is_keras(module):
        found = module.__dict__.get("_parameters")
        return [(name, _made(each)) for name, each in found.items()] if found else []
    own = module.__dict__
    variables = (own.get("_trainable_variables") or [], own.get("_non_trainable_variables") or [])
    # A layer around a module of torch has that one's parameters as variables, too.
    inner = {
        id(parameter)
        for _, each in inside(module)
        if not is_keras(each)
        for _, one in modules_in(each)
        for parameter in (one.__dict__.get("_parameters") or {}).values()
    }
    named = [(each.name, each._value) for those in variables for each in those]
    return [(name, value) for name, value in named if id(value) not in inner]


def buffers_of(module: Any) -> list[Any]:
    """A module's own buffers; of a Keras layer the states of its random numbers."""
    own = module.__dict__
    keeps = own.get("_buffers")
    found = list(keeps.values()) if keeps else []
    if is_keras(module):
        found += [each.state._value for each in own.get("_seed_generators") or ()]
    return [each for each in found if _made(each) is not None]


def inside(module: Any) -> list[tuple[str, Any]]:
    """The modules right inside one, by name.

    By the lists that nn.Module and Keras keep: a class may replace named_modules by its own.
    """
    own = module.__dict__
    within = own.get("_modules")
    # Most modules have none inside.
    found = (
        [(str(name), each) for name, each in within.items() if each is not None] if within else []
    )
    if not is_keras(module):
        return found
    layers = [(str(each.name), each) for each in own.get("_layers") or ()]
    return layers + [
        (name, each) for name, each in found if name != "_torch_params" and not is_keras(each)
    ]


def modules_in(root: Any) -> Iterator[tuple[str, Any]]:
    """A module and those inside it, by qualified name, each once."""
    seen: set[int] = set()
    waiting = [("", root)]
    while waiting:
        name, module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        yield name, module
        found = inside(module)
        if found:
            waiting += [
                (f"{name}.{short}" if name else short, each) for short, each in reversed(found)
            ]


def stands_in(model: Any, models: list[Any]) -> bool:
    """Whether a model is what a Sequential of Keras makes to be called in its place."""
    return is_keras(model) and any(
        each.__dict__.get("_functional") is model for each in models if is_keras(each)
    )


def is_symbolic(args: Any, kwargs: Any) -> bool:
    """Whether a Keras layer is called without numbers, as where a functional model is made."""
    asked = _of_keras("keras.src.backend.common.keras_tensor", "any_symbolic_tensors")
    try:
        return asked is not None and bool(asked(args, kwargs))
    except Exception:  # it looks into what the program gives
        return False


def groups_of(optimizer: Any) -> list[dict[str, Any]]:
    """The groups of parameters that an optimizer steps, each with its options."""
    groups = getattr(optimizer, "param_groups", None)
    if groups is not None or not _is_optimizer(optimizer):
        return [
            {**each, "params": [one for one in each["params"] if _made(one) is not None]}
            if any(kind.__name__ in _LAZY for kind in set(map(type, each["params"])))
            else each
            for each in groups or ()
        ]
    group: dict[str, Any] = {
        name: bool(getattr(optimizer, name, False) or False) for name in _SWITCHES
    }
    group["accumulates"] = bool(getattr(optimizer, "gradient_accumulation_steps", None))
    rate = getattr(optimizer, "_learning_rate", None)
    group["schedules"] = rate is not None and not _is_there(rate)  # which is no variable then
    # There are none before its first step.
    group["params"] = [
        each._value for each in getattr(optimizer, "_trainable_variables", ()) if _is_there(each)
    ]
    return [group]


def states_of(optimizer: Any) -> list[Any]:
    """What an optimizer keeps: a value for each of its parameters, with tensors in it."""
    if not _is_optimizer(optimizer):
        return list(optimizer.state.values())
    return [each._value for each in list(optimizer.variables) if _is_there(each)]


def name_of(optimizer: Any) -> str:
    """An optimizer's class; those of Keras are not those of torch of the same name."""
    name = type(optimizer).__name__
    return f"keras.{name}" if _is_optimizer(optimizer) else name


def _is_optimizer(optimizer: Any) -> bool:
    kind = _of_keras("keras.src.optimizers.base_optimizer", "BaseOptimizer")
    return isinstance(kind, type) and isinstance(optimizer, kind)


def _of_keras(home: str, name: str) -> Any:
    """What a module of Keras has by that name; None as long as it has not, as while it is imported
    by another thread."""
    return getattr(sys.modules.get(home), name, None)


def _made(value: Any) -> Any:
    """A parameter or buffer; None for a lazy layer's before its first call, which has nothing."""
    return None if type(value).__name__ in _LAZY else value


def _is_there(variable: Any) -> bool:
    return getattr(variable, "_value", None) is not None
