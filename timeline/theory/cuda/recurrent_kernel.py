"""cuDNN's kernel of recurrent layers: what it returns, keeps for backward and works in.

torch gives all layers and directions to one kernel (aten/src/ATen/native/cudnn/RNN.cpp,
``_cudnn_rnn``). cuDNN alone knows the sizes of its two buffers (``cudnnGetRNNTempSpaceSizes``). The
formulas follow the algorithm, and were held against what cuDNN 8.9 to 9.24 answer and against two
sizes that a P100 printed in 2017 (docs/decisions/0015-the-reserve-space-of-recurrent-layers.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

aten = torch.ops.aten

MODES = {"rnn_relu": 0, "rnn_tanh": 1, "lstm": 2, "gru": 3}
"""``cudnnRNNMode_t``."""

_LSTM = MODES["lstm"]
_KEPT = {_LSTM: 5, MODES["gru"]: 6}
"""Numbers kept for each step, sequence and unit: an LSTM's four gates and its cell, of others the
one that a unit gives. A GRU's three gates and the sum inside its candidate would be four; cuDNN
keeps six."""

_GATES = {_LSTM: 4, MODES["gru"]: 3}
_MiB = 1 << 20


@dataclass(frozen=True, slots=True)
class Sizes:
    """One call of the kernel.

    Attributes:
        mode: which kind of layer, by `MODES`.
        steps: of the longest sequence.
        batch: sequences.
        rows: steps times sequences, or fewer where the sequences are packed.
        packed: whether they are.
        width: numbers in a step of the input.
        hidden: units of a layer and direction, and ``out`` those that it gives, of a projection.
        layers, directions: how often.
        element: bytes of a number.
        dropout: whether it drops between the layers.
    """

    mode: int
    steps: int
    batch: int
    rows: int
    packed: bool
    width: int
    hidden: int
    out: int
    layers: int
    directions: int
    element: int
    dropout: bool

    def reserve(self) -> int:
        """Bytes that training keeps until backward.

        Each layer and direction keeps its gates and cells, and with a projection what goes in and
        comes out of it. Each layer but the last keeps what it gave to the next, and where some of
        it is dropped one bit of each number, padded, by direction.
        """
        units = self.rows * self.hidden * self.directions
        each = _KEPT.get(self.mode, 1) * units
        if self.out != self.hidden:
            each += self.rows * self.directions * (self.hidden + self.out)
        between = (self.layers - 1) * units
        bits = 0
        if self.dropout:
            padded = self.steps * self.batch * self.out * self.directions**2
            bits = -(-(self.layers - 1) * padded // 8)
        return (self.layers * each + between) * self.element + bits + 256

    def workspace(self, *, train: bool) -> int:
        """Bytes that it works in.

        Copies of the weights, and of each step what comes and goes, its gates or, for the gradients
        of the weights, its widest input; and 8 MiB of cuBLAS for each layer and direction.
        """
        units = self.directions * self.hidden
        both = self.directions == 2
        sides = 0 if self.packed else self.width + self.directions * self.out
        projected = units if self.out != self.hidden else 0
        work = _GATES.get(self.mode, 1) * units + (2 * units if both else 0) + projected
        if self.dropout and not both:
            work += units
        if train:
            widest = max(self.width, self.hidden) * (4 if both else 1)
            ends = units if self.layers == 1 else 2 * units if both else 0
            work = max(work, sides + widest + ends + projected)
        states = (2 if self.mode == _LSTM else 1) * (6 if both else 5)
        numbers = self.rows * (sides + work) + self.layers * self.batch * units * states
        numbers += self.weights(biases=False)
        return self.layers * self.directions * 8 * _MiB + numbers * self.element

    def weights(self, *, biases: bool = True) -> int:
        """Numbers in the weights of all layers, with both biases of each gate."""
        gates = _GATES.get(self.mode, 1) * self.hidden
        total = 0
        for layer in range(self.layers):
            width = self.width if layer == 0 else self.out * self.directions
            each = gates * (width + self.out) + (2 * gates if biases else 0)
            if self.out != self.hidden:
                each += self.hidden * self.out
            total += each * self.directions
        return total


def sizes_of(
    source: torch.Tensor,
    mode: int,
    hidden: int,
    projection: int,
    layers: int,
    batch_first: bool,
    dropout: float,
    bidirectional: bool,
    batch_sizes: Any,
) -> Sizes:
    """Of the arguments that forward and backward have in common."""
    packed = len(batch_sizes) > 0
    if packed:
        steps, batch = len(batch_sizes), batch_sizes[0]
    else:
        batch, steps = source.shape[:2] if batch_first else source.shape[1::-1]
    return Sizes(
        mode=mode,
        steps=steps,
        batch=batch,
        rows=source.numel() // source.shape[-1],
        packed=packed,
        width=source.shape[-1],
        hidden=hidden,
        out=projection or hidden,
        layers=layers,
        directions=2 if bidirectional else 1,
        element=source.element_size(),
        dropout=dropout > 0,
    )


def sizes_of_forward(args: Any) -> tuple[Sizes, bool]:
    """Of a call of ``_cudnn_rnn``; and whether it trains."""
    mode, hidden, projection, layers, first, dropout, train, both, running = args[6:15]
    given = (mode, hidden, projection, layers, first, dropout if train else 0.0, both, running)
    return sizes_of(args[0], *given), train


def sizes_of_backward(args: Any) -> Sizes:
    """Of a call of ``_cudnn_rnn_backward``, which there is in training alone."""
    mode, hidden, projection, layers, first, dropout, _, both, running = args[10:19]
    return sizes_of(args[0], mode, hidden, projection, layers, first, dropout, both, running)


def _forward(args: Any, kwargs: Any, note: Callable[[str], object]) -> Any:
    # torch's rule says that the reserve space is empty.
    source, hx, cx, first = args[0], args[4], args[5], args[10]
    if not isinstance(source, FakeTensor):
        return NotImplemented
    sizes, train = sizes_of_forward(args)
    given = sizes.directions * sizes.out
    if sizes.packed:
        out = source.new_empty((sizes.rows, given))
    else:
        out = source.new_empty((sizes.steps, sizes.batch, given))
        out = out.transpose(0, 1) if first else out
    many = sizes.layers * sizes.directions, sizes.batch
    last = hx.new_empty((*many, sizes.out))
    cell = hx.new_empty(0) if cx is None else cx.new_empty((*many, sizes.hidden))
    reserve = source.new_empty(sizes.reserve() if train else 0, dtype=torch.uint8)
    # The weights lie in one buffer already (flatten_parameters): none is made.
    return out, last, cell, reserve, source.new_empty(0)


def _backward(args: Any, kwargs: Any, note: Callable[[str], object]) -> Any:
    source, weights, hx, cx, first, train = args[0], args[1], args[4], args[5], args[14], args[16]
    if not isinstance(source, FakeTensor):
        return NotImplemented
    if not train:
        raise RuntimeError("cudnn RNN backward can only be called in training mode")
    sizes = sizes_of_backward(args)
    turned = source.transpose(0, 1) if first and not sizes.packed else source
    to_source = source.new_empty(turned.shape)
    if turned is not source:
        to_source = to_source.transpose(0, 1)
    to_weights = []
    if args[21][3]:
        whole, at = source.new_empty(sizes.weights()), 0
        for each in weights:
            to_weights.append(whole.narrow(0, at, each.numel()).view(each.shape))
            at += each.numel()
    to_cx = None if cx is None else cx.new_empty(cx.shape)
    return to_source, hx.new_empty(hx.shape), to_cx, to_weights


INSTEAD: dict[Any, Callable[[Any, Any, Callable[[str], object]], Any]] = {
    aten._cudnn_rnn.default: _forward,
    aten._cudnn_rnn_backward.default: _backward,
}
"""By operator, what is done in its place; NotImplemented where nothing is."""
