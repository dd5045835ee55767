"""What torch writes over its first argument, but not where tensors have no memory.

Three places of torch look whether a tensor is an ordinary one. Fake tensors are not, and get a
result of their own beside the first argument; what ordinary ones would do is decided here.

* Where gradients meet, autograd adds into the first of them if nobody else holds it
  (torch/csrc/autograd/input_buffer.cpp, ``can_accumulate_inplace``).
* ``linear`` multiplies an input that is not contiguous, and adds the bias into the product
  (aten/src/ATen/native/Linear.cpp, where ``isTensorSubclassLike`` asks). Recurrent layers do it
  from inside, so that the sum is known by who holds its first argument: torch alone, while one that
  the program asks for is held by the program, too.
* The gradient of ``binary_cross_entropy_with_logits`` is a chain of operators, each written over
  what the one before it made (aten/src/ATen/native/Loss.cpp, ``areAnyTensorSubclassLike``).
"""

from __future__ import annotations

import sys
from operator import le
from typing import Any

import torch
from torch.nn.functional import linear

aten = torch.ops.aten

_ADD = aten.add.Tensor
_PRODUCTS = {aten.mm.default, aten.bmm.default, aten.mv.default}
_GRADIENT, _BIAS = "gradient", "bias"
_CHAIN = {aten.sub.Tensor: aten.sub_.Tensor, aten.mul.Tensor: aten.mul_.Tensor}
_STARTS = {aten.sigmoid.default, aten.add.Scalar, aten.add.Tensor}
_CHAINED = "BinaryCrossEntropyWithLogitsBackward0"

Owners = tuple[int, int, int]
"""References to a tensor, to its storage and to its object in Python."""


class Overwriting:
    """Tells of an operator whether it writes over its first argument.

    How the references to a tensor count that torch alone has depends on Python, on torch and on
    the modes that are open: it is learned from sums of which it is known.
    """

    def __init__(self) -> None:
        self._sole: dict[str, Owners] = {}
        self._learning: dict[str, Owners] | None = None
        self._product = 0
        self._in_chain: set[int] = set()

    def made(self, func: Any, out: Any) -> None:
        """An operator was run: to be told of all, as `result` is asked for all."""
        if func in _PRODUCTS:
            self._product = out.untyped_storage()._cdata
        elif func in _STARTS:
            self._in_chain = {out.untyped_storage()._cdata} if _is_chained() else set()

    def result(self, func: Any, args: Any) -> torch.Tensor | None:
        """What an operator gives that writes over its first argument; None for any other.

        To be asked by a dispatch mode, with its own arguments.
        """
        if func in _CHAIN:
            first = args[0].untyped_storage()._cdata if self._in_chain else 0
            if first in self._in_chain and _is_chained():
                return _CHAIN[func](*args[:2])
            return None
        if func is not _ADD:
            return None
        kind = self._kind(args)
        if kind is None:
            return None
        counts = _owners(args[0])
        if self._learning is not None:
            self._learning[kind] = counts
            return None
        sole = self._sole.get(kind)
        if sole is None or not all(map(le, counts, sole)):
            return None
        first, second = args[:2]
        if kind is _GRADIENT:
            overwritten: torch.Tensor = first.add_(second)
        else:
            # autograd, which is above, wants another tensor than its argument.
            overwritten = aten.detach.default(first)
        return overwritten

    def _kind(self, args: Any) -> str | None:
        first, second = args[:2]
        if not isinstance(second, torch.Tensor) or first.dtype is not second.dtype:
            return None
        if second.dim() == 1 and first.untyped_storage()._cdata == self._product:
            return _BIAS if first.shape[-1:] == second.shape else None
        if torch._C._current_autograd_node() is None or first.shape != second.shape:
            return None
        return _GRADIENT if _dense(first) else None

    def learn(self, device: str = "cpu") -> None:
        """Find out how references count, under the modes that are open: to be called when all are.

        One gradient that is certainly free shows it, and one product inside ``linear``. Where a
        program's own sum counts the same, none is taken for that of ``linear``.
        """
        learned: dict[str, Owners] = {}
        own: dict[str, Owners] = {}
        self._learning = learned
        with torch.enable_grad():
            leaf = torch.empty(4, requires_grad=True, device=device)
            branch = leaf * 2
            ((branch * 3 + branch * 5) * 2).sum().backward()
        source = torch.empty(3, 2, 4, device=device).transpose(0, 1)
        weight = torch.empty(5, 4, device=device, requires_grad=True)
        bias = torch.empty(5, device=device, requires_grad=True)
        linear(source, weight, bias)
        self._learning = own
        source @ weight.t() + bias
        self._learning = None
        if _BIAS in learned and all(map(le, own.get(_BIAS, (0, 0, 0)), learned[_BIAS])):
            del learned[_BIAS]
        self._sole = learned


def _is_chained() -> bool:
    node = torch._C._current_autograd_node()
    return node is not None and node.name() == _CHAINED


def _owners(tensor: torch.Tensor) -> Owners:
    storage = tensor.untyped_storage()
    return (
        tensor._use_count(),
        torch._C._storage_Use_Count(storage._cdata),
        sys.getrefcount(tensor),
    )


def _dense(tensor: torch.Tensor) -> bool:
    """Whether its numbers fill their storage without gaps and overlaps, in any order."""
    step = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1:
            if stride != step:
                return False
            step *= size
    return True
