"""Changes to a training step that may save memory: each makes another step out of one.

Here are those of the step itself: its batch, precision and optimizer; `layer_changes` has those of
its model's layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from inspect import signature
from typing import Any

import torch

from timeline.theory import layer_changes, optimizers
from timeline.theory.advice_words import INFERENCE, INFERENCE_COSTS, smaller_batch
from timeline.theory.change import Change, Step
from timeline.theory.inputs import Shape


def changes(step: Step) -> Iterator[Change]:
    """Every change that can be made to a step, whether it saves or not."""
    yield from _smaller_batch(step)
    if step.train:
        yield from _other_precision(step)
        yield from layer_changes.checkpoints(step)
        yield from _other_optimizers(step)
        if not step.set_to_none:
            yield Change(
                "set_to_none",
                "zero_grad(set_to_none=True), as is the default, instead of zeros",
                "nothing",
                replace(step, set_to_none=True),
            )
        yield Change(
            "inference_mode",
            INFERENCE,
            INFERENCE_COSTS,
            replace(step, train=False, optimizer=None),
        )
    yield from layer_changes.in_place(step)
    yield from layer_changes.separable(step)


def _smaller_batch(step: Step) -> Iterator[Change]:
    size, smaller = _halved(step)
    if smaller is not None:
        yield Change(
            "batch",
            smaller_batch(size, train=step.train, normalised=_normalises(step.model)),
            "twice as many passes",
            smaller,
        )


def _normalises(model: torch.nn.Module) -> bool:
    """Whether any of a model's layers would take means over the batch that it is given."""
    kind = torch.nn.modules.batchnorm._BatchNorm
    return any(isinstance(each, kind) and each.training for each in model.modules())


def _halved(step: Step) -> tuple[int, Step | None]:
    """The size of the batch, and the step with half of it; None where that cannot be told."""
    if step.batch is not None:
        half = replace(step, batch=step.batch // 2) if step.batch > 1 else None
        return step.batch, half
    many = isinstance(step.inputs, list | tuple)
    given = step.inputs if many else [step.inputs]
    named = isinstance(step.inputs, dict)
    values = list(step.inputs.values()) if named else list(given)
    tensors = [each for each in values if isinstance(each, torch.Tensor) and each.dim()]
    sizes = {each.shape[0] for each in tensors}
    if len(sizes) != 1 or any(isinstance(each, str | Shape) for each in values):
        return 1, None
    (size,) = sizes
    if size < 2:
        return size, None

    def cut(value: Any) -> Any:
        return value[: size // 2] if isinstance(value, torch.Tensor) and value.dim() else value

    if named:
        inputs: Any = {key: cut(each) for key, each in step.inputs.items()}
    else:
        inputs = type(step.inputs)(map(cut, step.inputs)) if many else cut(step.inputs)
    return size, replace(step, inputs=inputs)


def _other_precision(step: Step) -> Iterator[Change]:
    if step.precision == "fp32" and step.dtype is None:
        yield Change(
            "bf16",
            "autocast to bfloat16: with torch.autocast(device, dtype=torch.bfloat16) around "
            "forward and loss",
            "8 bits of precision in the results of products",
            replace(step, precision="bf16"),
        )


def _other_optimizers(step: Step) -> Iterator[Change]:
    if step.optimizer is None:
        return
    chosen, options = _options(step)
    if chosen is None:
        return
    make: Any = chosen
    name = chosen.__name__
    adaptive = chosen is not torch.optim.SGD
    if adaptive:
        yield _with_optimizer(step, "sgd,momentum=0.9", "other convergence: a new learning rate")
    if adaptive or options.get("momentum"):
        yield _with_optimizer(step, "sgd,momentum=0", "other convergence")
    if adaptive and hasattr(torch.optim, "Adafactor") and name != "Adafactor":
        yield _with_optimizer(step, "adafactor", "other convergence: a new learning rate")
    for way in ("fused", "foreach"):
        for value in (True, False):
            if way not in signature(chosen).parameters or options.get(way) is value:
                continue
            both = {**options, "fused": None, "foreach": None, way: value}
            if way == "fused" and not value and not options.get("fused"):
                continue
            yield Change(
                "optimizer_kernel",
                f"{name} with {way}={value}",
                "some time a step" if not value else "nothing",
                replace(step, optimizer=partial(make, **both)),
            )


def _options(step: Step) -> tuple[type[Any] | None, dict[str, Any]]:
    """The class of a step's optimizer and what it was given."""
    if isinstance(step.optimizer, str):
        return optimizers.parse(step.optimizer)
    if isinstance(step.optimizer, type):
        return step.optimizer, {}
    if isinstance(step.optimizer, partial) and isinstance(step.optimizer.func, type):
        return step.optimizer.func, dict(step.optimizer.keywords)
    return None, {}


def _with_optimizer(step: Step, text: str, costs: str) -> Change:
    return Change(
        "optimizer", f"the optimizer {text}", costs, replace(step, optimizer=f"{text},lr=0.001")
    )
