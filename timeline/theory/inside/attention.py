"""Attention, alone and as a part of an operator that is a whole layer."""

from __future__ import annotations

from typing import Any

import torch

from timeline.theory.inside.sizes import Rule, is_given, size_of

aten = torch.ops.aten


def _attention_backward(args: Any, out: Any) -> int:
    # The kernel reads the gradient by (batch, token, head, number), and copies another layout
    # (FlashAttentionKernel.cpp).
    gradient = args[0]
    return 0 if gradient.transpose(1, 2).is_contiguous() else size_of(gradient)


def _scores(source: torch.Tensor, heads: int, masked: bool) -> int:
    """What stands beside q, k and v where all of an attention is one operator: in evaluation.

    Its products are made in place of each other (aten/src/ATen/native/transformers/attention.cpp);
    a mask has the softmax make scores of its own.
    """
    batch, tokens, _ = source.shape
    size: int = batch * heads * tokens * tokens * source.element_size()
    return 2 * size if masked else size


def _attention_at_once(args: Any, out: Any) -> int:
    source, heads = args[0], args[4]
    if source.is_nested:
        return 0
    one, scores = size_of(source), _scores(source, heads, is_given(args, 9))
    most = max(6 * one, 3 * one + scores)  # q, k and v before their bias and after it
    returned = one
    if isinstance(out[1], torch.Tensor) and out[1].numel():
        weights = size_of(out[1])
        averaged = out[1].dim() == 3
        most = max(most, scores + 5 * one, scores + 4 * one + (weights if averaged else 0))
        returned += weights
    return most - returned


def _encoder_at_once(args: Any, out: Any) -> int:
    source, heads, normed_first, wide = args[0], args[2], args[8], args[14]
    if source.is_nested:
        return 0
    one, scores = size_of(source), _scores(source, heads, is_given(args, 18))
    inner = one // source.shape[-1] * wide.shape[0]
    most = max(6 * one, 3 * one + scores, inner + 2 * one)
    before = one if normed_first else 0
    return int(most + before - size_of(out))


RULES: dict[Any, Rule] = {
    aten._scaled_dot_product_flash_attention_for_cpu_backward.default: _attention_backward,
    aten._native_multi_head_attention.default: _attention_at_once,
    aten._transformer_encoder_layer_fwd.default: _encoder_at_once,
}
