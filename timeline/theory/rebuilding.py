"""The same model with another choice made: checkpointing of its blocks, another attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from timeline.errors import UsageError
from timeline.theory.job import model_in


def rebuilt(
    make: Callable[[], Any], *, checkpointing: bool = False, attention: str | None = None
) -> Callable[[], Any]:
    """A function that makes the model with these choices.

    Args:
        make: makes it, or a whole job; or the model itself.
        checkpointing: whether its blocks are computed again in backward.
        attention: ``sdpa`` or ``eager``, of a model of transformers.

    Raises:
        UsageError: when it is made: it has no blocks, or no choice of attention.
    """
    if not checkpointing and attention is None:
        return make

    def whole_of_model() -> Any:
        return make

    factory = whole_of_model if isinstance(make, torch.nn.Module) else make

    @wraps(factory)  # with its parameters: one of them may be the batch
    def made(**options: Any) -> Any:
        whole = factory(**options)
        model = model_in(whole)
        if attention is not None:
            _attend(model, attention)
        if checkpointing:
            _checkpoint(model)
        return whole

    return made


def _attend(model: Any, kind: str) -> None:
    choose = getattr(model, "set_attn_implementation", None)
    if choose is None:
        raise UsageError(
            f"{type(model).__name__} has no choice of attention: compare it for a model of "
            "transformers"
        )
    choose(kind)


def _checkpoint(model: Any) -> None:
    own = getattr(model, "gradient_checkpointing_enable", None)
    if own is not None:
        own({"use_reentrant": False})
        return
    found = list(_blocks(model))
    if not found:
        raise UsageError(
            f"{type(model).__name__} has no repeated blocks that could be checkpointed"
        )
    for block in found:
        block.__class__ = _again(type(block))


def _again(kind: type[Any]) -> type[Any]:
    """The class with a forward that is computed again; a copy of a module keeps its class."""

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        own = kind.forward.__get__(self)
        if not torch.is_grad_enabled():
            return own(*args, **kwargs)
        return checkpoint(own, *args, use_reentrant=False, **kwargs)

    return type(kind.__name__, (kind,), {"forward": forward})


def _blocks(module: Any) -> Iterator[Any]:
    """The outermost modules that a list or sequence has several of, and that hold others."""
    for child in module.children():
        kinds: dict[type, list[Any]] = {}
        if isinstance(child, torch.nn.ModuleList | torch.nn.Sequential):
            for each in child:
                if any(True for _ in each.children()):
                    kinds.setdefault(type(each), []).append(each)
        repeated = [each for alike in kinds.values() if len(alike) > 1 for each in alike]
        if repeated:
            yield from repeated
        else:
            yield from _blocks(child)
