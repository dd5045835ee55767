"""The ordinary loop: batches, forward, loss, backward, the optimizer's step, zero_grad."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from timeline.errors import UsageError
from timeline.theory.optimizers import by_rule, can_be_followed, stepping
from timeline.theory.step import PRECISIONS
from timeline.theory.storages import tensors_in
from timeline.theory.tape import Amount, Storage
from timeline.theory.taping import Taping

ZERO_GRAD = ("before_forward", "before_backward", "after_step", "never")


@dataclass(frozen=True, slots=True)
class Loop:
    """The shape of a training loop, or of one of inference.

    Attributes:
        train: False runs forward alone, under ``no_grad``.
        steps: how many are followed; the last one is what later ones are like.
        zero_grad: where it stands, one of `ZERO_GRAD`.
        set_to_none: what it does to gradients.
        accumulate: micro-steps, each with a batch and a backward, for one step of the optimizer.
        hold_outputs: outputs and loss stay bound to their names until the next step gives others,
            as in a plain loop; else they are deleted at the step's end.
        precision: ``fp32``, or ``bf16`` or ``fp16`` for autocast around forward and loss.
    """

    train: bool = True
    steps: int = 2
    zero_grad: str = "before_forward"
    set_to_none: bool = True
    accumulate: int = 1
    hold_outputs: bool = True
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if self.zero_grad not in ZERO_GRAD:
            raise UsageError(
                f"zero_grad stands at {self.zero_grad!r}: use one of {', '.join(ZERO_GRAD)}"
            )
        if self.precision not in PRECISIONS:
            raise UsageError(
                f"the precision {self.precision!r} is not known: use one of {', '.join(PRECISIONS)}"
            )
        for name, value in (("steps", self.steps), ("accumulate", self.accumulate)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UsageError(f"{name}={value!r} cannot be: give a whole number from 1 on")


Batch = tuple[list[Any], dict[str, Any]]


def move(taping: Taping, model: torch.nn.Module) -> None:
    """The model comes to the device, as ``model.to("cuda")`` brings it.

    Modules inside come first, and each brings its parameters, then its buffers
    (torch/nn/modules/module.py, ``_apply``).
    """
    for child in model.children():
        move(taping, child)
    parameters = [each for each in model._parameters.values() if each is not None]
    taping.is_("parameter", parameters)
    taping.is_("gradient", (each.grad for each in parameters if each.grad is not None))
    taping.is_("buffer", (each for each in model._buffers.values() if each is not None))


def train(
    taping: Taping,
    model: Callable[..., Any],
    parameters: Sequence[torch.nn.Parameter],
    optimizer: torch.optim.Optimizer | None,
    batch: Callable[[], Batch],
    loss: Callable[[Any], torch.Tensor],
    loop: Loop,
) -> None:
    """Follow the loop; the model is on the device already.

    Args:
        model: what is called in forward.
        parameters: whose gradients ``zero_grad`` takes.
        optimizer: None ends a step after backward.
        batch: makes what the model is called with, anew for each micro-step.
        loss: from what the model returned, the scalar that backward starts from.
    """
    cast = PRECISIONS[loop.precision]
    parameters = [p for p in parameters if p.requires_grad]

    def autocast() -> Any:
        return torch.autocast("cpu", dtype=cast) if cast else nullcontext()

    def zero_grad() -> None:
        for each in parameters:
            if loop.set_to_none or each.grad is None:
                each.grad = None
            else:
                each.grad.zero_()

    args: Any = ()
    kwargs: Any = {}
    outputs = total = None
    for _ in range(loop.steps):
        taping.step()
        for micro in range(loop.accumulate):
            taping.begin("data")
            first, last = micro == 0, micro == loop.accumulate - 1
            if loop.train and first and loop.zero_grad == "before_forward":
                zero_grad()
            args, kwargs = batch()
            taping.is_("input", tensors_in((args, kwargs)))
            taping.begin("step/forward" if loop.train else "inference")
            if not loop.train:
                with torch.no_grad(), autocast():
                    outputs = model(*args, **kwargs)
                continue
            with taping.saving(), autocast():
                outputs = model(*args, **kwargs)
                taping.begin("step/loss")
                total = loss(outputs)
                if loop.accumulate > 1:
                    total = total / loop.accumulate
            if first and loop.zero_grad == "before_backward":
                zero_grad()
            taping.begin("step/backward")
            total.backward()
            taping.is_("gradient", (p.grad for p in parameters if p.grad is not None))
            if last and optimizer is not None:
                taping.begin("step/optimizer")
                step_of(taping, optimizer)
            if last and loop.zero_grad == "after_step":
                zero_grad()
        if not loop.hold_outputs:
            outputs = total = None
    taping.end()  # what goes as this function returns is no part of the last step


SPARSE = (
    "what a step holds on its way with sparse gradients: their sorting and summing (coalesce), and "
    "an optimizer's copies of as many rows"
)


def keep_by_rule(taping: Taping, optimizer: torch.optim.Optimizer, *, host: bool = False) -> None:
    """What an optimizer keeps whose step goes where values send it: all of it, from its first step.

    Args:
        host: its parameters are in the host's memory.
    """
    if not taping.once(f"state of {id(optimizer)}"):
        return
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    vector = sum(each.numel() * each.element_size() for each in parameters if each.requires_grad)
    for _ in range(by_rule(optimizer) // vector if vector else 0):
        amount = Amount.exactly(vector)
        state = Storage(amount, "", taping.phase_now, category="optimizer_state", host=host)
        taping.tape.add(state)
    taping.tape.not_counted.setdefault(
        f"what a step of {type(optimizer).__name__} needs on its way, which depends on values: it "
        "is taken to have all of its history from its first step on"
    )


def step_of(taping: Taping, optimizer: torch.optim.Optimizer) -> None:
    """One step of an optimizer, and what it keeps then.

    Unless it is capturable or fused, the counter of steps is a tensor of the host, also where the
    parameters are on the GPU (torch/optim/adam.py, ``_init_group``).
    """
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    if any(p.grad is not None and p.grad.layout is not torch.strided for p in parameters):
        taping.tape.not_counted.setdefault(SPARSE)
    if not can_be_followed(optimizer):
        keep_by_rule(taping, optimizer)
        return
    with stepping():
        optimizer.step()
    for group in optimizer.param_groups:
        on_device = bool(group.get("capturable") or group.get("fused"))
        for each in group["params"]:
            for name, value in optimizer.state.get(each, {}).items():
                if not isinstance(value, torch.Tensor):
                    continue
                if name == "step" and not on_device:
                    taping.on_host([value])
                else:
                    taping.is_("optimizer_state", [value])
