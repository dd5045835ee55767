"""The rest of torch as a script would find it with the card there: autocast, scalers, compilers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor


def put_on(note: Callable[[str], None]) -> None:
    """Let torch serve a script that expects a card."""
    _autocast()
    _scaler()
    _compilers(note)
    _initialisers()
    _lengths_on_the_host()
    # Tensors of inference mode take ways of their own past the modes; as memory it is no_grad.
    torch.inference_mode = lambda mode=True: torch.no_grad() if mode is True else _called(mode)


def _lengths_on_the_host() -> None:
    """A CTC loss takes its lengths from the host, wherever the rest is, and reads them.

    So does torch (aten/src/ATen/native/LossCTC.cpp), but not where tensors have no memory: there
    it reckons with them, which the card refuses.
    """
    plain = torch.ctc_loss

    def followed(
        scores: Any, targets: Any, steps: Any, lengths: Any,
        blank: int = 0, reduction: int = 1, zero_infinity: bool = False,
    ) -> Any:  # fmt: skip
        on_host = [isinstance(each, torch.Tensor) and not isinstance(each, FakeTensor)
                   for each in (steps, lengths)]  # fmt: skip
        if not isinstance(scores, FakeTensor) or scores.dim() != 3 or not all(on_host):
            return plain(scores, targets, steps, lengths, blank, reduction, zero_infinity)
        read = steps.tolist(), lengths.tolist()
        loss = torch.ops.aten._ctc_loss(scores, targets, *read, blank, zero_infinity)[0]
        if zero_infinity:
            loss = torch.where(loss == float("inf"), loss.new_zeros(()), loss)
        if reduction == 1:
            return (loss / loss.new_empty(len(read[1]))).mean()
        return loss.sum() if reduction == 2 else loss

    torch.ctc_loss = followed


def _called(function: Any) -> Any:
    """``@torch.inference_mode`` without brackets, or a context with ``False``."""
    return torch.no_grad()(function) if callable(function) else contextlib.nullcontext()


def _autocast() -> None:
    # Fake tensors are those of the CPU: its autocast is the one that sees them. What CUDA's does
    # otherwise is a matter of the rules.
    made = torch.amp.autocast_mode.autocast.__init__

    def init(self: Any, device_type: str, dtype: Any = None, *args: Any, **kwargs: Any) -> None:
        if device_type == "cuda":
            device_type, dtype = "cpu", dtype or torch.float16
        made(self, device_type, dtype, *args, **kwargs)

    torch.amp.autocast_mode.autocast.__init__ = init
    for name in ("is_autocast_enabled", "get_autocast_dtype", "set_autocast_enabled",
                 "set_autocast_dtype"):  # fmt: skip
        setattr(torch, name, _of_the_cpu(getattr(torch, name)))
    torch.get_autocast_gpu_dtype = lambda: torch.get_autocast_dtype("cpu")


def _of_the_cpu(function: Callable[..., Any]) -> Callable[..., Any]:
    def asked(*args: Any) -> Any:
        if not args or args[0] == "cuda":
            args = ("cpu", *args[1:])
        elif isinstance(args[0], bool | torch.dtype):  # the older way, of CUDA alone
            args = ("cpu", *args)
        return function(*args)

    return asked


def _scaler() -> None:
    scaler: Any = torch.amp.grad_scaler.GradScaler

    def step(self: Any, optimizer: Any, state: Any, *args: Any, **kwargs: Any) -> Any:
        return optimizer.step(*args, **kwargs)  # no gradient is taken as infinite

    scaler._maybe_opt_step = step

    def update(self: Any, new_scale: Any = None) -> None:
        if self._enabled:
            self._per_optimizer_states.clear()

    scaler.update = update
    scaler.get_scale = lambda self: float(self._init_scale) if self._enabled else 1.0


def _compilers(note: Callable[[str], None]) -> None:
    def as_it_is(what: str) -> Callable[..., Any]:
        def compiled(model: Any = None, *args: Any, **kwargs: Any) -> Any:
            note(f"{what} is passed over: the program is followed as eager torch runs it")
            if model is None:
                return lambda function: function
            return model

        return compiled

    torch.compile = as_it_is("torch.compile")
    torch.jit.script = as_it_is("torch.jit.script")
    torch.jit.trace = as_it_is("torch.jit.trace")
    torch.nn.Module.compile = lambda self, *_, **__: as_it_is("torch.compile")() and None


def _initialisers() -> None:
    """Weights without memory have no values: what sets them is left out."""
    for name in dir(torch.nn.init):
        if name.endswith("_") and not name.startswith("_"):
            setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)
