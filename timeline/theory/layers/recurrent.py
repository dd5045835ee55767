"""Recurrent layers, of any number of layers and in one direction or two, as a CPU runs them.

What they have in common: ``hx`` is zeros of all layers and directions in one storage, the outputs
of both directions are put together into the input of the next layer, and dropout stands between
layers, not after the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from timeline.errors import UsageError
from timeline.theory.layers.registry import Formula, Shape, rule
from timeline.theory.layers.workspace import lstm_workspace

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class _Sizes:
    """What all three kinds are computed from; numbers, not bytes."""

    steps: int
    batch: int
    width: int
    hidden: int
    directions: int
    layers: int
    copied: bool
    """The input is (batch, step, number) and is copied into the other order."""

    dropout: bool

    @classmethod
    def of(cls, layer: Any, shape: Shape) -> _Sizes:
        if layer.proj_size or len(shape) != 3:
            raise UsageError(
                f"{type(layer).__name__} with proj_size, or without a batch, has no formula"
            )
        steps, batch = (shape[1], shape[0]) if layer.batch_first else shape[:2]
        return cls(
            steps,
            batch,
            shape[2],
            layer.hidden_size,
            2 if layer.bidirectional else 1,
            layer.num_layers,
            layer.batch_first and steps > 1 and batch > 1,
            layer.training and layer.dropout > 0,
        )

    def widths(self) -> list[int]:
        """Of the input of each layer."""
        return [self.width] + [self.hidden * self.directions] * (self.layers - 1)

    @property
    def state(self) -> int:
        """One state of one layer and direction."""
        return self.batch * self.hidden

    @property
    def result(self) -> int:
        """What a layer gives, of all steps and directions."""
        return self.steps * self.state * self.directions

    def parameters(self, gates: int, biased: bool) -> int:
        """W[gates h, i], U[gates h, h] and two biases of each layer and direction."""
        return self.directions * sum(
            gates * self.hidden * (width + self.hidden + (2 if biased else 0))
            for width in self.widths()
        )

    def output(self, layer: Any) -> Shape:
        wide = self.hidden * self.directions
        if layer.batch_first:
            return (self.batch, self.steps, wide)
        return (self.steps, self.batch, wide)

    def between(self) -> int:
        """The inputs of all layers but the first, with the masks of dropout."""
        return (self.layers - 1) * self.result * (2 if self.dropout else 1)


@rule("RNN")
def rnn(layer: nn.RNN, shape: Shape, element: int) -> Formula:
    """h' = tanh(W x + b + U h + c), step by step: tanh saves h', and U's product the h before it.

    So there are h of the beginning and of every step (RNN.cpp, SimpleCell). What is returned is
    stacked from them, and not saved.
    """
    sizes = _Sizes.of(layer, shape)
    cells = sizes.layers * sizes.directions * (sizes.steps + 1) * sizes.state
    return _stepwise(layer, sizes, 1, cells, element)


@rule("GRU")
def gru(layer: nn.GRU, shape: Shape, element: int) -> Formula:
    """r, z = sigmoid(..), n = tanh(W x + r * U h), h' = z * (h - n) + n (RNN.cpp, GRUCell).

    A step saves the storage of its three products with h, which the gates are written over; what
    stood there of n before r was multiplied in; n; h - n; and the h before it: 7 states.
    """
    sizes = _Sizes.of(layer, shape)
    cells = sizes.layers * sizes.directions * sizes.steps * 7 * sizes.state
    return _stepwise(layer, sizes, 3, cells, element)


def _stepwise(layer: Any, sizes: _Sizes, gates: int, cells: int, element: int) -> Formula:
    """The products with x are made of all steps at once, and save x, or each direction a copy."""
    copy = sizes.steps * sizes.batch * sizes.width * sizes.directions if sizes.copied else 0
    return Formula(
        sizes.parameters(gates, layer.bias),
        sizes.output(layer),
        saves_input=not sizes.copied,
        more=(cells + sizes.between() + copy) * element,
    )


@rule("LSTM")
def lstm(layer: nn.LSTM, shape: Shape, element: int) -> Formula:
    """As oneDNN runs it on a CPU (RNN.cpp and mkldnn/RNN.cpp in aten).

    A layer in one direction saves x, h and c of the beginning, y, h and c of the end, and its
    workspace. y of one direction is what is returned or the next layer's x; two are put together
    into another storage, and dropout makes another, too.
    """
    sizes = _Sizes.of(layer, shape)
    parameters = sizes.parameters(4, layer.bias)
    states = 4 * sizes.layers * sizes.directions * sizes.state
    # Where there is no bias the CPU's path passes zeros instead, as large as the weights.
    zeros = 0 if layer.bias else parameters
    copy = sizes.steps * sizes.batch * sizes.width if sizes.copied else 0
    numbers = states + zeros + copy + sizes.between()
    alone = sizes.directions == 1
    if not alone:
        numbers += sizes.layers * sizes.result
    elif sizes.dropout:
        numbers += (sizes.layers - 1) * sizes.result
    workspaces = sizes.directions * sum(
        lstm_workspace(sizes.steps, sizes.batch, width, sizes.hidden, element)
        for width in sizes.widths()
    )
    return Formula(
        parameters,
        sizes.output(layer),
        saves_input=not sizes.copied,
        saves_output=alone,
        more=numbers * element + workspaces,
    )
