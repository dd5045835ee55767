"""Scaled dot product attention: which kernel CUDA takes, and what it keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from timeline.theory.cuda.rules import Call, Effect, Platform, Scratch, group
from timeline.theory.tape import Amount

aten = torch.ops.aten

GROUP = group(
    "attention",
    "aten/src/ATen/native/transformers/cuda/sdp_utils.cpp: flash for 16 bits without a mask, else "
    "memory-efficient, else by products",
    "attention takes the flash or memory-efficient kernel where CUDA would",
)


def substitutes(platform: Platform) -> list[tuple[str, str, Callable[..., Any]]]:
    """What takes the place of attention."""
    capability = platform.card.capability

    def attend(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Any:
        mask = attn_mask
        if mask is not None and mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(mask.logical_not(), 0.0)
        kind = chosen(query, key, value, mask, capability)
        needs = torch.is_grad_enabled() and any(each.requires_grad for each in (query, key, value))
        if kind == "flash":
            if enable_gqa and query.shape[-3] != key.shape[-3]:
                pass  # the kernel takes fewer heads of keys as they are
            pad = -query.shape[-1] % 8
            if pad:
                query, key, value = (
                    torch.nn.functional.pad(each, (0, pad)) for each in (query, key, value)
                )
            out = aten._scaled_dot_product_flash_attention(
                query, key, value, dropout_p, is_causal, False, scale=scale
            )[0]
            return out[..., : out.shape[-1] - pad] if pad else out
        if enable_gqa and query.shape[-3] != key.shape[-3]:
            times = query.shape[-3] // key.shape[-3]
            key, value = (each.repeat_interleave(times, -3) for each in (key, value))
        if kind == "efficient":
            if mask is not None:
                mask = _aligned(mask, query, key)
            return aten._scaled_dot_product_efficient_attention(
                query, key, value, mask, needs, dropout_p, is_causal, scale=scale
            )[0]
        return aten._scaled_dot_product_attention_math(
            query, key, value, mask, dropout_p, is_causal, None, scale=scale
        )[0]

    return [("scaled_dot_product_attention", "AutogradCPU", attend)]


def chosen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    capability: tuple[int, int],
) -> str:
    """``flash``, ``efficient`` or ``math``, in the order in which torch asks."""
    four = query.dim() == key.dim() == value.dim() == 4
    if not four or 0 in query.shape or 0 in key.shape:
        return "math"
    short = query.dtype in (torch.float16, torch.bfloat16)
    same = query.shape[-1] == value.shape[-1]
    if short and same and mask is None and query.shape[-1] <= 256 and capability >= (8, 0):
        return "flash"
    if mask is not None and mask.requires_grad:
        return "math"
    if query.dtype in (torch.float16, torch.bfloat16, torch.float32) and same:
        if query.dtype is torch.bfloat16 and capability < (8, 0):
            return "math"
        return "efficient"
    return "math"


def _aligned(mask: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """As preprocess_mask does: rows of a bias begin at multiples of 16 bytes; then it is spread."""
    last = mask.shape[-1]
    multiple = 16 // mask.element_size()
    if last % multiple:
        pad = multiple - last % multiple
        mask = torch.nn.functional.pad(mask, (0, pad))[..., :last]
    return mask.expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])


@GROUP.rule(aten._scaled_dot_product_flash_attention_backward.default)
def _flash_backward(call: Call) -> Iterable[Effect]:
    # flash_api.cpp, mha_bwd: dq_accum and softmax_d, both of float32 and with rounded sides.
    batch, heads, length, width = call.args[1].shape
    rows, columns = -(-length // 128) * 128, -(-width // 32) * 32
    size = 4 * batch * heads * rows * (columns + 1)
    yield Scratch(Amount.exactly(size), "flash attention's sums in float32")


@GROUP.rule(aten._scaled_dot_product_efficient_attention_backward.default)
def _efficient_backward(call: Call) -> Iterable[Effect]:
    # cuda/attention_backward.cu: the product of the gradient and the result, in float32, for the
    # rows' sums; with 16 bits also the query's gradient in float32.
    query = call.args[1]
    size = 4 * query.numel()
    yield Scratch(Amount.exactly(size), "memory-efficient attention's sums in float32")
