"""Poolings, and how many places a window has."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from timeline.theory.layers.registry import Formula, Shape, rule

if TYPE_CHECKING:
    from torch import nn


def slid(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """How many places a window has: the formula under torch.nn.Conv2d."""
    return (size + padding - dilation * (kernel - 1) - 1) // stride + 1


@rule("AdaptiveAvgPool2d")
def adaptive_pool(layer: nn.AdaptiveAvgPool2d, shape: Shape, element: int) -> Formula:
    """To one number a channel it is a mean, which needs sizes alone; else it saves x."""
    wanted = layer.output_size
    wanted = wanted if isinstance(wanted, tuple) else (wanted, wanted)
    out = tuple(size if w is None else w for w, size in zip(wanted, shape[-2:], strict=True))
    return Formula(0, (*shape[:-2], *out), saves_input=out != (1, 1))


@rule("MaxPool2d")
def max_pool(layer: nn.MaxPool2d, shape: Shape, element: int) -> Formula:
    """Saves x, and where each maximum was: an index of 8 bytes (max_pool2d_with_indices)."""
    out = _pooled(layer, shape)
    return Formula(0, out, saves_input=True, more=prod(out) * 8)


@rule("AvgPool2d")
def average_pool(layer: nn.AvgPool2d, shape: Shape, element: int) -> Formula:
    """dx needs the size of x alone, but torch saves x all the same (avg_pool2d)."""
    return Formula(0, _pooled(layer, shape), saves_input=True)


def _pooled(layer: Any, shape: Shape) -> Shape:
    *batch, height, width = shape
    pairs = [
        each if isinstance(each, tuple) else (each, each)
        for each in (layer.kernel_size, layer.stride, layer.padding)
    ]
    dilation = getattr(layer, "dilation", 1)
    return (
        *batch,
        *(
            _places(size, pairs[0][i], pairs[1][i], pairs[2][i], dilation, layer.ceil_mode)
            for i, size in enumerate((height, width))
        ),
    )


def _places(size: int, kernel: int, stride: int, side: int, dilation: int, ceil: bool) -> int:
    """With ``ceil_mode`` a window may hang over the end, if it begins inside (Pool.h)."""
    if not ceil:
        return slid(size, kernel, stride, 2 * side, dilation)
    places = slid(size + stride - 1, kernel, stride, 2 * side, dilation)
    return places - 1 if (places - 1) * stride >= size + side else places
