"""Layers with options drawn at random: what torch saves, what is traced, what the formulas sum to.

Each example is a layer with settings, a dtype, a memory format, and some of its parameters frozen,
inside a network whose other layer has a weight. Three ways to the bytes saved for backward have to
agree to the byte: torch's own hooks in a real forward pass, `timeline.breakdown`, and the sum of
the closed formulas. ``TIMELINE_EXAMPLES`` draws more of each kind than the few that are always run.
"""

from __future__ import annotations

import os
import random

import pytest

torch = pytest.importorskip("torch")

from oracles import saved_for_backward  # noqa: E402
from torch import nn  # noqa: E402

import timeline  # noqa: E402
from timeline.theory.summing import saved_by_formula  # noqa: E402

pytestmark = pytest.mark.torch

EXAMPLES = int(os.environ.get("TIMELINE_EXAMPLES", "10"))
DTYPES = (torch.float32, torch.float32, torch.bfloat16, torch.float16, torch.float64)


class Draw:
    """Draws settings, the same ones for the same seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def one(self, *values):
        return self.random.choice(values)

    def size(self, low=3, high=9):
        return self.random.randint(low, high)

    def sizes(self, count):
        return tuple(self.size() for _ in range(count))

    @property
    def yes(self):
        return self.one(False, True)


class Inside(nn.Module):
    """A layer behind something with a weight, so that its input is no input of the network."""

    def __init__(self, layer, call, dtype):
        super().__init__()
        self.layer = layer
        self.call = call
        self.scale = nn.Parameter(torch.ones((), dtype=dtype))

    def forward(self, x):
        return self.call(self.layer, x * self.scale if x.dtype.is_floating_point else x)


def plainly(layer, x):
    return layer(x)


def linear(draw):
    layer = nn.Linear(draw.size(), draw.size(), bias=draw.yes)
    return layer, (*draw.sizes(draw.one(0, 1, 2)), layer.in_features), plainly


def convolution(draw):
    kind = draw.one(nn.Conv1d, nn.Conv2d, nn.Conv2d, nn.Conv3d)
    axes = int(kind.__name__[-2])
    channels = draw.one(2, 4, 16, 32)
    groups = draw.one(1, 1, 2, channels)
    mode = draw.one("zeros", "zeros", "circular", "reflect", "replicate")
    padding = draw.one(0, 1, 2, "same", "valid")
    layer = kind(
        channels,
        groups * draw.one(1, 2, 8),
        draw.one(1, 2, 3, 5),
        stride=1 if padding == "same" else draw.one(1, 2, 3),
        padding=0 if padding == "valid" and mode != "zeros" else padding,
        dilation=draw.one(1, 1, 2),
        groups=groups,
        bias=draw.yes,
        padding_mode="circular" if mode == "reflect" and axes == 3 else mode,
    )
    return layer, (draw.size(1, 3), channels, *(draw.size(11, 14) for _ in range(axes))), plainly


def batch_norm(draw):
    axes = draw.one(1, 2, 3)
    channels = draw.size()
    layer = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[axes - 1](
        channels, affine=draw.yes, track_running_stats=draw.yes, momentum=draw.one(0.1, None)
    )
    flat = axes == 1 and draw.yes
    return layer, (draw.size(2, 4), channels, *draw.sizes(0 if flat else axes)), plainly


def layer_norm(draw):
    normalized = draw.sizes(draw.one(1, 2))
    layer = nn.LayerNorm(normalized, elementwise_affine=draw.yes, bias=draw.yes)
    return layer, (*draw.sizes(draw.one(0, 1, 2)), *normalized), plainly


def group_norm(draw):
    groups = draw.one(1, 2, 3)
    layer = nn.GroupNorm(groups, groups * draw.one(1, 2, 4), affine=draw.yes)
    return layer, (draw.size(1, 3), layer.num_channels, *draw.sizes(draw.one(1, 2))), plainly


def embedding(draw):
    layer = nn.Embedding(11, 5, padding_idx=draw.one(None, 0), scale_grad_by_freq=draw.yes)
    return layer, draw.sizes(draw.one(1, 2)), plainly


IN_PLACE = (
    nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.SiLU, nn.Hardswish, nn.Hardsigmoid,
    nn.Hardtanh, nn.Mish, nn.ReLU6,
)  # fmt: skip
OTHERS = (nn.Sigmoid, nn.Tanh, nn.GELU, nn.Softplus, nn.Identity, nn.Softmax, nn.LogSoftmax)


def activation(draw):
    kind = draw.one(*IN_PLACE, *OTHERS)
    if kind in IN_PLACE:
        layer = kind(inplace=draw.yes)
    elif kind in (nn.Softmax, nn.LogSoftmax):
        layer = kind(dim=draw.one(0, -1))
    elif kind is nn.GELU:
        layer = kind(approximate=draw.one("none", "tanh"))
    else:
        layer = kind()
    return layer, draw.sizes(draw.one(1, 2, 4)), plainly


def pooling(draw):
    kind = draw.one(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
    shape = (draw.size(1, 3), draw.size(1, 3), draw.size(9, 12), draw.size(9, 12))
    if kind is nn.AdaptiveAvgPool2d:
        return kind(draw.one(1, 2, 5, (None, 3))), shape, plainly
    options = {"dilation": draw.one(1, 2)} if kind is nn.MaxPool2d else {}
    layer = kind(
        draw.one(2, 3), draw.one(None, 1, 3), draw.one(0, 1), ceil_mode=draw.yes, **options
    )
    return layer, shape, plainly


def dropout(draw):
    kind = draw.one(nn.Dropout, nn.Dropout, nn.Dropout2d)
    layer = kind(draw.one(0.0, 0.3), inplace=draw.yes)
    return layer, draw.sizes(4 if kind is nn.Dropout2d else draw.one(1, 3)), plainly


def recurrent(draw):
    kind = draw.one(nn.LSTM, nn.LSTM, nn.GRU, nn.RNN)
    first, packed, given = draw.yes, draw.one(False, False, True), draw.one(False, False, True)
    width, hidden, layers = draw.one(4, 5, 16, 33), draw.one(4, 7, 32), draw.one(1, 2, 3)
    layer = kind(
        width,
        hidden,
        layers,
        bias=draw.yes,
        batch_first=first,
        bidirectional=draw.yes,
        dropout=draw.one(0.0, 0.0, 0.2) if layers > 1 else 0.0,
    )
    steps, batch = draw.size(1, 6), draw.size(1, 4)
    shape = (batch, steps, width) if first else (steps, batch, width)
    lengths = sorted((draw.size(1, steps) for _ in range(batch - 1)), reverse=True)

    def call(layer, x):
        state = ()
        if given:
            many = layer.num_layers * (2 if layer.bidirectional else 1)
            one = x.new_zeros(many, batch, hidden) + x.sum()
            state = ((one, one * 2),) if kind is nn.LSTM else (one,)
        if not packed:
            return layer(x, *state)[0]
        rows = nn.utils.rnn.pack_padded_sequence(x, [steps, *lengths], batch_first=first)
        return layer(rows, *state)[0].data

    return layer, shape, call


def attention(draw):
    heads = draw.one(1, 2, 4)
    wide = heads * draw.one(2, 4, 8)
    first, weights, causal = draw.yes, draw.yes, draw.one(False, False, True)
    layer = nn.MultiheadAttention(
        wide, heads, bias=draw.yes, batch_first=first, dropout=draw.one(0.0, 0.0, 0.1)
    )
    batch, tokens = draw.size(1, 3), draw.size(1, 6)
    hint, padded, other = draw.yes, draw.one(False, False, True), draw.one(False, False, True)

    def call(layer, x):
        options = {"need_weights": weights}
        if causal:
            options["attn_mask"] = torch.zeros(tokens, tokens, dtype=torch.bool).triu(1)
            options["is_causal"] = hint
        if padded:
            options["key_padding_mask"] = torch.zeros(batch, tokens, dtype=torch.bool)
        key = x * 2 if other else x
        return layer(x, key, key, **options)[0]

    return layer, (batch, tokens, wide) if first else (tokens, batch, wide), call


def transformer(draw):
    kind = draw.one(nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
    first, masked = draw.yes, draw.yes
    layer = kind(
        8,
        2,
        24,
        dropout=draw.one(0.0, 0.1),
        activation=draw.one("relu", "gelu"),
        batch_first=first,
        norm_first=draw.yes,
        bias=draw.yes,
    )

    def call(layer, x):
        tokens = x.shape[1 if first else 0]
        options = {}
        if masked:
            mask = nn.Transformer.generate_square_subsequent_mask(tokens, dtype=x.dtype)
            name = "src" if kind is nn.TransformerEncoderLayer else "tgt"
            options[f"{name}_mask"] = mask
            options["is_causal" if name == "src" else "tgt_is_causal"] = True
        given = (x,) if kind is nn.TransformerEncoderLayer else (x, x * 2)
        return layer(*given, **options)

    return layer, (draw.size(1, 4), draw.size(1, 4), 8), call


KINDS = (
    linear, convolution, batch_norm, layer_norm, group_norm, embedding, activation, pooling,
    dropout, recurrent, attention, transformer,
)  # fmt: skip


def drawn(kind, seed):
    """A network with one layer of a kind, and its inputs."""
    draw = Draw(seed)
    layer, shape, call = kind(draw)
    dtype = torch.float32 if kind is embedding else draw.one(*DTYPES)
    layer.to(dtype)
    for each in layer.parameters():
        each.requires_grad_(draw.one(True, True, True, False))
    if kind is embedding:
        layer.weight.requires_grad_(True)
        return Inside(layer, call, dtype), torch.zeros(shape, dtype=torch.int64)
    inputs = torch.randn(shape).to(dtype)
    if len(shape) == 4 and draw.one(False, False, True):
        inputs = inputs.to(memory_format=torch.channels_last)
    return Inside(layer, call, dtype), inputs


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_three_ways_to_what_is_saved_agree_whatever_the_options(kind):
    ran = summed = 0
    for number in range(EXAMPLES):
        seed = f"{kind.__name__} {number}"
        model, inputs = drawn(kind, seed)
        try:
            truth = saved_for_backward(model, inputs)
        except RuntimeError:
            continue  # settings, or a dtype, that torch itself has no kernel for
        ran += 1
        told = timeline.breakdown(model, None, inputs)
        assert told.categories["activation"] == truth, (seed, model.layer, inputs.dtype)
        formulas = saved_by_formula(model, inputs)
        if not formulas.not_counted:
            summed += 1
            assert formulas.bytes == truth, (seed, model.layer, inputs.dtype)
    assert ran > EXAMPLES // 2
    assert summed > EXAMPLES // 2
