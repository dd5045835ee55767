"""Recurrent layers: on CUDA all layers and directions of one are one kernel of cuDNN.

A cell, which is one step, is a kernel of torch's (`recurrent_cells`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from timeline.theory.cuda import recurrent_cells
from timeline.theory.cuda.recurrent_kernel import MODES, Sizes, sizes_of_backward, sizes_of_forward
from timeline.theory.cuda.rules import Call, Effect, Once, Platform, Scratch, group
from timeline.theory.packing import running
from timeline.theory.tape import Amount

aten = torch.ops.aten

GROUP = group(
    "recurrent",
    "aten/src/ATen/native/cudnn/RNN.cpp (the kernel), cudnn/AutocastRNN.cpp (casts); the sizes of "
    "its reserve space and workspace as cuDNN 8.9 to 9.24 tell them",
    "recurrent layers run by cuDNN, which keeps for each step, sequence and unit five numbers of "
    "an LSTM, six of a GRU, one of others, and what one layer gives to the next; the workspaces "
    "are those of cuDNN 8.9 and later, and may be smaller",
)

PLAIN = group(
    "recurrent-without-cudnn", "aten/src/ATen/native/RNN.cpp: an LSTM step by step of time"
)

_TAKEN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_STATE = 2 << 20
"""What dropout between layers draws its numbers from; "slightly over 2MB" by RNN.cpp."""


@contextmanager
def by_cudnn() -> Iterator[None]:
    """While open, recurrent layers and cells of fake tensors take CUDA's kernels."""
    functions: Any = torch._VF
    kept = {name: getattr(functions, name) for name in (*MODES, *recurrent_cells.CELLS)}
    for name, plain in kept.items():
        taking = _taking if name in MODES else recurrent_cells.taking
        setattr(functions, name, taking(name, plain))
    try:
        yield
    finally:
        for name, plain in kept.items():
            setattr(functions, name, plain)


def _taking(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    has_cell = name == "lstm"

    def taken(*args: Any) -> Any:
        source = args[0]
        # As many words in both forms: after the input, a packed one has how many run at each step.
        packed = isinstance(args[1 if has_cell else 2], torch.Tensor)
        if not _acceptable(source):
            return plain(*args)
        if packed:
            _, counts, state, weights, biases, layers, dropout, train, both = args
            first, running_now = False, [int(each) for each in running(counts)]
        else:
            _, state, weights, biases, layers, dropout, train, both, first = args
            running_now = []
        hx, cx = state if has_cell else (state, None)
        hidden = (hx if cx is None else cx).shape[2]
        projection = hx.shape[2] if hx.shape[2] != hidden else 0
        if torch.is_autocast_enabled("cpu"):
            # Always to fp16, and anew at each call: cudnn/AutocastRNN.cpp.
            source, hx, cx, *weights = (_half(each) for each in (source, hx, cx, *weights))
        turned = source.detach().transpose(0, 1) if first else source.detach()
        copied = turned if turned.is_contiguous() else turned.contiguous()
        out, last, cell, *_ = aten._cudnn_rnn(
            source,
            list(weights),
            (4 if biases else 2) + bool(projection),
            None,
            hx,
            cx,
            MODES[name],
            hidden,
            projection,
            layers,
            first,
            dropout,
            train,
            both,
            running_now,
            None,
        )
        del copied
        return (out, last, cell) if has_cell else (out, last)

    return taken


def _acceptable(source: Any) -> bool:
    # aten/src/ATen/native/RNN.cpp, use_cudnn, and TensorProperties.cpp, cudnn_is_acceptable.
    return (
        isinstance(source, FakeTensor)
        and source.dtype in _TAKEN
        and source.numel() > 0
        and bool(torch.backends.cudnn.enabled)
    )


def _half(value: torch.Tensor | None) -> torch.Tensor | None:
    if value is None or value.dtype is torch.float64:
        return value
    return value.to(torch.float16)


def _workspace(sizes: Sizes, platform: Platform, *, train: bool) -> Scratch:
    """The 8 MiB are cuBLAS's advice before Hopper; there it is 32 (cublasSetWorkspace)."""
    size = sizes.workspace(train=train)
    more = 24 << 20 if platform.card.capability >= (9, 0) else 0
    most = size + more * sizes.layers * sizes.directions
    return Scratch(Amount(0, size, most), "workspace of cuDNN: recurrent layer")


def _copy(tensor: Any, batch_first: bool) -> list[Scratch]:
    if tensor is None:
        return []
    turned = tensor.transpose(0, 1) if batch_first else tensor
    if turned.is_contiguous():
        return []
    size = tensor.numel() * tensor.element_size()
    return [Scratch(Amount.exactly(size), "copy for cuDNN, step by step of time")]


@GROUP.rule(aten._cudnn_rnn.default)
def _forward(call: Call) -> Iterable[Effect]:
    sizes, train = sizes_of_forward(call.args)
    if sizes.dropout:
        state = Amount.exactly(_STATE)
        yield Once("dropout between recurrent layers", state, "state of random numbers")
    yield from call.out
    yield _workspace(sizes, call.platform, train=train)


@GROUP.rule(aten._cudnn_rnn_backward.default)
def _backward(call: Call) -> Iterable[Effect]:
    to_source, to_hx, to_cx, to_weights = call.out
    sizes = sizes_of_backward(call.args)
    source, hx, cx, grad, grad_hx, grad_cx = (call.args[i] for i in (0, 4, 5, 7, 8, 9))
    first = call.args[14] and not sizes.packed
    workspace = _workspace(sizes, call.platform, train=True)
    # Gradients that nobody gave are zeros, for as long as it runs.
    zeros = tuple(
        Scratch(Amount.exactly(like.numel() * like.element_size()), "zeros for cuDNN")
        for like, given in ((hx, grad_hx), (cx, grad_cx))
        if like is not None and given is None
    )
    copied = _copy(source, first)
    yield to_source
    yield to_hx
    if to_cx is not None:
        yield to_cx
    yield (*zeros, *copied, *_copy(grad, first), workspace)
    if to_weights:
        yield to_weights[0]
        yield (*zeros, *copied, workspace)


@PLAIN.rule(aten.mkldnn_rnn_layer.default)
def _lstm(call: Call) -> Iterable[Effect]:
    yield "what CUDA keeps of an LSTM without cuDNN: in its place stands what oneDNN does"
