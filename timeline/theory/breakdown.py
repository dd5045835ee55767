"""The theory of a model: what one step of it should need, and what for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from timeline.errors import TimelineError, UsageError
from timeline.theory.types import Breakdown

if TYPE_CHECKING:
    import torch


def breakdown(
    model: torch.nn.Module | Callable[[], Any],
    optimizer: Any = None,
    inputs: Any = None,
    *,
    batch: int | None = None,
    dtype: str | None = None,
    precision: str | None = None,
    train: bool = True,
    loss: str | Callable[[Any], Any] = "sum",
    title: str | None = None,
    set_to_none: bool = True,
) -> Breakdown:
    """Break down what one step of a model should need, without allocating or running it.

    The model is copied with fake tensors, which have a size and no memory, and one step of the
    copy is followed operator by operator, as torch does it on a CPU. The model itself, the
    optimizer, gradients and random state stay as they are.

    Args:
        model: a module, with real tensors, on the meta device or fake; or a function that makes
            one, which is then made without memory, or a whole job, as `timeline.estimate` takes.
        optimizer: a name with options such as ``"adam,foreach=false"``, a class of torch.optim, a
            function that takes parameters, the optimizer of the model, or a list of several.
        inputs: what the model is called with: a tensor, a shape without its batch such as
            ``(3, 224, 224)`` or ``"3x224x224"``, a list of them, or a mapping by name. None
            leaves out what depends on them.
        batch: for inputs given as shapes; 1 if it is left out.
        dtype: what the model is cast to, such as ``bfloat16``.
        precision: ``fp32``, or ``bf16`` or ``fp16`` for autocast.
        train: whether a training step is meant; else one inference.
        loss: ``sum`` of the outputs, ``cross_entropy``, or a function of what the model returns.
        title: what to call it; by default the model's class.
        set_to_none: what ``zero_grad`` does: gradients go, or stay as zeros through forward.

    Raises:
        UsageError: an argument cannot be understood.
        BreakdownError: the model cannot be made without memory, or does not run on the inputs.
        TimelineError: torch is not installed.
    """
    if batch is not None and (isinstance(batch, bool) or not isinstance(batch, int) or batch < 1):
        raise UsageError(f"a batch of {batch!r} cannot be: give a whole number from 1 on")
    needs_torch()
    from timeline.theory import assembling

    return assembling.assemble(
        model,
        optimizer,
        inputs,
        batch=batch,
        dtype=dtype,
        precision=precision or "fp32",
        train=train,
        loss=loss,
        title=title,
        set_to_none=set_to_none,
    )


def needs_torch() -> None:
    """Import torch.

    Raises:
        TimelineError: it cannot be imported.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise TimelineError(
            f"the theory of a model needs torch, which cannot be imported ({error}): "
            "pip install 'memory-timeline[torch]'"
        ) from error
