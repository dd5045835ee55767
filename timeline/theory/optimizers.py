"""Optimizers by name, class or function, and what they keep for each parameter."""

from __future__ import annotations

import ast
import inspect
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from timeline.errors import BreakdownError, UsageError
from timeline.theory.failing import LEFT, why
from timeline.theory.storages import Ledger, tensors_in

Chosen = str | type[Any] | Callable[[Iterable[torch.nn.Parameter]], Any]
"""``"adam,lr=0.001"``, a class of torch.optim, or a function that makes one of parameters."""


def known() -> dict[str, type[torch.optim.Optimizer]]:
    """By name in small letters, the optimizers of torch.optim."""
    return {
        name.lower(): each
        for name, each in vars(torch.optim).items()
        if isinstance(each, type)
        and issubclass(each, torch.optim.Optimizer)
        and each is not torch.optim.Optimizer
    }


def make(chosen: Chosen, parameters: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """An optimizer of these parameters.

    Raises:
        UsageError: there is none of that name, or it does not take these options or parameters.
    """
    factory: Callable[..., Any]
    options: dict[str, object] = {}
    if isinstance(chosen, str):
        factory, options = parse(chosen)
    else:
        factory = chosen
    try:
        made = factory(parameters, **options)
    except LEFT as error:
        named = chosen if isinstance(chosen, str) else getattr(chosen, "__name__", repr(chosen))
        raise UsageError(f"the optimizer {named} cannot be made: {why(error)}") from error
    if not isinstance(made, torch.optim.Optimizer):
        raise UsageError(
            f"the optimizer is a {type(made).__name__}: give a torch.optim.Optimizer, its class "
            "or its name"
        )
    return made


def parse(text: str) -> tuple[type[torch.optim.Optimizer], dict[str, object]]:
    """The class and options in a text such as ``sgd,momentum=0.9,foreach=false``.

    Raises:
        UsageError: there is no such optimizer, or an option is no ``name=value`` or its value of
            another kind than its default.
    """
    name, *rest = text.split(",")
    found = known().get(name.strip().lower())
    if found is None:
        raise UsageError(
            f"there is no optimizer {name!r} in torch.optim: use one of "
            f"{', '.join(sorted(known()))}"
        )
    options: dict[str, object] = {}
    taken = inspect.signature(found).parameters
    for each in rest:
        key, equals, value = each.partition("=")
        if not equals or not key.strip().isidentifier():
            raise UsageError(f"{each!r} is no option of an optimizer: write name=value")
        key, value = key.strip(), value.strip()
        options[key] = _value(value)
        if key in taken:
            _check(key, value, options[key], taken[key].default)
    if found is torch.optim.SGD:
        options.setdefault("lr", 1e-3)  # before torch 2.2 it had no default
    return found, options


def _check(key: str, text: str, value: object, default: object) -> None:
    """torch compares a number with whatever it is given, and takes any text for true."""
    wanted = ""
    if isinstance(default, bool):
        wanted = "" if isinstance(value, bool) else "true or false"
    elif isinstance(default, int | float):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        wanted = "" if is_number else "a number"
    if wanted:
        raise UsageError(f"the optimizer's option {key} takes {wanted}, and not {text!r}")


def _value(text: str) -> object:
    named = {"true": True, "false": False, "none": None}
    if text.lower() in named:
        return named[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def can_be_followed(optimizer: torch.optim.Optimizer) -> bool:
    """Whether its step needs no values; else a rule says what it keeps."""
    return type(optimizer) is not torch.optim.LBFGS


def has_rule(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a rule says what it keeps, of parameters alone."""
    return type(optimizer) in _RULES


def by_rule(optimizer: torch.optim.Optimizer) -> int:
    """The bytes that an optimizer with a rule keeps when it has run for long."""
    parameters = [p for g in optimizer.param_groups for p in g["params"] if p.requires_grad]
    return _RULES[type(optimizer)](optimizer, parameters)


def _lbfgs(optimizer: torch.optim.Optimizer, parameters: Sequence[torch.Tensor]) -> int:
    # d, prev_flat_grad, and a full history of old_dirs and old_stps, each one flat vector of all
    # parameters (torch/optim/lbfgs.py); ro and H_diag are one number each, al is of numbers, too.
    flat: int = sum(p.numel() for p in parameters) * parameters[0].element_size()
    history = int(optimizer.param_groups[0]["history_size"])
    return flat * (2 + 2 * history)


def _sparse_adam(optimizer: torch.optim.Optimizer, parameters: Sequence[torch.Tensor]) -> int:
    # exp_avg and exp_avg_sq as large as the parameter, though its gradient is sparse
    # (torch/optim/sparse_adam.py); the step is a Python number.
    moment: int = sum(p.numel() * p.element_size() for p in parameters)
    return 2 * moment


_RULES: dict[type, Callable[[Any, Sequence[torch.Tensor]], int]] = {
    torch.optim.LBFGS: _lbfgs,
    torch.optim.SparseAdam: _sparse_adam,
}


class any_value(TorchDispatchMode):  # type: ignore[misc]
    """While open, a fake tensor that is asked for a value that it does not know says 1.

    The step of some optimizers asks for norms, to compute with, never for a size.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        asked = func is torch.ops.aten._local_scalar_dense.default
        if asked and getattr(args[0], "constant", None) is None:
            return 1.0 if args[0].dtype.is_floating_point else 1
        return func(*args, **(kwargs or {}))


_DEVICES = "_get_capturable_supported_devices"
"""What torch.optim's modules ask for the devices that may have `capturable` parameters."""

_OF_TORCH = "torch.optim."
_LIFTED = threading.RLock()


@contextmanager
def stepping() -> Iterator[None]:
    """While open, a step on fake tensors is followed that needs values, or a GPU.

    The fake tensors are of the CPU, and with ``capturable=True`` torch refuses that one, though
    the operators are the same: it is a safeguard for CUDA graphs. It is lifted for as long, by one
    thread at a time: each puts back what it found.
    """
    with _LIFTED:
        modules = [each for name, each in list(sys.modules.items()) if name.startswith(_OF_TORCH)]
        kept = {each: getattr(each, _DEVICES) for each in modules if hasattr(each, _DEVICES)}

        def here(*args: Any, **kwargs: Any) -> list[str]:
            return ["cpu", "cuda"]

        for each in kept:
            setattr(each, _DEVICES, here)
        try:
            with any_value():
                yield
        finally:
            for each, function in kept.items():
                setattr(each, _DEVICES, function)


def state_after_a_step(
    optimizer: torch.optim.Optimizer, parameters: Iterable[torch.nn.Parameter]
) -> int:
    """The bytes of state, by one step on dense gradients; for fake tensors, in their mode.

    Raises:
        BreakdownError: its step asks for values that fake tensors do not have.
    """
    given = []
    for each in parameters:
        if each.requires_grad and each.grad is None:
            each.grad = torch.empty_like(each)
            given.append(each)
    try:
        with stepping():
            optimizer.step()
    except LEFT as error:
        raise BreakdownError(
            f"the state of {type(optimizer).__name__} cannot be told without running it: "
            f"{why(error)}"
        ) from error
    finally:
        for each in given:
            each.grad = None
    return weigh_state(optimizer)


def weigh_state(optimizer: torch.optim.Optimizer) -> int:
    """The bytes of the state that an optimizer has now, by storage, less the parameters'."""
    ledger = Ledger()
    ledger.add(p for group in optimizer.param_groups for p in group["params"])
    return ledger.add(tensors_in(list(optimizer.state.values())))
