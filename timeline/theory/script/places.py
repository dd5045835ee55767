"""What CUDA refuses: one operator with a tensor of the card and one of the host's memory.

A followed script would hide the commonest fault there is, a batch that was never moved: without
memory no kernel looks where its tensors are. So the operators are told apart here by name. A number
without dimensions may stay on the host, as in TensorIterator (aten/src/ATen/TensorIterator.cpp,
``allow_cpu_scalars``), but not where the result is written into it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch

ELEMENTWISE = {
    "add", "sub", "rsub", "mul", "div", "remainder", "fmod", "pow", "atan2", "maximum",
    "minimum", "fmax", "fmin", "where", "lerp", "addcmul", "addcdiv", "eq", "ne", "lt", "le",
    "gt", "ge", "logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or",
    "bitwise_xor", "masked_fill", "masked_select", "xlogy", "mse_loss", "smooth_l1_loss",
    "huber_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
}  # fmt: skip
KERNELS = {
    "mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "vdot",
    "_addmm_activation", "linear", "convolution", "embedding", "_embedding_bag",
    "_embedding_bag_forward_only", "native_batch_norm", "cudnn_batch_norm",
    "_native_batch_norm_legit", "native_layer_norm", "native_group_norm", "mkldnn_rnn_layer",
    "_cudnn_rnn",
    "nll_loss_forward", "nll_loss2d_forward", "cat", "stack", "index_select", "gather",
    "scatter", "scatter_add", "scatter_reduce", "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention",
}  # fmt: skip
"""By what their CUDA kernels check; others, such as ``copy``, take tensors of both places."""


@cache
def _name(func: Any) -> str:
    """An operator's name, the same for its form that works in place."""
    name = str(func._schema.name).removeprefix("aten::")
    return name if name.startswith("__") else name.removesuffix("_")


def check(func: Any, args: Any, kwargs: Any, on_card: Callable[[torch.Tensor], bool]) -> None:
    """Refuse an operator of a script, as CUDA would.

    Args:
        func, args, kwargs: of its call.
        on_card: whether a tensor is there.

    Raises:
        RuntimeError: its tensors are in two places, in the words of torch.
    """
    name = _name(func)
    if name in ("index", "index_put"):
        if not on_card(args[0]) and any(each is not None and on_card(each) for each in args[1]):
            raise RuntimeError(
                "indices should be either on cpu or on the same device as the indexed tensor (cpu)"
            )
        return
    if name not in ELEMENTWISE and name not in KERNELS:
        return
    written = func._schema.is_mutable
    card, host = False, None
    for at, each in enumerate(_each(args, kwargs)):
        if on_card(each):
            card = True
        elif each.dim() or (written and not at):
            host = each
    if card and host is not None:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"cuda:0 and cpu! ({name}: the tensor of {list(host.shape)} is not on the card)"
        )


def _each(args: Any, kwargs: Any) -> Any:
    for value in (*args, *kwargs.values()):
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from (inner for inner in value if isinstance(inner, torch.Tensor))
