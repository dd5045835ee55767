"""Autocast on CUDA: its lists of operators, in the place of the CPU's.

The dispatcher of every build of torch knows the kernels of CUDA's autocast by name, so which
operators are on a list is asked of the torch that is installed; here stands only what is done with
them. What is on none of the smaller lists runs in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from timeline.theory.cuda.rules import Platform, group

GROUP = group(
    "autocast",
    "aten/src/ATen/autocast_mode.h (lists) and autocast_mode.cpp (casts, the cache of weights)",
)

_LOWER = {
    "_convolution", "_convolution.deprecated", "conv1d", "conv2d", "conv3d", "conv_tbc",
    "conv_transpose1d", "conv_transpose2d.input", "conv_transpose3d.input", "convolution",
    "cudnn_convolution", "cudnn_convolution_transpose", "prelu", "addmm", "addmv", "addr", "matmul",
    "einsum", "mm", "mv", "linalg_vecdot", "linear", "addbmm", "baddbmm", "bmm", "chain_matmul",
    "linalg_multi_dot", "_thnn_fused_lstm_cell", "_thnn_fused_gru_cell", "lstm_cell", "gru_cell",
    "rnn_tanh_cell", "rnn_relu_cell", "_scaled_dot_product_flash_attention",
    "scaled_dot_product_attention", "_cudnn_rnn",
}  # fmt: skip
"""In autocast's own dtype: products."""

_WITH_DTYPE = {
    "prod", "prod.dim_int", "softmax.int", "log_softmax.int", "cumprod", "cumsum",
    "linalg_vector_norm", "linalg_matrix_norm", "linalg_matrix_norm.str_ord", "sum",
    "sum.dim_IntList",
}  # fmt: skip
"""Told to give float32, which most do without a copy of what they are given."""

_WIDEST = {
    "addcdiv", "addcmul", "atan2", "bilinear", "cross", "dot", "vdot", "grid_sampler",
    "index_put", "tensordot", "scatter_add",
}  # fmt: skip
"""In the widest dtype among their arguments."""

_ELSEWHERE = {"norm.Scalar", "norm.ScalarOpt_dim", "binary_cross_entropy", "_cudnn_rnn"}
"""With a signature of their own; they are left as they are."""

_SHORT = (torch.float16, torch.bfloat16)
_KEY = "AutocastCPU"


class Weights:
    """The casts of weights that autocast keeps until its outermost context ends."""

    def __init__(self) -> None:
        self._casts: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def cast(self, value: Any, dtype: torch.dtype) -> Any:
        """A tensor, or a list of them, in autocast's dtype; anything else as it is."""
        if isinstance(value, list | tuple):
            return [self.cast(each, dtype) for each in value]
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            return value
        if value.dtype in (dtype, torch.float64):
            return value
        keep = (
            value.dtype is torch.float32
            and value.requires_grad
            and value.is_leaf
            and not value._is_view()
            and torch.is_autocast_cache_enabled()
        )
        known = self._casts.get(id(value)) if keep else None
        if known is not None:
            return known[1]
        made = value.to(dtype)
        if keep:
            self._casts[id(value)] = (value, made)
        return made

    def clear(self) -> None:
        """The outermost context ended."""
        self._casts.clear()


def substitutes(platform: Platform) -> list[tuple[str, str, Callable[..., Any]]]:
    """What takes the place of the CPU's casts."""
    registered = torch._C._dispatch_get_registrations_for_dispatch_key
    wanted = {name.removeprefix("aten::") for name in registered("AutocastCUDA")}
    present = {name.removeprefix("aten::") for name in registered(_KEY)}
    made: list[tuple[str, str, Callable[..., Any]]] = [
        (name, _KEY, torch.library.fallthrough_kernel) for name in sorted(present - wanted)
    ]
    weights = Weights()
    for name in sorted(wanted - _ELSEWHERE):
        plain, _, overload = name.partition(".")
        packet = getattr(torch.ops.aten, plain, None)
        operator = getattr(packet, overload or "default", None)
        if operator is not None:
            made.append((name, _KEY, _kernel(name, operator, weights)))
    _CACHES.append(weights)
    return made


_CACHES: list[Weights] = []


def end_of_context() -> None:
    """Autocast's outermost context ended: the kept casts go."""
    for each in _CACHES:
        each.clear()


def forget() -> None:
    """Nothing is substituted any more."""
    _CACHES.clear()


def _kernel(name: str, operator: Any, weights: Weights) -> Callable[..., Any]:
    def lower(*args: Any, **kwargs: Any) -> Any:
        dtype = torch.get_autocast_dtype("cpu")
        with _below():
            return operator(
                *(weights.cast(each, dtype) for each in args),
                **{key: weights.cast(each, dtype) for key, each in kwargs.items()},
            )

    def with_dtype(*args: Any, **kwargs: Any) -> Any:
        first = args[0]
        with _below():
            if first.is_floating_point() and first.dtype is not torch.float64:
                place = _DTYPE_AT.get(name)
                if place is not None and len(args) > place and args[place] is None:
                    args = (*args[:place], torch.float32, *args[place + 1 :])
                elif place is None or len(args) <= place:
                    kwargs = {**kwargs, "dtype": kwargs.get("dtype") or torch.float32}
            return operator(*args, **kwargs)

    def widest(*args: Any, **kwargs: Any) -> Any:
        wide = any(
            isinstance(each, torch.Tensor) and each.dtype is torch.float32
            for each in (*args, *kwargs.values())
        )
        return single(*args, **kwargs) if wide else _plainly(operator, args, kwargs)

    def single(*args: Any, **kwargs: Any) -> Any:
        with _below():
            return operator(
                *(_single(each) for each in args),
                **{key: _single(each) for key, each in kwargs.items()},
            )

    if name in _LOWER:
        return lower
    if name in _WITH_DTYPE:
        return with_dtype
    return widest if name in _WIDEST else single


_DTYPE_AT = {"softmax.int": 2, "log_softmax.int": 2}
"""Where the dtype stands among the positional arguments; elsewhere it has a name."""


def _plainly(operator: Any, args: Any, kwargs: Any) -> Any:
    with _below():
        return operator(*args, **kwargs)


def _single(value: Any) -> Any:
    if isinstance(value, list | tuple) and any(isinstance(e, torch.Tensor) for e in value):
        return [_single(each) for each in value]
    if isinstance(value, torch.Tensor) and value.dtype in _SHORT:
        return value.to(torch.float32)
    return value


def _below() -> Any:
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)
    return torch._C._ExcludeDispatchKeyGuard(keys)
