"""Changes of a recorded model's layers: blocks computed again, other activations, convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TypeGuard

import numpy as np

from timeline.analysis.change import Change
from timeline.analysis.moments import ACTIVATION, GRADIENT, PARAMETER, STATE, Bytes, Moments
from timeline.analysis.passage import Passage
from timeline.recording.anatomy import Anatomy, WeighedLayer
from timeline.recording.format import SIZE_LIMIT

_LISTS = ("Sequential", "ModuleList")

_MOST_TRIED = 3
"""Of the convolutions, those with the most weights."""


@dataclass(frozen=True, slots=True)
class _Block:
    """A layer of a list of layers: its name, and the numbers of itself and what is inside it."""

    name: str
    layers: frozenset[int]


def checkpoints(weighed: Anatomy, moments: Moments, passage: Passage) -> Iterator[Change]:
    """Blocks that stand in a row, each computed again in backward."""
    rows = [blocks for blocks in _rows(weighed.layers) if len(blocks) > 1]
    several = [*rows, [each for blocks in rows for each in blocks]] if len(rows) > 1 else rows
    for blocks in several:
        names = tuple(each.name for each in blocks)
        yield Change(
            "checkpointing",
            f"torch.utils.checkpoint around each of {_listed(names)}",
            "their forward pass once more",
            _recomputed(blocks, weighed, moments, passage),
            names,
        )


def _rows(layers: tuple[WeighedLayer, ...]) -> Iterator[list[_Block]]:
    """The blocks of each outermost list that have layers and parameters of their own."""
    inside: tuple[str, ...] = ()
    for layer in layers:
        if layer.kind not in _LISTS or layer.name.startswith(inside or "\0"):
            continue
        under = f"{layer.name}." if layer.name else ""
        blocks = []
        for each in layers:
            short = each.name.removeprefix(under)
            if not each.name.startswith(under) or not short or "." in short or each is layer:
                continue
            within = [
                i
                for i, one in enumerate(layers)
                if one is each or one.name.startswith(f"{each.name}.")
            ]
            if len(within) > 1 and any(layers[i].parameters for i in within):
                blocks.append(_Block(each.name, frozenset(within)))
        if blocks:
            inside = (*inside, *(f"{each.name}." for each in blocks))
            yield blocks


def _recomputed(
    blocks: list[_Block], weighed: Anatomy, moments: Moments, passage: Passage
) -> Bytes:
    """Of each block what it was given stands, and the rest only while its backward goes on."""
    block_of = {layer: i for i, each in enumerate(blocks) for layer in each.layers}
    under_way = _under_way(block_of, len(blocks), weighed, moments, passage)
    course = moments.total.copy()
    lives = moments.course.lives
    for i, block in enumerate(blocks):
        there = moments.sums(
            [
                each.size if each.category == ACTIVATION and each.layer in block.layers else 0
                for each in lives
            ]
        )
        given = _given(block, weighed)
        # What it was given may be the first that it saves itself, or another layer's.
        own = any(
            lives[life].size == given and passage.saver[life] == number
            for number in _first_nodes(block, passage)
            for life in passage.nodes[number].saves
        )
        away = ~under_way[i]
        course[away] -= there[away]
        again = there > 0 if not own else (there > 0) & away
        course[again] += given
    return course


def _under_way(
    block_of: dict[int, int], count: int, weighed: Anatomy, moments: Moments, passage: Passage
) -> list[np.ndarray]:
    """By block, the moments in which its forward or its backward goes on."""
    found = [np.zeros(moments.count, bool) for _ in range(count)]
    begun = moments.course.call
    backward = moments.whether("backward")
    forward = moments.whether("forward", "loss")
    for i in range(moments.count):
        layers: list[int] = []
        if backward[i]:
            layers = [passage.nodes[number].layer for number in passage.at(i)]
        elif forward[i]:
            # Those that began since the tick, else the one that was under way.
            last = int(moments.called[i])
            calls = range(min(begun[i] + 1, max(last, 0)), min(last + 1, len(weighed.calls)))
            layers = [weighed.calls[call].layer for call in calls]
        for layer in layers:
            if layer in block_of:
                found[block_of[layer]][i] = True
    return found


def _given(block: _Block, weighed: Anatomy) -> int:
    """Bytes of what a block is called with, by its first layer."""
    for call in weighed.calls:
        if call.layer in block.layers:
            return min(prod(call.shape) * call.element, SIZE_LIMIT)
    return 0


def _first_nodes(block: _Block, passage: Passage) -> Iterator[int]:
    """The first nodes of a block that save anything, up to its first layer with two of them."""
    numbers = sorted(n for layer in block.layers for n in passage.of_layer.get(layer, ()))
    yield from [number for number in numbers if passage.nodes[number].saves][:1]


def in_place(weighed: Anatomy, moments: Moments, passage: Passage) -> Iterator[Change]:
    """Activations that write over what they are given, where nothing else needs that."""
    course = moments.total.copy()
    named: list[str] = []
    lives = moments.course.lives
    gone = [0] * len(lives)
    forward = moments.whether("forward", "loss")
    for number, call in enumerate(weighed.calls):
        kind = weighed.layers[call.layer].kind if call.layer < len(weighed.layers) else ""
        settings = weighed.settings.get(call.layer, {})
        if not call.plain or settings.get("inplace") is not False or kind not in _OVER:
            continue
        given = _only_for(call.layer, passage)
        if given is None:
            continue
        size = min(prod(call.shape) * call.element, SIZE_LIMIT)
        if kind in _BY_RESULT:
            # Its derivative is then written in the result: what it was given is not saved.
            for life in passage.nodes[given[1]].saves:
                if passage.savers[life] == 1:
                    gone[life] = lives[life].size
        else:
            beside = moments.loose + moments.rise
            at = forward & (moments.called == number)
            course[at] -= np.minimum(size, beside[at])
        named.append(weighed.layers[call.layer].name)
    if named:
        names = tuple(dict.fromkeys(named))
        yield Change(
            "in_place",
            f"inplace=True in {_listed(names)}",
            "what they are given is overwritten",
            course - moments.gone(gone),
            names,
        )


_BY_RESULT = ("LeakyReLU", "ELU", "SELU", "CELU")
_OVER = ("ReLU", "Dropout", *_BY_RESULT)
"""Activations whose derivative needs no copy of what they overwrite (derivatives.yaml)."""

_KEPT = ("Relu", "Sigmoid", "Tanh", "Softmax", "LogSoftmax", "Exp", "Sqrt", "Elu", "LeakyRelu")
"""Nodes that save their own results, which must not be overwritten."""


def _only_for(layer: int, passage: Passage) -> tuple[int, int] | None:
    """The node that made what a layer is given, and the layer's; None where others need it."""
    numbers = passage.of_layer.get(layer, [])
    if not numbers:
        return None
    before = [each for each in passage.nodes[numbers[0]].before if each >= 0]
    if len(before) != 1 or len(passage.after[before[0]]) != 1:
        return None
    made = passage.nodes[before[0]].kind
    return None if made.startswith(_KEPT) or "View" in made else (before[0], numbers[0])


def separable(weighed: Anatomy, moments: Moments, passage: Passage) -> Iterator[Change]:
    """Two convolutions, one by channel and one by place, instead of one of the largest."""
    found = []
    for number, layer in enumerate(weighed.layers):
        settings = weighed.settings.get(number, {})
        kernel, padding = settings.get("kernel_size"), settings.get("padding")
        inputs, outputs = settings.get("in_channels"), settings.get("out_channels")
        if (
            layer.kind == "Conv2d"
            and _are_sizes(kernel)
            and isinstance(padding, list)
            and isinstance(inputs, int)
            and isinstance(outputs, int)
            and settings.get("groups") == 1
            and inputs > 3
            and max(kernel) > 1
            and layer.output_shape is not None
            and len(layer.output_shape) > 1
            and layer.parameters
        ):
            found.append((inputs * outputs * prod(kernel), number, inputs, outputs, prod(kernel)))
    found.sort(key=lambda each: -each[0])
    copies = 0.0
    sizes = sum(each.parameter for each in weighed.layers)
    if sizes:
        copies = int(moments.of(STATE).max()) / sizes
    for numbers, which, inputs, outputs, places in found[:_MOST_TRIED]:
        fewer = inputs * places + inputs * outputs
        name = weighed.layers[which].name
        yield Change(
            "separable",
            f"a depthwise and a pointwise convolution instead of {name}: "
            f"{fewer:,} weights instead of {numbers:,}",
            "another network, to be trained anew",
            _separated(which, inputs, numbers - fewer, copies, weighed, moments, passage),
            (name,),
        )


def _are_sizes(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and bool(value) and all(isinstance(n, int) for n in value)


def _separated(
    layer: int,
    channels: int,
    fewer: int,
    copies: float,
    weighed: Anatomy,
    moments: Moments,
    passage: Passage,
) -> Bytes:
    row = weighed.layers[layer]
    element = row.parameter // row.parameters
    gone = fewer * element
    its = [
        each.layer == layer and each.category in (PARAMETER, GRADIENT) and each.size >= gone
        for each in moments.course.lives
    ]
    kept = moments.sums([gone if each else 0 for each in its])
    for each, is_its in zip(moments.course.lives, its, strict=True):
        if is_its and each.category == GRADIENT and 0 < each.first < moments.count:
            # A gradient is made within the moment before the first tick at which it is there.
            kept[each.first - 1] += min(gone, int(moments.made[each.first - 1]))
    state = np.where(moments.of(STATE) > 0, int(gone * copies), 0)
    # Between the two there is one more tensor, which the second one saves.
    batch, _, *places = row.output_shape or (0, 0)
    between = np.zeros(moments.count, np.int64)
    calls = [i for i, call in enumerate(weighed.calls) if call.layer == layer]
    nodes = passage.of_layer.get(layer, [])
    if calls and nodes:
        stands = passage.stands(nodes[0], calls[0])
        between[stands & ~moments.whether("optimizer")] = min(
            batch * channels * prod(places) * element, SIZE_LIMIT
        )
    return moments.total - kept - state + between


def _listed(names: tuple[str, ...]) -> str:
    if len(names) <= 4:
        return ", ".join(names)
    return f"{', '.join(names[:2])} … {names[-1]} ({len(names)} layers)"
