"""Layers of weights: products, convolutions, normalisations, embedding."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from timeline.theory.layers.pooling import slid
from timeline.theory.layers.registry import Formula, Shape, rule

if TYPE_CHECKING:
    from torch import nn


@rule("Linear")
def linear(layer: nn.Linear, shape: Shape, element: int) -> Formula:
    """y[.., o] = x[.., i] W[o, i] + b[o]; dW needs x (addmm in derivatives.yaml)."""
    *batch, inputs = shape
    outputs = layer.out_features
    parameters = inputs * outputs + (outputs if layer.bias is not None else 0)
    return Formula(parameters, (*batch, outputs), saves_input=True)


@rule("Conv1d", "Conv2d", "Conv3d")
def convolution(layer: Any, shape: Shape, element: int) -> Formula:
    """W[o, i / groups, *kernel]; dW needs x (convolution in derivatives.yaml)."""
    batch, channels, *sizes = shape
    outputs, kernel = layer.out_channels, layer.kernel_size
    parameters = outputs * channels // layer.groups * prod(kernel)
    parameters += outputs if layer.bias is not None else 0
    out = (
        slid(size, k, s, _padding(layer.padding, i, k, d), d)
        for i, (size, k, s, d) in enumerate(
            zip(sizes, kernel, layer.stride, layer.dilation, strict=True)
        )
    )
    output = (batch, outputs, *out)
    if layer.padding_mode == "zeros":
        return Formula(parameters, output, saves_input=True)
    # x is padded into another tensor, which is saved then; all but "circular", which copies
    # slices, save x as well (reflection_pad and replication_pad in derivatives.yaml).
    padded = prod(
        size + _padding(layer.padding, i, k, d)
        for i, (size, k, d) in enumerate(zip(sizes, kernel, layer.dilation, strict=True))
    )
    more = batch * channels * padded * element
    return Formula(parameters, output, layer.padding_mode != "circular", more=more)


def _padding(padding: Any, axis: int, kernel: int, dilation: int) -> int:
    """Both sides together. ``same`` keeps the size, ``valid`` is none."""
    if isinstance(padding, str):
        return dilation * (kernel - 1) if padding == "same" else 0
    return 2 * int(padding[axis])


@rule("BatchNorm1d", "BatchNorm2d", "BatchNorm3d")
def batch_norm(layer: Any, shape: Shape, element: int) -> Formula:
    """Saves x, and mean and inverse deviation of each channel (native_batch_norm)."""
    channels = shape[1]
    parameters = 2 * channels if layer.affine else 0
    return Formula(parameters, shape, saves_input=True, more=2 * channels * element)


@rule("LayerNorm")
def layer_norm(layer: nn.LayerNorm, shape: Shape, element: int) -> Formula:
    """Saves x, and mean and inverse deviation of each row (native_layer_norm)."""
    normalized = layer.normalized_shape
    rows = prod(shape[: len(shape) - len(normalized)])
    biased = layer.weight is not None and layer.bias is not None
    parameters = (2 if biased else 1 if layer.weight is not None else 0) * prod(normalized)
    return Formula(parameters, shape, saves_input=True, more=2 * rows * element)


@rule("GroupNorm")
def group_norm(layer: nn.GroupNorm, shape: Shape, element: int) -> Formula:
    """Saves x, and mean and inverse deviation of each group (native_group_norm)."""
    batch, channels = shape[:2]
    groups = layer.num_groups
    parameters = 2 * channels if layer.affine else 0
    return Formula(parameters, shape, saves_input=True, more=2 * batch * groups * element)


@rule("Embedding")
def embedding(layer: nn.Embedding, shape: Shape, element: int) -> Formula:
    """y[.., d] = W[x[..], d]; dW needs the indices alone."""
    rows, width = layer.num_embeddings, layer.embedding_dim
    return Formula(rows * width, (*shape, width), saves_input=True)
