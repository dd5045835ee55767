"""Values that nobody computed: what a script is told when it asks, and sizes that depend on them.

A number that is asked for is 1, a condition that of a healthy run: a loss is finite, and not over
a threshold. Where a result's size depends on values, it has the largest that it could have. Each
is said once, with the line that asked.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils.weak import WeakTensorKeyDictionary

aten = torch.ops.aten

_ITEM = aten._local_scalar_dense.default

_HEALTHY = {
    aten.lt: True, aten.le: True, aten.gt: False, aten.ge: False, aten.eq: False, aten.ne: True,
}  # fmt: skip
_CARRY = {aten.all, aten.any, aten.view, aten.detach, aten._to_copy, aten.clone, aten.select}

_TORCH = os.path.dirname(torch.__file__) + os.sep
_DISTRIBUTIONS = os.path.join(_TORCH, "distributions")
_OURS = os.path.dirname(os.path.dirname(os.path.dirname(__file__))) + os.sep
_INSTALLED = tuple(
    os.path.realpath(each) + os.sep
    for each in {os.path.dirname(os.path.dirname(_TORCH)), os.path.dirname(os.__file__)}
)


def line() -> str:
    """``train.py:41``, the innermost line at work that is of the user's own file."""
    frame: FrameType | None = sys._getframe(1)
    best = None
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith((_TORCH, _OURS, "<")):
            found = f"{os.path.basename(file)}:{frame.f_lineno}"
            if is_own(file):
                return found
            best = best or found
        frame = frame.f_back
    return best or "the script"


def _in_distributions() -> bool:
    """Whether torch's own code looks if the parameters of a distribution can be."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith((_TORCH, _OURS, "<")):
        if frame.f_code.co_filename.startswith(_DISTRIBUTIONS):
            return True
        frame = frame.f_back
    return False


def is_own(file: str) -> bool:
    """Whether a file of code is the user's, and not installed."""
    return not file.startswith((_TORCH, _OURS, "<")) and not os.path.realpath(file).startswith(
        _INSTALLED
    )


class Unknown(RuntimeError):
    """A script cannot be followed further: what it does next depends on values."""


class Answers:
    """What is said of values.

    Args:
        note: takes a sentence on what was taken for granted.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._truths = WeakTensorKeyDictionary()
        self._compared = WeakTensorKeyDictionary()

    def asked(self, func: Any, args: Any) -> tuple[bool, Any]:
        """Whether an operator asks for a value, and the answer."""
        if func is not _ITEM:
            return False, None
        tensor = args[0]
        constant = getattr(tensor, "constant", None)
        if constant is not None:
            return True, constant.item()
        if tensor.dtype is torch.bool:
            if _in_distributions():
                return True, True
            truth = self._truths.get(tensor, False)
            self._note(f"{line()} asks for a condition, which is taken as {truth}")
            return True, truth
        answer: float = 1.0 if tensor.dtype.is_floating_point else 1
        self._note(f"{line()} asks for a value, which is taken as {answer}")
        return True, answer

    def learn(self, func: Any, args: Any, out: Any) -> None:
        """Remember what a condition would be in a healthy run."""
        if not isinstance(out, torch.Tensor) or out.dtype is not torch.bool:
            return
        packet = func.overloadpacket
        first = args[0] if args else None
        other = args[1] if len(args) > 1 else None
        truth: bool | None = None
        if packet in _HEALTHY:
            truth = _HEALTHY[packet]
            if isinstance(other, torch.Tensor) and other.dim() and first is not other:
                self._compared[out] = True
            if first is other and first is not None:  # x != x asks whether x is NaN
                truth = packet in (aten.eq, aten.le, aten.ge)
            elif isinstance(other, float) and math.isinf(other):
                truth = packet in (aten.ne, aten.lt, aten.le)
        elif packet is aten.logical_not or packet is aten.bitwise_not:
            truth = not self._truth(first)
        elif packet in (aten.mul, aten.logical_and, aten.bitwise_and):
            truth = self._truth(first) and self._truth(other)
        elif packet in (aten.logical_or, aten.bitwise_or):
            truth = self._truth(first) or self._truth(other)
        elif packet in (aten.all, aten.any) and first in self._compared:
            # Of two tensors, number by number: `if (high <= low).any(): raise`, or an assertion.
            truth = packet is aten.all
        elif packet in _CARRY:
            truth = self._truth(first)
        if truth is not None:
            self._truths[out] = truth

    def _truth(self, value: Any) -> bool:
        return bool(self._truths.get(value, False)) if isinstance(value, torch.Tensor) else False

    def bounded(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The largest result that there could be, or NotImplemented if its size is known."""
        if func is aten._pack_padded_sequence.default:
            return _packed(*args) if not isinstance(args[1], FakeTensor) else NotImplemented
        if func is aten.index.Tensor:
            if not any(_is_mask(each) and isinstance(each, FakeTensor) for each in args[1]):
                return NotImplemented
            self._say_bound()
            return func(args[0], [*_spread(args[1])])
        if func is aten.histc.default and isinstance(args[0], FakeTensor):
            # CUDA has it for whole numbers, too; experts of a mixture are counted by it.
            return args[0].new_empty(args[1] if len(args) > 1 else 100)
        rule = _BOUNDS.get(func)
        if rule is None or not any(isinstance(each, FakeTensor) for each in args):
            return NotImplemented
        self._say_bound()
        return rule(*args, **kwargs)

    def _say_bound(self) -> None:
        self._note(
            f"the size of a result at {line()} depends on values: the largest possible is taken"
        )


def _is_mask(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype in (torch.bool, torch.uint8)


def _spread(indices: Any) -> Any:
    for each in indices:
        if _is_mask(each):
            for _ in range(each.dim()):
                yield torch.empty(each.numel(), dtype=torch.int64)
        else:
            yield each


def counted(indices: Any) -> Any:
    """Real masks among indices as the places that they name: their number is known."""
    found: list[Any] = []
    for each in indices:
        if _is_mask(each) and not isinstance(each, FakeTensor):
            with torch._C._DisableTorchDispatch():
                found += each.nonzero().unbind(1)
        else:
            found.append(each)
    return found


def _nonzero(source: torch.Tensor) -> torch.Tensor:
    return torch.empty((source.numel(), source.dim()), dtype=torch.int64)


def _masked_select(source: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    shape = torch.broadcast_shapes(source.shape, mask.shape)
    return torch.empty(math.prod(shape), dtype=source.dtype)


def _unique(source: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    count = source.numel()
    return (
        torch.empty(count, dtype=source.dtype),
        torch.empty(source.shape, dtype=torch.int64),
        torch.empty(count, dtype=torch.int64),
    )


def _counts(source: torch.Tensor, weights: Any = None, minlength: int = 0) -> torch.Tensor:
    dtype = torch.int64 if weights is None else weights.dtype
    return torch.empty(max(minlength, source.numel()), dtype=dtype)


def _packed(source: torch.Tensor, lengths: torch.Tensor, batch_first: bool) -> Any:
    """A padded batch whose lengths are known: so is what is left of it."""
    steps = source.shape[1] if batch_first else source.shape[0]
    with torch._C._DisableTorchDispatch():
        like = torch.empty((steps, len(lengths), 1))
        sizes = aten._pack_padded_sequence(like, lengths, False)[1]
        total = int(sizes.sum())
    return source.new_empty((total, *source.shape[2:])), sizes


def _kept_boxes(boxes: torch.Tensor, *args: Any) -> torch.Tensor:
    return torch.empty(boxes.shape[0], dtype=torch.int64)


def _ctc(scores: torch.Tensor, targets: torch.Tensor, *args: Any) -> Any:
    steps, batch, _ = scores.shape
    longest = targets.shape[-1]  # of one row, or of all in a row
    return scores.new_empty(batch), scores.new_empty((batch, steps, 2 * longest + 1))


_BOUNDS: dict[Any, Callable[..., Any]] = {
    aten.nonzero.default: _nonzero,
    aten.masked_select.default: _masked_select,
    aten._unique2.default: _unique,
    aten.unique_consecutive.default: _unique,
    aten.bincount.default: _counts,
    aten._ctc_loss.Tensor: _ctc,
}


def learn_torchvision() -> None:
    """Know of torchvision's operators whose results depend on values, once it is imported."""
    try:
        _BOUNDS[torch.ops.torchvision.nms.default] = _kept_boxes
    except (AttributeError, RuntimeError):
        pass  # a torchvision without its operators
