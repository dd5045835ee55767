"""Closed formulas of single layers: parameters, output, and what autograd saves of them.

The second way to the same figures, independent of the first: `breakdown` follows operators and
needs no formula; here is the algebra, for one layer and the shape of its input. The tests hold the
two against each other, to the byte, for every kind.

What a layer saves is its input, its output and more of its own. A layer's input is mostly the
output of another one and saved once: which is why the sum over a network needs to know who shares
what, and `breakdown` follows it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import nn

from timeline.errors import UsageError
from timeline.theory.corrections import lstm_workspace

Shape = tuple[int, ...]
Rule = Callable[[Any, Shape, int], "Formula"]
"""Of a layer, the shape of its input and the bytes of one number."""


@dataclass(frozen=True, slots=True)
class Formula:
    """What a layer needs by its formula, in training with all its parameters trained.

    Attributes:
        parameters: how many numbers.
        output: shape of the output.
        saves_input, saves_output: whether autograd saves them.
        more: bytes that it saves beside them and beside parameters and buffers.
    """

    parameters: int
    output: Shape
    saves_input: bool = False
    saves_output: bool = False
    more: int = 0


_RULES: dict[type, Rule] = {}


def rule(*kinds: type) -> Callable[[Rule], Rule]:
    """A decorator that registers a formula for classes of layers, the user's own as well.

    Example::

        @rule(MyScale)
        def scale(layer, shape, element):
            return Formula(parameters=1, output=shape, saves_input=True)
    """

    def register(function: Rule) -> Rule:
        for kind in kinds:
            _RULES[kind] = function
        return function

    return register


def formula(layer: nn.Module, shape: Sequence[int], element: int = 4) -> Formula:
    """What a layer needs by its formula.

    Args:
        layer: its settings are read, not its weights; it may be on the meta device.
        shape: of its input, with the batch.
        element: bytes of one number of the input and the parameters.

    Raises:
        UsageError: its class has no formula.
    """
    found = _RULES.get(type(layer))
    if found is None:
        raise UsageError(
            f"{type(layer).__name__} has no formula: register one with timeline.theory.layers.rule"
        )
    return found(layer, tuple(shape), element)


def without_rule(model: nn.Module) -> tuple[str, ...]:
    """The classes of a model's innermost layers that have no formula, each once."""
    kinds = {type(each) for each in model.modules() if not any(True for _ in each.children())}
    return tuple(sorted(each.__name__ for each in kinds if each not in _RULES))


@rule(nn.Linear)
def linear(layer: nn.Linear, shape: Shape, element: int) -> Formula:
    """y[.., o] = x[.., i] W[o, i] + b[o]; dW needs x (addmm in derivatives.yaml)."""
    *batch, inputs = shape
    outputs = layer.out_features
    parameters = inputs * outputs + (outputs if layer.bias is not None else 0)
    return Formula(parameters, (*batch, outputs), saves_input=True)


@rule(nn.Conv1d, nn.Conv2d, nn.Conv3d)
def convolution(layer: Any, shape: Shape, element: int) -> Formula:
    """W[o, i / groups, *kernel]; dW needs x (convolution in derivatives.yaml)."""
    batch, channels, *sizes = shape
    outputs, kernel = layer.out_channels, layer.kernel_size
    parameters = outputs * channels // layer.groups * prod(kernel)
    parameters += outputs if layer.bias is not None else 0
    out = (
        _slid(size, k, s, _padding(layer.padding, i, k, d), d)
        for i, (size, k, s, d) in enumerate(
            zip(sizes, kernel, layer.stride, layer.dilation, strict=True)
        )
    )
    return Formula(parameters, (batch, outputs, *out), saves_input=True)


def _padding(padding: Any, axis: int, kernel: int, dilation: int) -> int:
    """Both sides together. ``same`` keeps the size, ``valid`` is none."""
    if isinstance(padding, str):
        return dilation * (kernel - 1) if padding == "same" else 0
    return 2 * int(padding[axis])


def _slid(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """How many places a window has: the formula under torch.nn.Conv2d."""
    return (size + padding - dilation * (kernel - 1) - 1) // stride + 1


@rule(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
def batch_norm(layer: Any, shape: Shape, element: int) -> Formula:
    """Saves x, and mean and inverse deviation of each channel (native_batch_norm)."""
    channels = shape[1]
    parameters = 2 * channels if layer.affine else 0
    return Formula(parameters, shape, saves_input=True, more=2 * channels * element)


@rule(nn.LayerNorm)
def layer_norm(layer: nn.LayerNorm, shape: Shape, element: int) -> Formula:
    """Saves x, and mean and inverse deviation of each row (native_layer_norm)."""
    normalized = layer.normalized_shape
    rows = prod(shape[: len(shape) - len(normalized)])
    biased = layer.weight is not None and layer.bias is not None
    parameters = (2 if biased else 1 if layer.weight is not None else 0) * prod(normalized)
    return Formula(parameters, shape, saves_input=True, more=2 * rows * element)


@rule(nn.GroupNorm)
def group_norm(layer: nn.GroupNorm, shape: Shape, element: int) -> Formula:
    """Saves x, and mean and inverse deviation of each group (native_group_norm)."""
    batch, channels = shape[:2]
    groups = layer.num_groups
    parameters = 2 * channels if layer.affine else 0
    return Formula(parameters, shape, saves_input=True, more=2 * batch * groups * element)


@rule(nn.Embedding)
def embedding(layer: nn.Embedding, shape: Shape, element: int) -> Formula:
    """y[.., d] = W[x[..], d]; dW needs the indices alone."""
    rows, width = layer.num_embeddings, layer.embedding_dim
    return Formula(rows * width, (*shape, width), saves_input=True)


@rule(nn.ReLU, nn.Sigmoid, nn.Tanh)
def of_its_result(layer: Any, shape: Shape, element: int) -> Formula:
    """The derivative is written in y: relu, sigmoid and tanh save their output."""
    return Formula(0, shape, saves_output=True)


@rule(nn.Identity)
def identity(layer: nn.Identity, shape: Shape, element: int) -> Formula:
    """What it is given."""
    return Formula(0, shape)


@rule(nn.AdaptiveAvgPool2d)
def adaptive_pool(layer: nn.AdaptiveAvgPool2d, shape: Shape, element: int) -> Formula:
    """To one number a channel it is a mean, which needs sizes alone; else it saves x."""
    wanted = layer.output_size
    wanted = wanted if isinstance(wanted, tuple) else (wanted, wanted)
    out = tuple(size if w is None else w for w, size in zip(wanted, shape[-2:], strict=True))
    return Formula(0, (*shape[:-2], *out), saves_input=out != (1, 1))


@rule(nn.GELU, nn.SiLU, nn.LeakyReLU, nn.Hardswish, nn.Hardsigmoid, nn.Mish, nn.ReLU6, nn.Softplus)
def of_its_input(layer: Any, shape: Shape, element: int) -> Formula:
    """The derivative is written in x."""
    in_place = getattr(layer, "inplace", False)
    if in_place:
        raise UsageError(f"{type(layer).__name__} in place has no formula: it saves a copy or not")
    return Formula(0, shape, saves_input=True)


@rule(nn.Softmax, nn.LogSoftmax)
def softmax(layer: Any, shape: Shape, element: int) -> Formula:
    """dx is written in y (_softmax, _log_softmax)."""
    return Formula(0, shape, saves_output=True)


@rule(nn.Dropout)
def dropout(layer: nn.Dropout, shape: Shape, element: int) -> Formula:
    """On a CPU the mask is of the input's numbers, already scaled (Dropout.cpp).

    On CUDA it is of bytes.
    """
    if not layer.training or layer.p == 0:
        return Formula(0, shape)
    return Formula(0, shape, more=prod(shape) * element)


@rule(nn.MaxPool2d)
def max_pool(layer: nn.MaxPool2d, shape: Shape, element: int) -> Formula:
    """Saves x, and where each maximum was: an index of 8 bytes (max_pool2d_with_indices)."""
    out = _pooled(layer, shape)
    return Formula(0, out, saves_input=True, more=prod(out) * 8)


@rule(nn.AvgPool2d)
def average_pool(layer: nn.AvgPool2d, shape: Shape, element: int) -> Formula:
    """dx needs the size of x alone, but torch saves x all the same (avg_pool2d)."""
    return Formula(0, _pooled(layer, shape), saves_input=True)


def _pooled(layer: Any, shape: Shape) -> Shape:
    *batch, height, width = shape
    if layer.ceil_mode:
        raise UsageError(f"{type(layer).__name__} with ceil_mode has no formula")
    pairs = [
        each if isinstance(each, tuple) else (each, each)
        for each in (layer.kernel_size, layer.stride, layer.padding)
    ]
    dilation = getattr(layer, "dilation", 1)
    return (
        *batch,
        *(
            _slid(size, pairs[0][i], pairs[1][i], 2 * pairs[2][i], dilation)
            for i, size in enumerate((height, width))
        ),
    )


@rule(nn.Flatten)
def flatten(layer: nn.Flatten, shape: Shape, element: int) -> Formula:
    """A view."""
    end = layer.end_dim % len(shape) + 1
    start = layer.start_dim
    return Formula(0, (*shape[:start], prod(shape[start:end]), *shape[end:]))


@rule(nn.LSTM)
def lstm(layer: nn.LSTM, shape: Shape, element: int) -> Formula:
    """W[4h, i], U[4h, h] and two biases of 4h, for each layer and direction.

    One layer in one direction, as oneDNN runs it on a CPU: x and h, c of the beginning, y and c of
    the end, and its workspace (RNN.cpp and mkldnn/RNN.cpp in aten).
    """
    if layer.num_layers > 1 or layer.bidirectional or layer.batch_first or layer.proj_size:
        raise UsageError("only an LSTM of one layer and direction, batch second, has a formula")
    steps, batch, width = shape
    hidden = layer.hidden_size
    biases = 8 * hidden if layer.bias else 0
    parameters = 4 * hidden * (width + hidden) + biases
    states = 4 * batch * hidden * element
    # Where there is no bias the CPU's path passes zeros instead, as large as the weights.
    zeros = 0 if layer.bias else parameters * element
    workspace = lstm_workspace(steps, batch, width, hidden, element)
    return Formula(
        parameters,
        (steps, batch, hidden),
        saves_input=True,
        saves_output=True,
        more=states + zeros + workspace,
    )
