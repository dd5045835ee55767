"""Tensors as a script would find them with the card there: where they are, and where they go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn.parameter import is_lazy

from timeline.theory.script.split import Split
from timeline.theory.script.values import line

_CARD, _HOST = torch.device("cuda", 0), torch.device("cpu")


def put_on(split: Split, note: Callable[[str], None]) -> None:
    """Let tensors tell of the card, and come and go as if it were there."""
    tensor: Any = torch.Tensor
    fake: Any = FakeTensor

    on_card = split.on_card

    def device(each: Any) -> torch.device:
        if each.fake_mode.in_kernel_invocation:
            return torch.device("meta")
        if split.inside:
            return each.fake_device
        return _CARD if on_card(each) else _HOST

    def keep(each: Any, value: Any) -> None:
        raise AttributeError("a tensor's device cannot be set: use .to(device)")

    fake.device = property(device, keep)
    fake.is_cuda = property(lambda each: on_card(each) and not split.inside)
    fake.is_cpu = property(lambda each: bool(split.inside) or not on_card(each))
    fake.get_device = lambda each: 0 if on_card(each) else -1

    dispatch = FakeTensorMode.dispatch

    def dispatched(*args: Any, **kwargs: Any) -> Any:
        # Not all ways to a fake operator lead through our mode, such as those of inference tensors.
        split.inside += 1
        try:
            return dispatch(*args, **kwargs)
        finally:
            split.inside -= 1

    FakeTensorMode.dispatch = dispatched
    real_to = tensor.to

    def to(each: Any, *args: Any, **kwargs: Any) -> Any:
        if split.inside:
            return real_to(each, *args, **kwargs)
        place, how = _destination(args, kwargs)
        if place is None or place.type not in ("cuda", "cpu"):
            return real_to(each, *args, **kwargs)
        if (place.type == "cuda") == on_card(each):
            return real_to(each, **{"dtype": each.dtype, **how})  # it is there
        if place.type == "cuda":
            return real_to(each, place, **how)
        split.to_host = True
        try:
            return torch.ops.aten._to_copy(
                each,
                dtype=how.get("dtype"),
                device=_HOST,
                memory_format=how.get("memory_format", torch.preserve_format),
            )
        finally:
            split.to_host = False

    def cuda(each: Any, device: Any = None, *_: object, **__: object) -> Any:
        return to(each, _CARD if device is None else _as_device(device))

    def cpu(each: Any, *_: object, **__: object) -> Any:
        return to(each, _HOST)

    tensor.to, tensor.cuda, tensor.cpu = to, cuda, cpu
    tensor.pin_memory = lambda each, *_, **__: each
    tensor.is_pinned = lambda each, *_, **__: False
    tensor.record_stream = lambda each, *_: None

    shown = fake.__format__

    def shown_as(each: Any, spec: str) -> Any:
        return format(each.item(), spec) if each.dim() == 0 else shown(each, spec)

    fake.__format__ = shown_as
    real_numpy = tensor.numpy

    def numpy(each: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(each, FakeTensor):
            return real_numpy(each, *args, **kwargs)
        if on_card(each):
            raise TypeError(
                "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the "
                "tensor to host memory first."
            )
        note(f"{line()} asks for an array of values, which are taken as 0")
        with torch._C._DisableTorchDispatch():
            like = real_numpy(torch.empty(0, dtype=each.dtype))
        # Strides of 0: an array of any size without memory.
        return (
            np.broadcast_to(np.zeros((), like.dtype), tuple(each.shape)).copy()
            if (each.numel() < 1 << 22)
            else np.broadcast_to(np.zeros((), like.dtype), tuple(each.shape))
        )

    tensor.numpy = numpy
    fake.__array__ = lambda each, dtype=None, *_, **__: np.asarray(numpy(each.cpu()), dtype)

    fake.__deepcopy__ = lambda each, memo: _copied(each, memo, split)
    new_parameter = torch.nn.Parameter.__new__

    def parameter(cls: Any, data: Any = None, requires_grad: bool = True) -> Any:
        if isinstance(data, torch.Tensor) and not isinstance(data, FakeTensor):
            data = split.of_parameter(data)
        return new_parameter(cls, data, requires_grad)

    torch.nn.Parameter.__new__ = parameter

    def applied(module: Any, fn: Callable[[Any], Any], recurse: bool = True) -> Any:
        outermost, split.moves_modules = not split.moves_modules, True
        try:
            return _applied(module, fn, recurse)
        finally:
            if outermost:
                split.moves_modules = False

    torch.nn.Module._apply = applied
    torch.Generator = _Generator


def _applied(module: Any, fn: Callable[[Any], Any], recurse: bool = True) -> Any:
    """What ``module.to`` does with real tensors: the parameter stays, and has new data.

    For fake ones torch would exchange the tensors themselves, which fails while anything knows them
    by a weak reference (torch/nn/modules/module.py).
    """
    if recurse:
        for child in module.children():
            child._apply(fn)
    with torch.no_grad():
        for parameter in module._parameters.values():
            # One without a size yet goes where its first batch is.
            if parameter is not None and not is_lazy(parameter):
                grad, parameter.grad = parameter.grad, None
                parameter.data = fn(parameter)
                if grad is not None:
                    parameter.grad = fn(grad)
        for name, buffer in module._buffers.items():
            if buffer is not None and not is_lazy(buffer):
                module._buffers[name] = fn(buffer)
    return module


def _copied(each: Any, memo: dict[int, Any], split: Split) -> Any:
    """What ``copy.deepcopy`` does with real tensors, as an average of weights or a teacher asks it.

    torch's own sets a new tensor on a copy of the storage, which fake ones refuse: theirs is on
    ``meta`` (torch/_tensor.py).
    """
    if id(each) in memo:
        return memo[id(each)]
    if not each.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
            "protocol at the moment."
        )
    with torch.no_grad():
        made = each.detach().clone(memory_format=torch.preserve_format)
        grad = None if each.grad is None else each.grad.detach().clone()
    if isinstance(each, torch.nn.Parameter):
        made = torch.nn.Parameter(made, each.requires_grad)
        split.taping.is_("parameter", [made])
    else:
        made.requires_grad_(each.requires_grad)
    made.grad = grad
    memo[id(each)] = made
    return made


class _Kind(type):
    """Of `_Generator`: its calls make torch's own, which count as instances."""

    def __call__(cls, device: Any = None) -> Any:
        return torch._C.Generator()

    def __instancecheck__(cls, each: object) -> bool:
        return isinstance(each, torch._C.Generator)


class _Generator(metaclass=_Kind):
    """A generator of random numbers: one of the host, wherever it was asked for."""


def _as_device(value: Any) -> torch.device:
    return torch.device("cuda", value) if isinstance(value, int) else torch.device(value)


def _destination(args: Any, kwargs: Any) -> tuple[torch.device | None, dict[str, Any]]:
    """Where ``to`` is to bring a tensor, and its other arguments by name.

    Its forms are ``to(device, dtype, non_blocking, copy)``, ``to(dtype, non_blocking, copy)`` and
    ``to(other, non_blocking, copy)``; a tensor stands for its device and dtype.
    """
    words = list(args)
    how = {name: value for name, value in kwargs.items() if value is not None}
    place, other = how.pop("device", None), how.pop("other", None)
    if words and isinstance(words[0], torch.Tensor):
        other = words.pop(0)
    elif words and (words[0] is None or isinstance(words[0], torch.device | str | int)):
        place = words.pop(0)
    if other is not None:
        place = other.device
        how.setdefault("dtype", other.dtype)
    if words and (words[0] is None or isinstance(words[0], torch.dtype)):
        dtype = words.pop(0)
        if dtype is not None:
            how["dtype"] = dtype
    how.update(zip(("non_blocking", "copy"), words, strict=False))
    return None if place is None else _as_device(place), how
