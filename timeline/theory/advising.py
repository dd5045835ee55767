"""Advice with a figure: what would save memory, found by weighing the step with each change.

No rule of thumb: each change is made to a model without memory and the step is followed again, so
that the figure is of this model, this batch and this optimizer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from timeline.errors import BreakdownError, UsageError
from timeline.theory.breakdown import breakdown, needs_torch
from timeline.theory.types import Advice

if TYPE_CHECKING:
    from timeline.theory.change import Step


def advice(
    model: Any,
    optimizer: Any = None,
    inputs: Any = None,
    *,
    batch: int | None = None,
    dtype: str | None = None,
    precision: str | None = None,
    train: bool = True,
    loss: str | Callable[[Any], Any] = "sum",
    set_to_none: bool = True,
) -> tuple[Advice, ...]:
    """What would lower the peak of a step, the largest saving first.

    The arguments are those of `timeline.breakdown`; inputs are needed. A change that saves nothing,
    or with which the step cannot be followed, is left out.

    Raises:
        UsageError: an argument cannot be understood, or no inputs were given.
        BreakdownError: the model does not run on the inputs.
        TimelineError: torch is not installed.
    """
    needs_torch()
    import torch

    from timeline.theory.apart import apart
    from timeline.theory.change import Step
    from timeline.theory.job import job_of
    from timeline.theory.likeness import fake_mode, likeness
    from timeline.theory.several import parts_of

    with apart():
        job = job_of(model, optimizer, inputs, batch=batch, loss=loss)
        if job.inputs is None:
            raise UsageError("advice is about the peak of a step: give inputs")
        if job.step is not None:
            raise UsageError(
                "advice changes an ordinary step: give the model and its loss, no step"
            )
        if len(parts_of(job.optimizer)) > 1:
            raise UsageError("advice tries other optimizers: give one, or none, and not several")
        # The model of a function is nobody else's; of any other a likeness may be changed.
        given = isinstance(model, torch.nn.Module)
        step = Step(
            likeness(model, None, fake_mode())[0] if given else job.model,
            _again(job.optimizer) if train else None,
            job.inputs,
            job.batch,
            dtype,
            precision or "fp32",
            train,
            job.loss,
            set_to_none,
        )
        return advise(step, peak_of)


def advise(step: Step, weigh: Callable[[Step], int]) -> tuple[Advice, ...]:
    """What would lower what `weigh` says of a step, the largest saving first.

    Args:
        step: as it is.
        weigh: the bytes of a step's peak; a `BreakdownError` leaves a change out.
    """
    from timeline.theory.changes import changes

    now = weigh(step)
    best: dict[tuple[str, str], Advice] = {}
    for change in changes(step):
        try:
            with change.open():
                then = weigh(change.step)
        except BreakdownError:
            continue
        if then >= now:
            continue
        told = Advice(change.kind, change.what, change.costs, now - then, then, change.layers)
        # Of the ways to do the same with layers, the one that saves most.
        key = (change.kind, "" if change.layers else change.what)
        if key not in best or best[key].saves < told.saves:
            best[key] = told
    return tuple(sorted(best.values(), key=lambda each: -each.saves))


def peak_of(step: Step) -> int:
    """The peak of a step by theory."""
    told = breakdown(
        step.model,
        step.optimizer,
        step.inputs,
        batch=step.batch,
        dtype=step.dtype,
        precision=step.precision,
        train=step.train,
        loss=step.loss,
        set_to_none=step.set_to_none,
    )
    assert told.peak is not None  # there are inputs
    return told.peak.bytes


def _again(optimizer: Any) -> Any:
    """What makes an optimizer like this one for other parameters."""
    import torch

    if not isinstance(optimizer, torch.optim.Optimizer):
        return optimizer
    from functools import partial
    from inspect import signature

    kind: Any = type(optimizer)
    taken = signature(kind).parameters
    options = {key: value for key, value in optimizer.defaults.items() if key in taken}
    return partial(kind, **options)
