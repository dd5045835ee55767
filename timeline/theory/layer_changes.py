"""Changes of a model's layers: blocks computed again, activations in place, other convolutions.

The model of a step belongs to nobody else, so that its layers may be changed and put back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from timeline.theory.change import Change, Step

MOST_TRIED = 3
"""Of the layers that could be replaced, how many are weighed: those with the most parameters."""


def checkpoints(step: Step) -> Iterator[Change]:
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


def in_place(step: Step) -> Iterator[Change]:
    """Activations that write over what they are given: all of them, and each kind alone."""
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


def separable(step: Step) -> Iterator[Change]:
    """Two convolutions, one by channel and one by place, instead of one of the largest."""
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
