"""Packed sequences: their sizes are values, which tensors without memory do not have.

``pack_padded_sequence`` makes a batch of as many rows as its sequences have steps, and tells
recurrent layers how many sequences still run at each. Where the lengths are known, a list in the
program or a tensor among the inputs, so are these; else all are taken to be as long as the longest.
How many run is a real tensor here, since torch reads it from memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils.weak import WeakTensorKeyDictionary

aten = torch.ops.aten

AS_LONG = "sequences that are packed are taken to be as long as the longest: lengths are values"

_LARGEST = 1 << 16
"""Whole numbers in a row above this are not remembered."""

_known = WeakTensorKeyDictionary()
"""Values of tensors of whole numbers, where somebody may still ask for them."""


def know(tensor: torch.Tensor, values: Sequence[int]) -> None:
    """These are the values of a tensor."""
    _known[tensor] = tuple(values)


def running(sizes: torch.Tensor) -> Sequence[int]:
    """How many sequences run at each step, of what `pack_padded_sequence` tells of it."""
    known: Sequence[int] | None = _known.get(sizes)
    return sizes.tolist() if known is None else known


def know_as(tensor: torch.Tensor, real: torch.Tensor) -> None:
    """The values of a tensor are those of a real one, if they may be lengths."""
    if _is_real(real) and real.dim() == 1 and real.numel() <= _LARGEST and _is_whole(real.dtype):
        with torch._C._DisableTorchDispatch():
            know(tensor, real.tolist())


def _is_real(tensor: Any) -> bool:
    usual = isinstance(tensor, torch.Tensor) and not isinstance(tensor, FakeTensor)
    return usual and tensor.device.type == "cpu"


def _is_whole(dtype: torch.dtype) -> bool:
    return dtype in (torch.int64, torch.int32)


def _pack(args: Any, kwargs: Any, note: Callable[[str], object]) -> Any:
    """aten/src/ATen/native/PackedSequence.cpp, ``_pack_padded_sequence``."""
    source, lengths, batch_first = args
    if not isinstance(source, FakeTensor):
        return NotImplemented
    steps, batch = source.shape[:2] if not batch_first else (source.shape[1], source.shape[0])
    if not isinstance(lengths, FakeTensor):
        know_as(lengths, lengths)
    known = _known.get(lengths)
    if known is None:
        note(AS_LONG)
        known = (steps,) * batch
    with torch._C._DisableTorchDispatch():
        # torch itself looks whether the lengths are in order, and says what is wrong with them.
        like = torch.empty((steps, batch, 1))
        sizes = aten._pack_padded_sequence(like, torch.tensor(known, dtype=torch.int64), False)[1]
        know(sizes, sizes.tolist())
    return source.new_empty((sum(known), *source.shape[2:])), sizes


def _one_of_many(args: Any, kwargs: Any, note: Callable[[str], object]) -> Any:
    # A layer asks how many sequences there are.
    known = _known.get(args[0]) if _is_real(args[0]) and _is_whole(args[0].dtype) else None
    if known is None:
        return NotImplemented
    with torch._C._DisableTorchDispatch():
        one = args[0][args[2]]
        know(one, [int(one)])
    return one


def _value(args: Any, kwargs: Any, note: Callable[[str], object]) -> Any:
    known = _known.get(args[0]) if _is_whole(args[0].dtype) else None
    return NotImplemented if known is None or args[0].dim() else known[0]


def _lifted(args: Any, kwargs: Any, out: Any) -> Any:
    know_as(out, args[0])
    return out


def _same(args: Any, kwargs: Any, out: Any) -> Any:
    known = _known.get(args[0]) if _is_whole(out.dtype) else None
    if known is not None:
        know(out, known)
    return out


def _sorted(args: Any, kwargs: Any, out: Any) -> Any:
    known = _known.get(args[0]) if _is_whole(args[0].dtype) else None
    if known is not None:
        down = args[2] if len(args) > 2 else (kwargs or {}).get("descending", False)
        know(out[0], sorted(known, reverse=down))
    return out


INSTEAD: dict[Any, Callable[[Any, Any, Callable[[str], object]], Any]] = {
    aten._pack_padded_sequence.default: _pack,
    aten.select.int: _one_of_many,
    aten._local_scalar_dense.default: _value,
}
"""By operator, what is done in its place; NotImplemented where nothing is."""

CORRECTIONS: dict[Any, Callable[[Any, Any, Any], Any]] = {
    aten.lift_fresh.default: _lifted,
    aten._to_copy.default: _same,
    aten.sort.default: _sorted,
}
"""By operator, what is remembered of its result."""


@contextmanager
def padding() -> Iterator[None]:
    """While open, ``pad_packed_sequence`` works without memory.

    torch writes the lengths that it returns into memory on its way, before any mode sees it.
    """
    functions: Any = torch._VF
    torch_s = functions._pad_packed_sequence

    def pad(
        data: torch.Tensor, sizes: torch.Tensor, batch_first: bool, value: float, total: int
    ) -> Any:
        known = _known.get(sizes) if isinstance(data, FakeTensor) else None
        if known is None:
            return torch_s(data, sizes, batch_first, value, total)
        return _padded(data, known, batch_first, value, total)

    functions._pad_packed_sequence = pad
    try:
        yield
    finally:
        functions._pad_packed_sequence = torch_s


def _padded(
    data: torch.Tensor, running: Sequence[int], batch_first: bool, value: float, total: int
) -> Any:
    """The same file, ``_pad_packed_sequence``: as many steps at once as run in as many rows."""
    shape = data.shape[1:]
    out = data.new_full((max(total, len(running)), running[0], *shape), value)
    step = row = 0
    for rows, each in groupby(running):
        steps = len(list(each))
        part = data.narrow(0, row, steps * rows).view(steps, rows, *shape)
        out.narrow(0, step, steps).narrow(1, 0, rows).copy_(part)
        step, row = step + steps, row + steps * rows
    lengths = torch.empty(running[0], dtype=torch.int64)
    know(lengths, [sum(rows > i for rows in running) for i in range(running[0])])
    return out.transpose(0, 1) if batch_first else out, lengths
