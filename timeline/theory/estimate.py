"""What a training run would need on a GPU, without a GPU and without running it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from timeline.theory.breakdown import needs_torch
from timeline.theory.estimate_types import Estimate

if TYPE_CHECKING:
    import torch


def estimate(
    model: torch.nn.Module | Callable[[], Any],
    optimizer: Any = None,
    inputs: Any = None,
    *,
    batch: int | None = None,
    dtype: str | None = None,
    precision: str = "fp32",
    device: str = "a100-40gb",
    train: bool = True,
    loss: str | Callable[[Any], Any] = "sum",
    steps: int = 4,
    zero_grad: str = "before_forward",
    set_to_none: bool = True,
    accumulate: int = 1,
    hold_outputs: bool = True,
    capacity: int | str | None = None,
    allocator: str | None = None,
    torch_version: str | None = None,
    without: tuple[str, ...] = (),
    ask_cudnn: bool = False,
    title: str | None = None,
) -> Estimate:
    """Estimate what a training run (or inference) needs on a GPU, by following it without memory.

    The model is copied with fake tensors, the loop is followed operator by operator as CUDA would
    run it, and every tensor's birth and death goes through an exact model of torch's caching
    allocator. No GPU and no CUDA is needed, nothing is allocated or computed, and the model stays
    as it is.

    Args:
        model: a module, or a function that makes one, or a whole job: (model, optimizer, inputs),
            or a dict or an object with ``model``, ``optimizer``, ``inputs``, ``loss`` and ``step``,
            a function of the model and a batch that returns the loss. A parameter of its that is
            called ``batch`` gets the batch. The other arguments fill in what it leaves out.
        optimizer: a name with options such as ``"adam,foreach=false"``, a class of torch.optim, a
            function that takes parameters, the optimizer of the model, or a list of several.
        inputs: what the model is called with, as `timeline.breakdown` takes it.
        batch: for inputs given as shapes; 1 if it is left out.
        dtype: what the model is cast to, such as ``bfloat16``.
        precision: ``fp32``, or ``bf16`` or ``fp16`` for autocast.
        device: a card by name, such as ``a100-40gb``, ``rtx-3060``, or a size such as ``24GiB``.
        train: False for inference.
        loss: ``sum`` of the outputs, ``cross_entropy``, or a function of what the model returns.
        steps: how many; two are followed, and the second is repeated.
        zero_grad: ``before_forward``, ``before_backward``, ``after_step`` or ``never``.
        set_to_none: what it does to gradients.
        accumulate: micro-steps, each of the batch's size, for one step of the optimizer.
        hold_outputs: outputs and loss stay bound until the next step, as in a plain loop.
        capacity: bytes (or ``"10GiB"``) that the allocator can have; None for no end.
        allocator: what ``PYTORCH_CUDA_ALLOC_CONF`` would say.
        torch_version: of the torch on the GPU's machine, such as ``2.6``; by default this one's.
        without: groups of rules to switch off, by name.
        ask_cudnn: take the workspaces of convolutions from the cuDNN that is installed here, which
            can be asked without a GPU, in a process beside; for where the same cuDNN runs there.
        title: what to call it; by default the model's class.

    Raises:
        UsageError: an argument cannot be understood.
        BreakdownError: the model cannot be made or followed without values.
        TimelineError: torch is not installed.
    """
    needs_torch()
    from timeline.theory import estimating
    from timeline.theory.loop import Loop

    return estimating.assemble(
        model,
        optimizer,
        inputs,
        batch=batch,
        dtype=dtype,
        loss=loss,
        loop=Loop(
            train=train,
            steps=min(steps, 2),
            zero_grad=zero_grad,
            set_to_none=set_to_none,
            accumulate=accumulate,
            hold_outputs=hold_outputs,
            precision=precision,
        ),
        steps=steps,
        device=device,
        capacity=capacity,
        allocator=allocator,
        torch_version=torch_version,
        without=without,
        ask_cudnn=ask_cudnn,
        title=title,
    )
