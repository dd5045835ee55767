"""Layers of weights: products, convolutions, normalisations, embedding."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from timeline.errors import UsageError
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


@rule("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")
def transposed_convolution(layer: Any, shape: Shape, element: int) -> Formula:
    """W[i, o / groups, *kernel]; dW needs x (convolution in derivatives.yaml).

    The size is the formula under torch.nn.ConvTranspose2d: what a convolution takes back to x.
    """
    batch, channels, *sizes = shape
    outputs, kernel = layer.out_channels, layer.kernel_size
    parameters = channels * outputs // layer.groups * prod(kernel)
    parameters += outputs if layer.bias is not None else 0
    out = (
        (size - 1) * s - 2 * p + d * (k - 1) + more + 1
        for size, k, s, p, d, more in zip(
            sizes, kernel, layer.stride, layer.padding, layer.dilation, layer.output_padding,
            strict=True,
        )
    )  # fmt: skip
    return Formula(parameters, (batch, outputs, *out), saves_input=True)


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


@rule("RMSNorm")
def rms_norm(layer: Any, shape: Shape, element: int) -> Formula:
    """Saves x, the inverse root of each row, and with weights x by that root, which they multiply.

    On a CPU it is made of single operators, in 32 bits at least: what is narrower is saved as its
    copy of 32 (layer_norm.cpp, rms_norm_composite). On CUDA one kernel saves x and the root alone.
    """
    normalized = layer.normalized_shape
    rows, all_ = prod(shape[: len(shape) - len(normalized)]), prod(shape)
    wide = max(element, 4)
    more = rows * wide + (all_ * wide if wide > element else 0)
    parameters = 0
    if layer.weight is not None:
        parameters = prod(normalized)
        more += all_ * wide
    return Formula(parameters, shape, saves_input=wide == element, more=more)


@rule("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d")
def instance_norm(layer: Any, shape: Shape, element: int) -> Formula:
    """Batch normalisation of each image's channels as channels of their own.

    So weights and running statistics are repeated for each image, and these copies saved, but for
    the bias, which no derivative needs (Normalization.cpp, instance_norm).
    """
    batch, channels = shape[:2]
    copies = 2 + (1 if layer.affine else 0) + (2 if layer.track_running_stats else 0)
    parameters = 2 * channels if layer.affine else 0
    return Formula(parameters, shape, saves_input=True, more=copies * batch * channels * element)


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


@rule("EmbeddingBag")
def embedding_bag(layer: nn.EmbeddingBag, shape: Shape, element: int) -> Formula:
    """y[b, d] = the sum, mean or most of W[x[b, ..], d], of bags of one size.

    Saves the indices, where each bag begins, how many it has, of which bag each index is (one more
    number than indices; none where the plain sum goes row by row), and for the most of a bag which
    row it was of; all of 8 bytes (EmbeddingBag.cpp).
    """
    if layer.include_last_offset or len(shape) != 2:
        raise UsageError("EmbeddingBag has a formula for bags that are rows of indices alone")
    bags, width = shape[0], layer.embedding_dim
    by_rows = layer.mode == "sum" and layer.padding_idx is None and element <= 4
    numbers = 2 * bags + (0 if by_rows else prod(shape) + 1)
    numbers += bags * width if layer.mode == "max" else bags
    parameters = layer.num_embeddings * width
    return Formula(parameters, (bags, width), saves_input=True, more=8 * numbers)
