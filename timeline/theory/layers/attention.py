"""Attention, and the layers of a transformer that torch.nn has, as a CPU runs them.

Of an input of L tokens, batch N and width E, with h heads. The formulas are those of
`F.multi_head_attention_forward` in torch/nn/functional.py, with attention of a tensor to itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from timeline.errors import UsageError
from timeline.theory.layers.registry import Formula, Shape, rule

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class _Sizes:
    """In bytes, of attention among the tokens of one shape."""

    tokens: int
    """L N E: x, or anything as large."""

    scores: int
    """N h L L."""

    sums: int
    """N h L: the logarithm of each row's sum, of 32 bits at least."""

    copied: bool
    """The input is (batch, token, number): its transposed view is copied before a product."""

    @classmethod
    def of(cls, attention: nn.MultiheadAttention, shape: Shape, element: int) -> _Sizes:
        plain = attention._qkv_same_embed_dim and attention.bias_k is None
        if not plain or attention.add_zero_attn or len(shape) != 3:
            raise UsageError(
                "attention with kdim, vdim, add_bias_kv, add_zero_attn or without a batch has no "
                "formula"
            )
        first = attention.batch_first
        length, batch = (shape[1], shape[0]) if first else shape[:2]
        heads = attention.num_heads
        return cls(
            length * batch * shape[2] * element,
            batch * heads * length * length * element,
            batch * heads * length * max(element, 4),
            first and length > 1 and batch > 1,
        )


def _attended(attention: nn.MultiheadAttention, sizes: _Sizes, *, weights: bool) -> int:
    """What is saved from the three projections to the input of the last one, beside v and k.

    The projections are put into an order of their own by a copy that all of q, k and v are views
    of, so that v and k, or that copy, are counted by who calls this.
    """
    dropped = attention.training and attention.dropout > 0
    if weights:
        # q scaled; the weights, with dropout its mask and its result, too; the product in order.
        return 2 * sizes.tokens + sizes.scores * (3 if dropped else 1)
    if dropped:
        # scaled_dot_product_attention in parts: q and k scaled, the weights, the mask, their
        # product, the product with v in order (attention.cpp, _math).
        return 3 * sizes.tokens + 3 * sizes.scores
    # One kernel, which saves its result and the sums (FlashAttentionKernel.cpp).
    return sizes.tokens + sizes.sums


def _width(attention: nn.MultiheadAttention) -> tuple[int, int]:
    """The width, and how many parameters attention has of it: four products."""
    wide = attention.embed_dim
    return wide, 4 * wide * wide + (4 * wide if attention.in_proj_bias is not None else 0)


@rule("MultiheadAttention")
def attention(layer: nn.MultiheadAttention, shape: Shape, element: int) -> Formula:
    """``layer(x, x, x)``, which gives the weights, too (``need_weights``, the default)."""
    sizes = _Sizes.of(layer, shape, element)
    more = 3 * sizes.tokens + _attended(layer, sizes, weights=True)
    if sizes.copied:
        more += sizes.tokens
    return Formula(_width(layer)[1], shape, saves_input=not sizes.copied, more=more)


def _forward(layer: Any, sizes: _Sizes, element: int) -> int:
    """Bytes saved by the two products and what is between them, without the first one's input."""
    from torch import nn
    from torch.nn import functional

    if layer.activation is functional.relu or isinstance(layer.activation, nn.ReLU):
        between = 1  # relu's result is the second one's input
    elif layer.activation is functional.gelu or isinstance(layer.activation, nn.GELU):
        between = 2
    else:
        raise UsageError("a transformer's layer has a formula with relu and gelu alone")
    if layer.training and layer.dropout.p > 0:
        between = 3  # what the activation saves, the mask, and what is left of the result
    saved: int = sizes.tokens // layer.linear1.in_features * layer.linear1.out_features * between
    return saved


def _whole(layer: Any, shape: Shape, element: int, attentions: int) -> tuple[int, int]:
    """Parameters, and bytes that both kinds of layers save alike."""
    sizes = _Sizes.of(layer.self_attn, shape, element)
    wide, of_attention = _width(layer.self_attn)
    inner, biased = layer.linear1.out_features, layer.linear1.bias is not None
    parameters = attentions * of_attention + 2 * wide * inner
    parameters += inner + wide if biased else 0
    parameters += (attentions + 1) * wide * (2 if biased else 1)
    stats = 2 * (attentions + 1) * (sizes.tokens // wide)
    more = stats + _forward(layer, sizes, element)
    more += 3 * sizes.tokens + _attended(layer.self_attn, sizes, weights=False)
    # Normalised first, x is what the first normalisation saves, and each of the others saves a
    # sum, each part the normalised. Normalised last, x is what attention saves, each normalisation
    # saves a sum, and each part but the first the normalised.
    more += (2 * attentions + 1) * sizes.tokens
    if sizes.copied and not layer.norm_first:
        more += sizes.tokens  # of x for attention
    if layer.training and layer.dropout1.p > 0:
        more += (attentions + 1) * sizes.tokens  # masks before each sum
    return parameters, more


@rule("TransformerEncoderLayer")
def encoder(layer: nn.TransformerEncoderLayer, shape: Shape, element: int) -> Formula:
    """Attention, two products, two sums and two normalisations (torch/nn/modules/transformer.py).

    Without a mask.
    """
    copied = _Sizes.of(layer.self_attn, shape, element).copied
    parameters, more = _whole(layer, shape, element, 1)
    return Formula(parameters, shape, saves_input=layer.norm_first or not copied, more=more)


@rule("TransformerDecoderLayer")
def decoder(layer: nn.TransformerDecoderLayer, shape: Shape, element: int) -> Formula:
    """As the encoder's, with a second attention to the encoder's result.

    That result is another tensor of the same shape, and counted here with what else is saved.
    Without masks.
    """
    sizes = _Sizes.of(layer.self_attn, shape, element)
    parameters, more = _whole(layer, shape, element, 2)
    # Of the second attention: the encoder's result; q is there before it is scaled, unless that is
    # what is saved; k and v share a storage.
    dropped = layer.multihead_attn.training and layer.multihead_attn.dropout > 0
    more += sizes.tokens + 2 * sizes.tokens + (0 if dropped else sizes.tokens)
    more += _attended(layer.multihead_attn, sizes, weights=False)
    saved = layer.norm_first or not sizes.copied
    return Formula(parameters, shape, saves_input=saved, more=more)
