"""One training step or one inference on fake tensors, as an ordinary loop would do it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol

import torch

from timeline.errors import BreakdownError, TimelineError, UsageError
from timeline.theory.failing import LEFT, why
from timeline.theory.optimizers import stepping
from timeline.theory.packing import padding
from timeline.theory.storages import tensors_in
from timeline.theory.subject import Subject
from timeline.theory.tracing import Trace, Watch

Loss = Callable[[Any], torch.Tensor]


class Naming(Protocol):
    """Is told what tensors are for."""

    def is_(self, category: str, tensors: Iterable[torch.Tensor]) -> None:
        """Name what tensors are for."""


PRECISIONS = {
    "fp32": None,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
"""By name, what autocast casts to."""


def trace_step(
    subject: Subject,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    optimizer: torch.optim.Optimizer | None = None,
    loss: str | Loss = "sum",
    precision: str = "fp32",
    train: bool = True,
    set_to_none: bool = True,
) -> Trace:
    """Follow one step of a model, in the mode of its fake tensors.

    Args:
        args, kwargs: what the model is called with.
        optimizer: of its parameters; None ends the step after backward.
        loss: ``sum`` of the outputs, ``cross_entropy``, or a function of what the model returns.
        precision: ``bf16`` and ``fp16`` run forward and loss under autocast.
        train: False runs forward alone, without anything saved.
        set_to_none: False has the gradients of the step before stand as zeros from the beginning.

    Raises:
        BreakdownError: the model does not run on these inputs, or not without values.
    """
    watch = Watch()
    # Outside of the mode: these are there before the step begins.
    parameters = subject.parameters()
    watch.is_("parameter", parameters)
    watch.is_("buffer", (each for part in subject.parts for each in part.buffers))
    watch.is_("optimizer_state", tensors_in(list(optimizer.state.values()) if optimizer else ()))
    watch.is_("input", tensors_in((args, kwargs)))
    if train and not set_to_none:
        watch.is_("gradient", _zeros(parameters))
    cast = PRECISIONS[precision]
    autocast = torch.autocast("cpu", dtype=cast) if cast else nullcontext()
    grad = torch.enable_grad() if train else torch.no_grad()
    phase = "forward"
    targets: list[torch.Tensor] = []
    try:
        with watch, grad, _quiet(), padding():
            watch.calibrate()
            watch.begin(phase)
            with watch.saving(), subject.watched(watch), autocast:
                outputs = subject.call(*args, **kwargs)
                total = loss_of(outputs, loss, watch, targets) if train else None
            if total is not None:
                phase = "backward"
                watch.begin(phase)
                total.backward()
                watch.is_("gradient", (p.grad for p in parameters if p.grad is not None))
                if optimizer is not None:
                    phase = "optimizer"
                    watch.begin(phase)
                    with stepping():
                        optimizer.step()
                    watch.is_("optimizer_state", tensors_in(list(optimizer.state.values())))
            return watch.end()
    except TimelineError:
        raise
    except LEFT as error:
        raise BreakdownError(
            f"{phase} of {subject.title} cannot be followed: {why(error)}"
        ) from error


def _zeros(parameters: Sequence[torch.nn.Parameter]) -> Iterator[torch.Tensor]:
    for each in parameters:
        if each.requires_grad:
            each.grad = torch.zeros_like(each)
            yield each.grad


@contextmanager
def _quiet() -> Iterator[None]:
    """torch also logs what it raises: the error's sentence is enough."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def loss_of(
    outputs: Any, loss: str | Loss, watch: Naming, held: list[torch.Tensor] | None = None
) -> torch.Tensor:
    """The scalar that backward starts from.

    What the loss is told to be right is ``held``: a program has it until its step ends.

    Raises:
        BreakdownError: there is no output that a gradient could come from.
    """
    if callable(loss):
        return loss(outputs)
    own = getattr(outputs, "loss", None)
    if isinstance(own, torch.Tensor):
        return own
    tensors = [each for each in tensors_in(outputs) if each.requires_grad]
    if not tensors:
        raise BreakdownError(
            "the model returned no tensor that requires a gradient: unfreeze a parameter, or use "
            "train=False (--inference)"
        )
    if loss == "cross_entropy":
        scores = tensors[0]
        if scores.dim() < 2:
            raise BreakdownError(
                "cross_entropy needs scores of the shape (batch, classes), (batch, tokens, "
                "classes) or (batch, classes, height, width) and the model returned "
                f"{tuple(scores.shape)}: give a function as loss"
            )
        # Of an image each place has a class, and its scores lie as torch's own loss takes them.
        flat = scores if scores.dim() > 3 else scores.flatten(0, -2)
        targets = torch.zeros((flat.shape[0], *flat.shape[2:]), dtype=torch.int64)
        watch.is_("input", [targets])
        if held is not None:
            held.append(targets)
        return torch.nn.functional.cross_entropy(flat, targets)
    if loss != "sum":
        raise UsageError(f"the loss {loss!r} is not known: use sum, cross_entropy or a function")
    total = _sum(tensors[0])
    for each in tensors[1:]:
        total = total + _sum(each)
    return total


def _sum(tensor: torch.Tensor) -> torch.Tensor:
    # Backward begins from a real number: of a complex one its parts are added up, by a view.
    return (torch.view_as_real(tensor) if tensor.is_complex() else tensor).sum()
