"""Numbers of several dtypes: on a CPU kernels that go number by number first make one of them."""

from __future__ import annotations

from functools import reduce
from typing import Any

import torch

from timeline.theory.inside.sizes import Rule

aten = torch.ops.aten


def _cast(tensors: list[torch.Tensor], common: torch.dtype) -> int:
    return sum(each.numel() * common.itemsize for each in tensors if each.dtype is not common)


def _in_one_dtype(args: Any, out: Any) -> int:
    # TensorIterator.cpp, promote_inputs_to_common_dtype; numbers alone take none worth counting.
    given = [each for each in args if isinstance(each, torch.Tensor) and each.dim() > 0]
    dtypes = {each.dtype for each in given}
    if len(dtypes) < 2:
        return 0
    common = reduce(torch.promote_types, dtypes)
    held = _cast(given, common)
    if out is args[0] and out.dtype is not common:  # cast back at the end
        held += out.numel() * common.itemsize
    return held


def _where(args: Any, out: Any) -> int:
    return _in_one_dtype(args[1:], out)


def _mean(args: Any, out: Any) -> int:
    # Of 16 bits it is summed in a copy of 32 to a result of 32 (ReduceOps.cpp).
    source = args[0]
    return (source.numel() + out.numel()) * 4 if source.element_size() == 2 else 0


def _sum(args: Any, out: Any) -> int:
    # With a dtype of its own it sums a copy of that dtype (ReduceOpsUtils.h).
    source = args[0]
    return source.numel() * out.element_size() if source.dtype is not out.dtype else 0


_BY_NUMBER = (
    "add", "sub", "mul", "div", "add_", "sub_", "mul_", "div_", "lt", "le", "gt", "ge", "eq", "ne",
)  # fmt: skip

RULES: dict[Any, Rule] = {
    **{getattr(aten, name).Tensor: _in_one_dtype for name in _BY_NUMBER},
    aten.maximum.default: _in_one_dtype,
    aten.minimum.default: _in_one_dtype,
    aten.addcmul.default: _in_one_dtype,
    aten.addcdiv.default: _in_one_dtype,
    aten.where.self: _where,
    aten.mean.default: _mean,
    aten.mean.dim: _mean,
    aten.sum.default: _sum,
    aten.sum.dim_IntList: _sum,
}
