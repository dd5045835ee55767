"""Activations, dropout, and layers that return what they were given."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from timeline.theory.layers.registry import Formula, Shape, rule

if TYPE_CHECKING:
    from torch import nn


@rule("ReLU", "Sigmoid", "Tanh")
def of_its_result(layer: Any, shape: Shape, element: int) -> Formula:
    """The derivative is written in y: relu, sigmoid and tanh save their output.

    So it costs nothing of its own to write y over x.
    """
    return Formula(0, shape, saves_output=True, in_place=getattr(layer, "inplace", False))


@rule("LeakyReLU", "ELU", "SELU", "CELU")
def of_either(layer: Any, shape: Shape, element: int) -> Formula:
    """The derivative can be written in x or in y: in y if that is written over x.

    Both are in derivatives.yaml, as leaky_relu_ and elu_ beside leaky_relu and elu.
    """
    if layer.inplace:
        return Formula(0, shape, saves_output=True, in_place=True)
    return Formula(0, shape, saves_input=True)


@rule("Identity")
def identity(layer: nn.Identity, shape: Shape, element: int) -> Formula:
    """What it is given."""
    return Formula(0, shape)


_OF_ITS_INPUT = (
    "GELU", "SiLU", "Hardswish", "Hardsigmoid", "Hardtanh", "Mish", "ReLU6", "Softplus",
    "Threshold",
)  # fmt: skip


@rule(*_OF_ITS_INPUT)
def of_its_input(layer: Any, shape: Shape, element: int) -> Formula:
    """The derivative is written in x.

    In place saves no memory: x is copied before y is written over it (the copy is made by
    tools/autograd/gen_variable_type.py for every operator that saves what it overwrites).
    """
    if getattr(layer, "inplace", False):
        return Formula(0, shape, more=prod(shape) * element, in_place=True)
    return Formula(0, shape, saves_input=True)


@rule("PReLU")
def prelu(layer: nn.PReLU, shape: Shape, element: int) -> Formula:
    """dx and dW are written in x (_prelu_kernel)."""
    return Formula(layer.num_parameters, shape, saves_input=True)


@rule("Softmax", "LogSoftmax")
def softmax(layer: Any, shape: Shape, element: int) -> Formula:
    """dx is written in y (_softmax, _log_softmax)."""
    return Formula(0, shape, saves_output=True)


@rule("Dropout")
def dropout(layer: nn.Dropout, shape: Shape, element: int) -> Formula:
    """On a CPU the mask is of the input's numbers, already scaled (Dropout.cpp).

    On CUDA it is of bytes.
    """
    if not layer.training or layer.p == 0:
        return Formula(0, shape)
    if layer.p == 1:  # a product with one zero
        return Formula(0, shape, more=element, in_place=layer.inplace)
    return Formula(0, shape, more=prod(shape) * element, in_place=layer.inplace)


@rule("Flatten")
def flatten(layer: nn.Flatten, shape: Shape, element: int) -> Formula:
    """A view."""
    end = layer.end_dim % len(shape) + 1
    start = layer.start_dim
    return Formula(0, (*shape[:start], prod(shape[start:end]), *shape[end:]))
