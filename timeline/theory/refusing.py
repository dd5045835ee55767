"""What kernels refuse, and torch's rules for tensors without memory let pass: mixed dtypes.

A product of float32 by int64 has a shape by its rule, and so a model that torch does not run would
be told a peak. The tests ask the kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

aten = torch.ops.aten

_NARROW = (torch.bfloat16, torch.float16)


class MixedDtypes(RuntimeError):
    """An operator was given tensors of dtypes that its kernels do not take together."""


def _one_dtype(count: int, func: Any, args: Any) -> None:
    given = [each.dtype for each in args[:count] if isinstance(each, torch.Tensor)]
    if any(each is not given[0] for each in given):
        _refuse(func, given)


def _norm(places: tuple[int, ...], func: Any, args: Any) -> None:
    # Of an input of 16 bits weights and statistics may be of 32: check_mixed_data_type in
    # aten/src/ATen/native/cpu/mixed_data_type.h.
    first = args[0].dtype
    given = [args[i].dtype for i in places if i < len(args) and args[i] is not None]
    if first in _NARROW and all(each is torch.float32 for each in given):
        return
    if any(each is not first for each in given):
        _refuse(func, [first, *given])


def _refuse(func: Any, given: list[torch.dtype]) -> None:
    named = dict.fromkeys(str(each).removeprefix("torch.") for each in given)
    name = func.overloadpacket.__name__.removeprefix("native_")
    raise MixedDtypes(f"{name} takes no {' and '.join(named)} together: cast to one dtype")


_PRODUCTS = {
    "mm": 2, "bmm": 2, "mv": 2, "dot": 2, "vdot": 2, "addmm": 3, "baddbmm": 3, "addbmm": 3,
    "addmv": 3, "_addmm_activation": 3, "linear": 3, "convolution": 3, "_convolution": 3,
}  # fmt: skip
"""By operator, how many of its arguments have one dtype: the factors, and what is added to them."""

_NORMS = {
    "native_batch_norm": (1, 2, 3, 4),
    "native_layer_norm": (2, 3),
    "native_group_norm": (1, 2),
}
"""By operator, where its weights and statistics stand."""

_REFUSED: dict[Any, Callable[[Any, Any], None]] = {
    **{getattr(aten, name).default: partial(_one_dtype, n) for name, n in _PRODUCTS.items()},
    **{getattr(aten, name).default: partial(_norm, places) for name, places in _NORMS.items()},
}


def look_at(func: Any, args: Any) -> None:
    """Raise what the kernel of an operator would.

    Raises:
        MixedDtypes: it does not take these dtypes together.
    """
    refused = _REFUSED.get(func)
    if refused is not None:
        refused(func, args)
