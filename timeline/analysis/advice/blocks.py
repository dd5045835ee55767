"""Blocks of a recorded model that could be computed again in backward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from timeline.analysis.advice.change import Change, listed
from timeline.analysis.advice.moments import ACTIVATION, Bytes, Moments
from timeline.analysis.advice.passage import Passage
from timeline.recording.anatomy import Anatomy, WeighedLayer
from timeline.recording.format import SIZE_LIMIT

_LISTS = ("Sequential", "ModuleList")


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
            f"torch.utils.checkpoint around each of {listed(names)}",
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
