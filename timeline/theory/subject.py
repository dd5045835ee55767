"""A model as theory looks at it: its layers with their own tensors, and how to know of a call."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from timeline.theory.likeness import likeness

if TYPE_CHECKING:
    from timeline.theory.tracing import Watch


@dataclass(frozen=True, slots=True)
class Part:
    """One layer, with the tensors that are its own and not those of layers inside it."""

    name: str
    kind: str
    parameters: Mapping[str, torch.nn.Parameter]
    buffers: Sequence[torch.Tensor]


@dataclass(frozen=True, slots=True)
class Subject:
    """A model with fake tensors, which nobody else has.

    Attributes:
        title: the name of its class.
        call: runs it.
        parts: its layers, each once.
        watched: a context in which calls of its layers are told to a `Watch`.
        optimizer: the user's, with the fake tensors.
    """

    title: str
    call: Callable[..., Any]
    parts: Sequence[Part]
    watched: Callable[[Watch], AbstractContextManager[None]]
    optimizer: torch.optim.Optimizer | None = None

    def parameters(self) -> list[torch.nn.Parameter]:
        """Each parameter once."""
        return list({id(p): p for part in self.parts for p in part.parameters.values()}.values())

    def floating(self) -> torch.dtype:
        """The dtype of an input that names none: that of the first floating tensor."""
        for part in self.parts:
            for each in (*part.parameters.values(), *part.buffers):
                if each.dtype.is_floating_point:
                    return each.dtype
        return torch.get_default_dtype()


@contextmanager
def open_subject(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer | None,
    mode: Any,
    *,
    cast: torch.dtype | None,
    train: bool,
) -> Iterator[Subject]:
    """A model made ready to be looked at.

    Args:
        model: it stays as it is.
        optimizer: of its parameters, or None.
        mode: of the fake tensors.
        cast: the dtype that the model is cast to.
        train: whether it is to be trained; what of it the user has put into evaluation stays.

    Raises:
        BreakdownError: it cannot be copied, or has parameters without a shape.
    """
    keras = sys.modules.get("keras")
    if keras is not None and isinstance(model, keras.Layer):
        from timeline.theory.keras_models import open_keras

        with open_keras(model, optimizer, mode, cast=cast, train=train) as subject:
            yield subject
        return
    copy, copied = likeness(model, optimizer, mode, cast)
    if not train:
        copy.eval()
    elif not copy.training:
        copy.train()
    names = {module: name for name, module in copy.named_modules()}
    yield Subject(
        title=type(model).__name__,
        call=copy,
        parts=[_part(name, module) for module, name in names.items()],
        watched=lambda watch: _hooked(watch, names),
        optimizer=copied,
    )


def _part(name: str, module: torch.nn.Module) -> Part:
    return Part(
        name,
        type(module).__name__,
        {short: each for short, each in module._parameters.items() if each is not None},
        [each for each in module._buffers.values() if each is not None],
    )


@contextmanager
def _hooked(watch: Watch, names: Mapping[torch.nn.Module, str]) -> Iterator[None]:
    def enter(module: torch.nn.Module, args: object) -> None:
        if module in names:
            watch.enter(names[module])

    def leave(module: torch.nn.Module, args: object, output: object) -> None:
        if module in names:
            watch.leave(names[module], output)

    hooks = torch.nn.modules.module
    handles = (
        hooks.register_module_forward_pre_hook(enter),
        hooks.register_module_forward_hook(leave),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
