"""What torch takes long to say of tensors without memory, said at once.

torch follows batch normalisation and some derivatives number by number in Python to know a shape,
anew for each shape, and makes a key for its cache each time that something is detached, as all is
that is saved for backward. Of ResNet-50's first breakdown these took half. Each is done here where
it is plain, and left to torch elsewhere; the tests hold them against the kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, in_kernel_invocation_manager

aten = torch.ops.aten


def _plain(tensor: torch.Tensor) -> bool:
    """Whether it fills its storage in one of the orders that torch keeps."""
    if not isinstance(tensor, FakeTensor) or tensor.layout is not torch.strided:
        return False
    if tensor.is_contiguous():
        return True
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(tensor.dim())
    return last is not None and tensor.is_contiguous(memory_format=last)


def _detach(args: Any, kwargs: Any, note: Callable[[str], object]) -> Any:
    source = args[0]
    usual = isinstance(source, FakeTensor) and source.layout is torch.strided
    if not usual or source.constant is not None:
        return NotImplemented
    with in_kernel_invocation_manager(source.fake_mode):
        alias = aten.detach.default(source)
    return FakeTensor(source.fake_mode, alias, source.fake_device)


def _batch_norm(args: Any, kwargs: Any, note: Callable[[str], object]) -> Any:
    # With an input of 16 bits and weights or running statistics of 32, as under autocast, mean and
    # inverse deviation are of 32 bits (aten/src/ATen/native/Normalization.cpp).
    source, weight, _, running, _, training = args[:6]
    if not training or not _plain(source) or source.numel() == 0:
        return NotImplemented
    other = weight if weight is not None else running
    dtype = source.dtype if other is None else other.dtype
    channels = source.shape[1]
    return (
        torch.empty_like(source),
        source.new_empty(channels, dtype=dtype),
        source.new_empty(channels, dtype=dtype),
    )


def _batch_norm_backward(args: Any, kwargs: Any, note: Callable[[str], object]) -> Any:
    _, source, weight, *_, wanted = args
    if not _plain(source) or (weight is None and any(wanted[1:])):
        return NotImplemented
    return tuple(
        torch.empty_like(like) if asked else None
        for like, asked in zip((source, weight, weight), wanted, strict=True)
    )


def _alike(args: Any, kwargs: Any, note: Callable[[str], object]) -> Any:
    first, second = args[:2]
    if not _plain(first) or not isinstance(second, FakeTensor):
        return NotImplemented
    same = first.dtype is second.dtype and first.shape == second.shape
    return torch.empty_like(first) if same and first.stride() == second.stride() else NotImplemented


INSTEAD: dict[Any, Callable[[Any, Any, Callable[[str], object]], Any]] = {
    aten.detach.default: _detach,
    aten.native_batch_norm.default: _batch_norm,
    aten.native_batch_norm_backward.default: _batch_norm_backward,
    aten.threshold_backward.default: _alike,
}
"""By operator, what is done in its place; NotImplemented where nothing is."""
