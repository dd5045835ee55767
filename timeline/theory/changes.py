"""Changes to a training step that may save memory: each makes another step out of one.

A change is a value with the step as it would be; whoever knows how to weigh a step weighs it. The
model of a step belongs to nobody else, so that its layers may be changed and put back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from timeline.theory import optimizers
from timeline.theory.inputs import Shape

MOST_TRIED = 3
"""Of the layers that could be replaced, how many are weighed: those with the most parameters."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step, as `timeline.breakdown` takes it.

    Attributes:
        model: without memory, and nobody else's.
    """

    model: nn.Module
    optimizer: Any = None
    inputs: Any = None
    batch: int | None = None
    dtype: str | None = None
    precision: str = "fp32"
    train: bool = True
    loss: Any = "sum"
    set_to_none: bool = True


@dataclass(frozen=True, slots=True)
class Change:
    """A step that may need less.

    Attributes:
        kind: such as ``batch``.
        what: what to do, in words.
        costs: what it costs, in words.
        step: the step as it would be.
        open: a context in which the step's model is changed.
        layers: the names of the layers that it changes, where it names some.
    """

    kind: str
    what: str
    costs: str
    step: Step
    open: Callable[[], AbstractContextManager[Any]] = nullcontext
    layers: tuple[str, ...] = ()


def changes(step: Step) -> Iterator[Change]:
    """Every change that can be made to a step, whether it saves or not."""
    yield from _smaller_batch(step)
    if step.train:
        yield from _other_precision(step)
        yield from _checkpoints(step)
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
            "where only predictions are wanted: eval() and torch.inference_mode()",
            "no training",
            replace(step, train=False, optimizer=None),
        )
    yield from _in_place(step)
    yield from _separable(step)


def _smaller_batch(step: Step) -> Iterator[Change]:
    size, smaller = _halved(step)
    if smaller is not None:
        yield Change(
            "batch",
            f"a batch of {size // 2} instead of {size}; two of them and one optimizer step give "
            "the same gradients, except through batch normalisation",
            "twice as many passes",
            smaller,
        )


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


def _checkpoints(step: Step) -> Iterator[Change]:
    """Blocks that stand in a row, each computed again in backward."""
    rows = [
        [(name, child) for name, child in blocks if next(child.parameters(), None) is not None]
        for blocks in _rows(step.model)
    ]
    rows = [blocks for blocks in rows if len(blocks) > 1]
    several = [*rows, [each for blocks in rows for each in blocks]] if len(rows) > 1 else rows
    for blocks in several:
        names = tuple(name for name, _ in blocks)
        yield Change(
            "checkpointing",
            f"torch.utils.checkpoint around each of {_listed(names)}",
            "their forward pass once more",
            step,
            partial(_recomputed, tuple(child for _, child in blocks)),
            names,
        )


def _rows(model: nn.Module) -> Iterator[list[tuple[str, nn.Module]]]:
    """The layers of each outermost list of layers that have layers of their own."""
    inside: tuple[str, ...] = ()
    for name, module in model.named_modules():
        if name and name.startswith(inside):
            continue
        if isinstance(module, nn.Sequential | nn.ModuleList):
            blocks = [
                (f"{name}.{short}" if name else short, child)
                for short, child in module.named_children()
                if any(True for _ in child.children())
            ]
            if blocks and name:
                inside = (*inside, *(f"{each}." for each, _ in blocks))
            if blocks:
                yield blocks


@contextmanager
def _recomputed(blocks: tuple[nn.Module, ...]) -> Iterator[None]:
    try:
        for each in blocks:
            # An attribute of the instance hides the method, as user code would call checkpoint.
            each.forward = partial(checkpoint, each.forward, use_reentrant=False)
        yield
    finally:
        for each in blocks:
            vars(each).pop("forward", None)


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


def _in_place(step: Step) -> Iterator[Change]:
    found = {
        name: each
        for name, each in step.model.named_modules()
        if getattr(each, "inplace", None) is False
    }
    if found:
        yield Change(
            "in_place",
            f"inplace=True in {_listed(tuple(found))}",
            "what they are given is overwritten",
            step,
            partial(_set_in_place, tuple(found.values())),
            tuple(found),
        )
    if len(found) > 1:  # all of them together may be refused by autograd: one kind at a time
        for kind in {type(each) for each in found.values()}:
            some = {name: each for name, each in found.items() if type(each) is kind}
            if len(some) < len(found):
                yield Change(
                    "in_place",
                    f"inplace=True in {_listed(tuple(some))}",
                    "what they are given is overwritten",
                    step,
                    partial(_set_in_place, tuple(some.values())),
                    tuple(some),
                )


@contextmanager
def _set_in_place(layers: tuple[Any, ...]) -> Iterator[None]:
    try:
        for each in layers:
            each.inplace = True
        yield
    finally:
        for each in layers:
            each.inplace = False


def _separable(step: Step) -> Iterator[Change]:
    found = [
        (name, each)
        for name, each in step.model.named_modules()
        if type(each) is nn.Conv2d
        and each.groups == 1
        and each.in_channels > 3
        and max(each.kernel_size) > 1
        and isinstance(each.padding, tuple)
    ]
    found.sort(key=lambda pair: -pair[1].weight.numel())
    for name, layer in found[:MOST_TRIED]:
        numbers = layer.weight.numel()
        fewer = layer.weight.shape[1] * (layer.kernel_size[0] * layer.kernel_size[1])
        fewer += layer.in_channels * layer.out_channels
        yield Change(
            "separable",
            f"a depthwise and a pointwise convolution instead of {name}: {fewer:,} weights "
            f"instead of {numbers:,}",
            "another network, to be trained anew",
            step,
            partial(_separated, step.model, name),
            (name,),
        )


@contextmanager
def _separated(model: nn.Module, name: str) -> Iterator[None]:
    home, _, short = name.rpartition(".")
    parent = model.get_submodule(home)
    layer: Any = parent.get_submodule(short)
    channels = layer.in_channels
    with torch.device("meta"):
        depthwise = nn.Conv2d(
            channels, channels, layer.kernel_size, layer.stride, layer.padding, layer.dilation,
            groups=channels, bias=False,
        )  # fmt: skip
        pointwise = nn.Conv2d(channels, layer.out_channels, 1, bias=layer.bias is not None)
    setattr(parent, short, nn.Sequential(depthwise, pointwise))
    try:
        yield
    finally:
        setattr(parent, short, layer)


def _listed(names: tuple[str, ...]) -> str:
    if len(names) <= 4:
        return ", ".join(names)
    return f"{', '.join(names[:2])} … {names[-1]} ({len(names)} layers)"
