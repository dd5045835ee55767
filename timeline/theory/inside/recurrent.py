"""Recurrent layers in oneDNN, and the packing of their sequences."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import torch

from timeline.theory.inside.sizes import Rule, size_of
from timeline.theory.layers.workspace import row_of
from timeline.theory.packing import running

aten = torch.ops.aten


def _pack(args: Any, out: Any) -> int:
    # Blocks of steps with as many sequences, shortest first; then they are put together
    # (PackedSequence.cpp).
    source, _, batch_first = args
    source = source.transpose(0, 1) if batch_first else source
    copied = step = 0
    for rows, each in groupby(running(out[1])):
        steps = len(list(each))
        block = source[step : step + steps, :rows]
        copied += 0 if block.is_contiguous() else size_of(block)
        step += steps
    return copied


def _lstm(args: Any, out: Any) -> int:
    """Weights in oneDNN's layout and the gates before they are activated (rnn_utils.cpp)."""
    source, weight, recurrent = args[:3]
    hidden = args[10]
    steps, batch, width = source.shape
    element = source.element_size()
    bias = 4 * hidden * element
    if element == 2:
        return int(size_of(weight) + size_of(recurrent) + bias)
    return int(_lstm_weights(width, hidden) + _lstm_gates(steps, batch, hidden) + bias)


def _lstm_weights(width: int, hidden: int) -> int:
    return (width + hidden) * row_of(4 * hidden, 4) * 4


def _lstm_gates(steps: int, batch: int, hidden: int) -> int:
    cells = 2 * -(-batch * row_of(hidden, 4) * 4 // 4096) * 4096
    return steps * batch * row_of(4 * hidden, 4) * 4 + cells + 6000


def _lstm_backward(args: Any, out: Any) -> int:
    source, weight, recurrent = args[:3]
    hidden = args[15]
    steps, batch, width = source.shape
    outer = args[10]  # the gradient of what the layer returned
    inside = 2 * batch * hidden * 4  # gradients of the last states, as zeros
    inside += _lstm_weights(width, hidden)  # gradients of the weights
    if isinstance(outer, torch.Tensor) and not outer.is_contiguous():
        inside += size_of(outer)
    if source.element_size() == 2:
        # The gradient of the output in 32 bits; the weights stay of 16.
        return int(inside + steps * batch * hidden * 4 + size_of(weight) + size_of(recurrent))
    for columns in (width, hidden):
        row = row_of(columns, 4)
        if row != columns:  # weights whose rows are no whole cache lines are copied
            inside += 4 * hidden * row * 4
    return int(inside + _lstm_gates(steps, batch, hidden) + 2 * 4 * hidden * 4)


RULES: dict[Any, Rule] = {
    aten._pack_padded_sequence.default: _pack,
    aten.mkldnn_rnn_layer.default: _lstm,
    aten.mkldnn_rnn_layer_backward.default: _lstm_backward,
}
