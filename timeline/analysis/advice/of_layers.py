"""Changes of a recorded model's layers: activations in place, other convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TypeGuard

import numpy as np

from timeline.analysis.advice.change import Change, listed
from timeline.analysis.advice.moments import GRADIENT, PARAMETER, STATE, Bytes, Moments
from timeline.analysis.advice.passage import VIEWS, Passage
from timeline.recording.anatomy import Anatomy
from timeline.recording.format import SIZE_LIMIT

_MOST_TRIED = 3
"""Of the convolutions, those with the most weights."""


def in_place(weighed: Anatomy, moments: Moments, passage: Passage) -> Iterator[Change]:
    """Activations that write over what they are given, where nothing else needs that."""
    course = moments.total.copy()
    named: list[str] = []
    lives = moments.course.lives
    gone = [0] * len(lives)
    forward = moments.whether("forward", "loss")
    beside = moments.loose + moments.rise
    for layer, nodes in _overwriting(weighed, passage):
        for number, node in nodes.items():
            call = weighed.calls[number]
            if weighed.layers[layer].kind in _BY_RESULT:
                # Its derivative is then written in the result: what it was given is not saved.
                for life in passage.nodes[node].saves:
                    if passage.savers[life] == 1:
                        gone[life] = lives[life].size
            else:
                size = min(prod(call.shape) * call.element, SIZE_LIMIT)
                at = forward & (moments.called == number)
                course[at] -= np.minimum(size, beside[at])
        named.append(weighed.layers[layer].name)
    if named:
        names = tuple(dict.fromkeys(named))
        yield Change(
            "in_place",
            f"inplace=True in {listed(names)}",
            "what they are given is overwritten",
            course - moments.gone(gone),
            names,
        )


_BY_RESULT = ("LeakyReLU", "ELU", "SELU", "CELU")
_OVER = ("ReLU", "Dropout", *_BY_RESULT)
"""Activations whose derivative needs no copy of what they overwrite (derivatives.yaml)."""

_KEPT = (
    "Amax", "Amin", "Cdist", "Celu", "Copysign", "CudnnRnn", "Cumprod", "Dist", "Elu", "Exp",
    "Hypot", "IndexReduce", "LeakyRelu", "Linalg", "LogSoftmax", "Logcumsumexp", "Logsumexp",
    "MaskedSoftmax", "MaxBackward", "MedianBackward", "MinBackward", "MkldnnRnn", "Nanmedian",
    "Norm", "Polar", "Pow", "Prod", "Reciprocal", "Relu", "Rrelu", "Rsqrt", "SafeSoftmax",
    "ScaledDotProduct", "ScatterReduce", "SegmentReduce", "Selu", "Sgn", "Sigmoid", "Softmax",
    "Special", "Sqrt", "Std", "Tan",
)  # fmt: skip
"""Nodes that save their own results (derivatives.yaml), which must not be overwritten.

Some of them do not in every form.
"""


def _overwriting(weighed: Anatomy, passage: Passage) -> Iterator[tuple[int, dict[int, int]]]:
    """Activations that may be in place, each with the node of each call that backward walked.

    In place it is in all of its calls or in none, so nothing else may need what any is given. Of a
    call that was not noted, as without gradients or with the step's input, nobody knows that.
    """
    calls: dict[int, list[int]] = {}
    for number, call in enumerate(weighed.calls):
        calls.setdefault(call.layer, []).append(number)
    for layer, numbers in calls.items():
        if layer >= len(weighed.layers) or weighed.layers[layer].kind not in _OVER:
            continue
        walked = [number for number in numbers if weighed.calls[number].turns]
        nodes = passage.of_layer.get(layer, [])
        if (
            weighed.settings.get(layer, {}).get("inplace") is False
            and len(numbers) == weighed.layers[layer].calls
            and len(nodes) == len(walked) > 0
            and all(weighed.calls[number].plain for number in numbers)
            and all(_is_alone(node, passage) for node in nodes)
        ):
            yield layer, dict(zip(walked, nodes, strict=True))


def _is_alone(number: int, passage: Passage) -> bool:
    """Whether nothing but this node needs what it is given."""
    before = [each for each in passage.nodes[number].before if each >= 0]
    if len(before) != 1 or len(passage.after[before[0]]) != 1:
        return False
    return not passage.nodes[before[0]].kind.startswith((*_KEPT, *VIEWS))


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
    # Between the two there is one more tensor in each call, which the second one saves.
    between = np.zeros(moments.count, np.int64)
    calls = [i for i, call in enumerate(weighed.calls) if call.layer == layer]
    nodes = sorted(passage.of_layer.get(layer, []))
    convolutions = [each for each in nodes if passage.nodes[each].kind.startswith("Convolution")]
    for call, node in zip(calls, convolutions, strict=False):
        batch, _, *places = passage.nodes[node].shape or (0, 0)
        between[passage.stands(node, call) & ~moments.whether("optimizer")] += min(
            batch * channels * prod(places) * element, SIZE_LIMIT
        )
    return moments.total - kept - state + between
