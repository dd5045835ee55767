"""cuDNN's convolutions: the workspaces of the kernels that its heuristics choose."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from timeline.theory.cuda.rules import Call, Effect, Platform, Scratch, group
from timeline.theory.cudnn.settling import BY_RULE
from timeline.theory.tape import Amount, Convolution

aten = torch.ops.aten

GROUP = group(
    "cudnn-convolution",
    "aten/src/ATen/native/Convolution.cpp (which kernels), cudnn/Conv_v8.cpp (workspaces)",
    BY_RULE,
)

BENCHMARK = (
    "torch.backends.cudnn.benchmark: where cuDNN meets a size first it tries all its kernels, with "
    "workspaces as large as there is room for, and may stay with one that needs more"
)
"""aten/src/ATen/native/cudnn/Conv_v8.cpp, ``generate_and_filter_plans``."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """One convolution as its kernels see it.

    Attributes:
        source, weight, result: shapes of the three tensors.
        stride, padding, dilation, groups: of the convolution.
        element: bytes of a number, and ``dtype`` its kind, such as ``float32``.
        channels_last: the memory format.
        transposed: the source is the smaller map.
    """

    source: tuple[int, ...]
    weight: tuple[int, ...]
    result: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    element: int
    dtype: str
    channels_last: bool
    transposed: bool

    def as_cudnn_sees_it(self, kind: str) -> Convolution:
        """One of its kernels; a map of one dimension is a row of two."""
        row = len(self.stride) == 1

        def sizes(shape: tuple[int, ...]) -> tuple[int, ...]:
            return (*shape[:2], 1, shape[2]) if row else shape

        maps = sizes(self.source), sizes(self.result)
        x, y = maps[::-1] if self.transposed else maps
        return Convolution(
            kind,
            x,
            sizes(self.weight),
            y,
            (1, *self.stride) if row else self.stride,
            (0, *self.padding) if row else self.padding,
            (1, *self.dilation) if row else self.dilation,
            self.dtype,
            self.channels_last,
        )


@GROUP.rule(aten.convolution.default)
def _forward(call: Call) -> Iterable[Effect]:
    source, weight, _, stride, padding, dilation, transposed, _, groups = call.args[:9]
    if not by_cudnn(source, weight, groups, transposed):
        return
    shapes = _shapes(source, weight, call.out, stride, padding, dilation, transposed, groups)
    kind = "input gradient" if transposed else "forward"
    if torch.backends.cudnn.benchmark:
        yield BENCHMARK
    yield call.out
    yield from _workspace(kind, shapes, call.platform)


@GROUP.rule(aten.convolution_backward.default)
def _backward(call: Call) -> Iterable[Effect]:
    grad, source, weight, _, stride, padding, dilation, transposed, _, groups = call.args[:10]
    if not by_cudnn(source, weight, groups, transposed):
        return
    to_source, to_weight, to_bias = call.out
    shapes = _shapes(source, weight, grad, stride, padding, dilation, transposed, groups)
    if to_source is not None:
        yield to_source
        yield from _workspace("forward" if transposed else "input gradient", shapes, call.platform)
    if to_weight is not None:
        yield to_weight
        yield from _workspace("weight gradient", shapes, call.platform)
    if to_bias is not None:
        yield to_bias


def by_cudnn(source: Any, weight: Any, groups: int, transposed: bool) -> bool:
    """Whether a convolution goes to cuDNN; depthwise ones of float32 have kernels of torch's own.

    aten/src/ATen/native/Convolution.cpp, ``is_depthwise`` and ``use_cudnn_depthwise``.
    """
    depthwise = (
        source.dim() == 4
        and groups > 1
        and source.shape[1] == groups
        and weight.shape[0] % source.shape[1] == 0
        and not transposed
    )
    return not depthwise or _channels_last(source) or source.dtype is torch.float16


def _channels_last(tensor: Any) -> bool:
    plain = tensor.is_contiguous()
    return not plain and tensor.is_contiguous(memory_format=torch.channels_last)


def _shapes(
    source: Any,
    weight: Any,
    result: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    groups: int,
) -> Shapes:
    spatial = source.dim() - 2
    return Shapes(
        tuple(source.shape),
        tuple(weight.shape),
        tuple(result.shape),
        _each(stride, spatial),
        _each(padding, spatial),
        _each(dilation, spatial),
        groups,
        source.element_size(),
        str(source.dtype).removeprefix("torch."),
        source.dim() == 4 and (_channels_last(source) or _channels_last(weight)),
        transposed,
    )


def _each(given: Any, spatial: int) -> tuple[int, ...]:
    return tuple(given) if len(given) == spatial else (given[0],) * spatial


def _workspace(kind: str, shapes: Shapes, platform: Platform) -> Iterable[Effect]:
    amount = workspace(kind, shapes, platform)
    asks = shapes.as_cudnn_sees_it(kind) if platform.ask_cudnn else None
    if amount.high or asks:
        yield Scratch(amount, f"workspace of cuDNN: {kind}", may_fail=True, asks=asks)


def workspace(kind: str, shapes: Shapes, platform: Platform) -> Amount:
    """What a kernel takes: ``forward``, ``input gradient`` or ``weight gradient``.

    This is for where cuDNN is not asked. Implicit products, which its heuristics choose most of the
    time, take next to nothing, so that none is expected. The tensor cores want channels last: at
    most, what comes and what goes is copied once into that layout (NVIDIA, deep learning
    performance guide, convolutional layers). ``torch.backends.cudnn.benchmark`` may choose kernels
    that take more.
    """
    source, weight, result = (
        math.prod(each) * shapes.element for each in (shapes.source, shapes.weight, shapes.result)
    )
    if shapes.channels_last:
        return Amount(0, 0, weight)
    if kind == "forward" and platform.card.capability == (8, 6) and _narrow(shapes):
        return Amount.exactly(source + weight)
    parts = {
        "forward": source + weight,
        "input gradient": result + weight + source,
        "weight gradient": source + result + weight,
    }
    return Amount(0, 0, parts[kind])


def _narrow(shapes: Shapes) -> bool:
    """Whether a convolution's channels do not fill what a tensor core takes at once.

    On an RTX 3060 the forward of such a one takes a copy of its input and weight, which shows in
    the fragmentation of xMem's rows 33, 37 and 60; on an RTX 4060 it does not. Three channels, as
    of an image, and groups of eight were seen; one by one kernels need no copy.
    """
    one_by_one = all(size == 1 for size in shapes.weight[2:])
    channels = shapes.source[1] // shapes.groups
    return not one_by_one and (channels <= 4 or (shapes.groups > 1 and channels <= 8))
