"""One step of a recurrent layer, `LSTMCell` and `GRUCell`: on CUDA a fused kernel of torch's own.

aten/src/ATen/native/RNN.cpp (``LSTMCell``, ``GRUCell``) and cuda/RNN.cu: two products, and a kernel
that keeps four numbers a unit of an LSTM and five of a GRU, where the CPU's operators keep more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

aten = torch.ops.aten


def _lstm(
    source: Any, state: Any, to_input: Any, to_state: Any, bias: Any = None, second: Any = None
) -> Any:
    last, cell = state
    of_input, of_state = source @ to_input.t(), last @ to_state.t()
    return aten._thnn_fused_lstm_cell(of_input, of_state, cell, bias, second)[:2]


def _gru(
    source: Any, last: Any, to_input: Any, to_state: Any, bias: Any = None, second: Any = None
) -> Any:
    of_input, of_state = source @ to_input.t(), last @ to_state.t()
    return aten._thnn_fused_gru_cell(of_input, of_state, last, bias, second)[0]


CELLS: dict[str, Callable[..., Any]] = {"lstm_cell": _lstm, "gru_cell": _gru}
"""By function of ``torch._VF``, what CUDA does."""


def taking(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    """A cell of fake tensors as CUDA has it; of others as before."""

    def taken(source: Any, *rest: Any) -> Any:
        if not isinstance(source, FakeTensor):
            return plain(source, *rest)
        return CELLS[name](source, *rest)

    return taken


def _lstm_forward(args: Any, kwargs: Any, note: Callable[[str], object]) -> Any:
    # torch's rule for tensors without memory fails where there are no biases.
    of_input, cell = args[0], args[2]
    if not isinstance(of_input, FakeTensor):
        return NotImplemented
    return (
        cell.new_empty(cell.shape),
        cell.new_empty(cell.shape),
        of_input.new_empty(of_input.shape),
    )


def _gru_forward(args: Any, kwargs: Any, note: Callable[[str], object]) -> Any:
    # No rule for tensors without memory: GRU_WORKSPACE_MULTIPLIER in cuda/RNN.cu.
    of_input, last = args[0], args[2]
    if not isinstance(of_input, FakeTensor):
        return NotImplemented
    batch, hidden = last.shape
    kept = last.new_empty((batch, 5 * hidden))
    return last.new_empty((batch, hidden)), kept


def _gru_backward(args: Any, kwargs: Any, note: Callable[[str], object]) -> Any:
    grad, kept, has_bias = args
    if not isinstance(kept, FakeTensor):
        return NotImplemented
    batch, gates = kept.shape[0], 3 * (kept.shape[1] // 5)
    both = [kept.new_empty((batch, gates)) for _ in range(2)]
    biases = [kept.new_empty(gates) if has_bias else None for _ in range(2)]
    return (*both, grad.new_empty(grad.shape), *biases)


INSTEAD: dict[Any, Callable[[Any, Any, Callable[[str], object]], Any]] = {
    aten._thnn_fused_lstm_cell.default: _lstm_forward,
    aten._thnn_fused_gru_cell.default: _gru_forward,
    aten._thnn_fused_gru_cell_backward.default: _gru_backward,
}
"""By operator, what is done in its place; NotImplemented where nothing is."""
