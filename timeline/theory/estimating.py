"""Puts an `Estimate` together: the model's likeness, the loop, the tape, the allocator."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import torch

from timeline.errors import BreakdownError, TimelineError, UsageError
from timeline.theory import optimizers
from timeline.theory.allocator.settings import Settings
from timeline.theory.apart import apart
from timeline.theory.cuda.cards import card
from timeline.theory.cuda.rules import GROUPS, Platform
from timeline.theory.estimate_types import Estimate
from timeline.theory.failing import LEFT, why
from timeline.theory.following import following
from timeline.theory.inputs import parse_cast
from timeline.theory.job import Job, job_of
from timeline.theory.likeness import fake_mode
from timeline.theory.loop import Loop, move, train
from timeline.theory.packing import padding
from timeline.theory.predicting import predict
from timeline.theory.several import parts_of
from timeline.theory.step import loss_of
from timeline.theory.subject import open_subject
from timeline.theory.tape import Tape
from timeline.theory.taping import Taping
from timeline.units import parse_bytes


@apart()
def assemble(
    model: Any,
    optimizer: Any,
    inputs: Any,
    *,
    batch: int | None,
    dtype: str | None,
    loss: str | Callable[[Any], Any],
    loop: Loop,
    steps: int,
    device: str,
    capacity: int | str | None,
    allocator: str | None,
    torch_version: str | None,
    without: tuple[str, ...],
    ask_cudnn: bool,
    title: str | None,
) -> Estimate:
    """`timeline.estimate`, whose arguments these are, with torch imported."""
    platform = platform_of(device, torch_version, without, ask_cudnn=ask_cudnn)
    settings = Settings.parse(allocator) if allocator else None
    job = job_of(model, optimizer, inputs, batch=batch, loss=loss)
    if job.inputs is None:
        raise UsageError("an estimate needs inputs: give the sizes of one input, such as 3x224x224")
    tape = tape_of(job, dtype=dtype, loop=loop, platform=platform)
    return predict(
        tape,
        title=title or type(job.model).__name__,
        card=platform.card,
        steps=steps,
        settings=settings,
        capacity=parse_bytes(capacity) if isinstance(capacity, str) else capacity,
    )


def platform_of(
    device: str,
    torch_version: str | None = None,
    without: tuple[str, ...] = (),
    *,
    workspaces: bool = True,
    ask_cudnn: bool = False,
) -> Platform:
    """What a program is taken to run on.

    Raises:
        UsageError: there is no such card, group of rules or version.
    """
    version = torch_version or torch.__version__
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None:
        raise UsageError(f"{version!r} is no version of torch: write one such as 2.6")
    from timeline.theory.cuda import kernels  # noqa: F401  for the names of all groups

    for name in without:
        if name not in GROUPS:
            raise UsageError(f"there is no group of rules {name!r}: use one of {', '.join(GROUPS)}")
    return Platform(
        card(device),
        (int(found[1]), int(found[2])),
        frozenset(without),
        workspaces=workspaces,
        ask_cudnn=ask_cudnn,
    )


def tape_of(job: Job, *, dtype: str | None, loop: Loop, platform: Platform) -> Tape:
    """Follow the ordinary loop of a job.

    Raises:
        BreakdownError: it cannot be followed without values.
    """
    model, optimizer = job.model, job.optimizer
    own = optimizer if isinstance(optimizer, torch.optim.Optimizer) else None
    cast = parse_cast(dtype) if dtype else None
    mode = fake_mode()
    with open_subject(model, own, mode, cast=cast, train=loop.train) as subject:
        copy: Any = subject.call
        made = subject.optimizer
        if loop.train and optimizer is not None and own is None:
            with mode:
                made = optimizers.make(optimizer, subject.parameters())
        floating = subject.floating()
        with following(platform, mode) as taping, padding():
            taping.begin("load")
            torchs = isinstance(copy, torch.nn.Module)  # a Keras model is called by a function
            if torchs:
                move(taping, copy)
            else:
                for part in subject.parts:
                    taping.is_("parameter", part.parameters.values())
                    taping.is_("buffer", part.buffers)
            for each in parts_of(made):
                as_on_cuda(each, taping)
            stop = taping.watch(copy) if torchs else lambda: None
            try:
                train(
                    taping,
                    job.calling(copy),
                    subject.parameters(),
                    made if loop.train else None,
                    lambda: job.arguments(floating),
                    lambda outputs: loss_of(outputs, job.loss_of_outputs, taping),
                    loop,
                )
            except TimelineError:
                raise
            except LEFT as error:
                raise BreakdownError(
                    f"{taping.phase_now} of {type(model).__name__} cannot be followed: {why(error)}"
                ) from error
            finally:
                stop()
            return taping.end()


def as_on_cuda(optimizer: torch.optim.Optimizer, taping: Taping) -> None:
    """Let an optimizer choose as it does for parameters on a GPU: ``foreach`` where it may.

    torch/optim/optimizer.py, ``_default_to_fused_or_foreach``: without a choice of the caller,
    foreach is taken where all parameters are on an accelerator. Optimizers that do not ask it, such
    as Adafactor, stay with their loop.
    """
    kinds = (kind for kind in type(optimizer).__mro__ if kind is not torch.optim.Optimizer)
    homes = (sys.modules.get(kind.__module__) for kind in kinds)
    asks = any(hasattr(home, "_default_to_fused_or_foreach") for home in homes)
    if "foreach" in taping.platform.without or not asks:
        return
    for each in optimizer.param_groups:
        free = each.get("foreach", False) is None and not each.get("fused")
        if free and not each.get("differentiable"):
            each["foreach"] = True
            taping.tape.assumptions.setdefault("the optimizer takes foreach, its default on CUDA")
