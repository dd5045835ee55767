"""Closed formulas against what torch saves, per kind of layer and to the byte."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from oracles import saved_for_backward  # noqa: E402
from torch import nn  # noqa: E402

import timeline  # noqa: E402
from timeline.errors import UsageError  # noqa: E402
from timeline.theory import layers  # noqa: E402
from timeline.theory.summing import saved_by_formula  # noqa: E402

pytestmark = pytest.mark.torch

CASES = [
    (nn.Linear(10, 7), (3, 5, 10)),
    (nn.Linear(10, 7, bias=False), (3, 10)),
    (nn.Conv1d(4, 6, 3, stride=2), (2, 4, 21)),
    (nn.Conv2d(4, 6, (3, 5), padding=(1, 2), stride=2), (2, 4, 21, 17)),
    (nn.Conv2d(4, 8, 3, padding="same", groups=4, bias=False), (2, 4, 9, 9)),
    (nn.Conv2d(4, 8, 3, dilation=2), (2, 4, 9, 9)),
    (nn.Conv3d(2, 3, 3), (2, 2, 7, 8, 9)),
    *(
        (nn.Conv2d(4, 6, (3, 5), padding=pad, padding_mode=mode), (2, 4, 21, 17))
        for mode in ("circular", "reflect", "replicate")
        for pad in ((1, 2), "same", 0)
    ),
    (nn.ConvTranspose1d(4, 6, 3, stride=2, output_padding=1), (2, 4, 11)),
    (nn.ConvTranspose2d(4, 6, (3, 5), stride=(2, 3), padding=(1, 2)), (2, 4, 7, 5)),
    (nn.ConvTranspose2d(4, 8, 3, groups=4, dilation=2, bias=False), (2, 4, 7, 5)),
    (nn.ConvTranspose3d(2, 3, 2), (2, 2, 4, 5, 6)),
    (nn.InstanceNorm1d(6, affine=True, track_running_stats=True), (5, 6, 4)),
    (nn.InstanceNorm2d(6), (5, 6, 4, 4)),
    (nn.InstanceNorm2d(6, affine=True), (1, 6, 4, 4)),
    (nn.InstanceNorm3d(6, track_running_stats=True), (5, 6, 2, 3, 4)),
    *(
        (nn.RMSNorm(sizes, elementwise_affine=affine), (2, 3, 8))
        for sizes in (8, (3, 8))
        for affine in (True, False)
        if hasattr(nn, "RMSNorm")  # since torch 2.4
    ),
    *(
        (nn.EmbeddingBag(11, 5, **settings), (2, 3))
        for settings in (
            {}, {"mode": "sum"}, {"mode": "max"}, {"mode": "sum", "padding_idx": 1},
        )
    ),
    (nn.PReLU(), (2, 9)),
    (nn.PReLU(6), (2, 6, 3)),
    (nn.BatchNorm1d(6), (5, 6)),
    (nn.BatchNorm2d(6), (5, 6, 4, 4)),
    (nn.BatchNorm2d(6, affine=False), (5, 6, 4, 4)),
    (nn.LayerNorm(8), (2, 3, 8)),
    (nn.LayerNorm((3, 8), bias=False), (2, 3, 8)),
    (nn.LayerNorm(8, elementwise_affine=False), (2, 3, 8)),
    (nn.GroupNorm(2, 6), (5, 6, 4, 4)),
    (nn.Embedding(11, 5), (2, 3)),
    (nn.ReLU(), (2, 9)),
    (nn.Sigmoid(), (2, 9)),
    (nn.Tanh(), (2, 9)),
    (nn.GELU(), (2, 9)),
    (nn.SiLU(), (2, 9)),
    (nn.LeakyReLU(), (2, 9)),
    (nn.Hardswish(), (2, 9)),
    (nn.Mish(), (2, 9)),
    (nn.ReLU6(), (2, 9)),
    (nn.Hardsigmoid(), (2, 9)),
    (nn.Identity(), (2, 9)),
    (nn.AdaptiveAvgPool2d(1), (2, 4, 9, 9)),
    (nn.AdaptiveAvgPool2d((7, 7)), (2, 4, 9, 9)),
    (nn.AdaptiveAvgPool2d((None, 2)), (2, 4, 9, 9)),
    (nn.Softplus(), (2, 9)),
    (nn.Softmax(dim=-1), (2, 9)),
    (nn.LogSoftmax(dim=-1), (2, 9)),
    (nn.Dropout(0.3), (2, 9)),
    (nn.Dropout(0.3).eval(), (2, 9)),
    (nn.Dropout(1.0), (2, 9)),
    (nn.MaxPool2d(3, stride=2, padding=1), (2, 4, 9, 10)),
    (nn.MaxPool2d(2, dilation=2), (2, 4, 9, 10)),
    (nn.AvgPool2d(2), (2, 4, 8, 8)),
    (nn.Flatten(), (2, 4, 8, 8)),
    (nn.LSTM(5, 7), (4, 3, 5)),
    (nn.LSTM(64, 32, bias=False), (9, 3, 64)),
    (nn.MaxPool2d(3, stride=2, ceil_mode=True), (2, 4, 8, 10)),
    (nn.MaxPool2d(2, stride=2, padding=1, ceil_mode=True), (2, 4, 7, 8)),
    (nn.AvgPool2d(3, stride=4, ceil_mode=True), (2, 4, 8, 13)),
    (nn.ELU(), (2, 9)),
    (nn.Hardtanh(), (2, 9)),
    *(
        (kind(inplace=True), (2, 9))
        for kind in (
            nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.SiLU, nn.Hardswish, nn.Hardsigmoid,
            nn.Hardtanh, nn.Mish, nn.ReLU6, nn.Dropout,
        )
    ),
    *(
        (kind(6, 4, **settings), (5, 3, 6))
        for kind in (nn.LSTM, nn.GRU, nn.RNN)
        for settings in (
            {},
            {"num_layers": 3},
            {"num_layers": 2, "dropout": 0.2},
            {"bidirectional": True},
            {"num_layers": 2, "bidirectional": True, "dropout": 0.2},
            {"num_layers": 2, "bidirectional": True, "bias": False},
            {"batch_first": True, "num_layers": 2},
            {"batch_first": True, "bidirectional": True},
            {"batch_first": True, "bidirectional": True, "bias": False},
        )
    ),
    (nn.GRU(6, 4, batch_first=True), (1, 5, 6)),
    (nn.RNN(6, 4, nonlinearity="relu"), (5, 3, 6)),
    *(
        (nn.MultiheadAttention(8, 2, **settings), (5, 3, 8))
        for settings in ({}, {"batch_first": True}, {"dropout": 0.1}, {"bias": False})
    ),
    (nn.MultiheadAttention(8, 2, batch_first=True), (1, 5, 8)),
    *(
        (kind(8, 2, 24, **settings), (5, 3, 8))
        for kind in (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
        for settings in (
            {},
            {"dropout": 0},
            {"activation": "gelu"},
            {"batch_first": True},
            {"batch_first": True, "norm_first": True, "activation": "gelu"},
            {"norm_first": True, "dropout": 0},
            {"dropout": 0, "bias": False, "activation": "gelu"},
        )
    ),
]  # fmt: skip


class Inside(nn.Module):
    """A layer inside a network: its input is no input of the network, but of another layer."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        given = x if x.dtype is torch.int64 else x * 1.0
        if isinstance(self.layer, nn.MultiheadAttention):
            out = self.layer(given, given, given)
        elif isinstance(self.layer, nn.TransformerDecoderLayer):
            out = self.layer(given, x + 1.0)
        else:
            out = self.layer(given)
        return out if isinstance(out, torch.Tensor) else out[0]


@pytest.mark.parametrize(
    ("layer", "shape"), CASES, ids=[f"{type(each).__name__}-{s}" for each, s in CASES]
)
def test_a_formula_is_what_torch_saves(layer, shape):
    if isinstance(layer, nn.LSTM) and "AVX512" not in torch.backends.cpu.get_cpu_capability():
        pytest.skip("oneDNN's layout with AVX-512")
    whole = isinstance(layer, nn.Embedding | nn.EmbeddingBag)
    inputs = torch.zeros(shape, dtype=torch.int64) if whole else torch.randn(shape)
    model = Inside(layer)
    by_formula = layers.formula(layer, shape)
    saved = {}
    seen = {}
    layer.register_forward_pre_hook(lambda _, args: seen.update(input=args[0]))

    def pack(tensor):
        saved[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        out = model(inputs.requires_grad_() if not whole else inputs)
    key = seen["input"].untyped_storage()._cdata
    own = {t.untyped_storage()._cdata for t in (*layer.parameters(), *layer.buffers())}
    assert by_formula.parameters == sum(p.numel() for p in layer.parameters())
    assert by_formula.output == tuple(out.shape)
    same = out.untyped_storage()._cdata
    if by_formula.in_place:
        assert same == key
        assert by_formula.saves_output == (same in saved)
    else:
        assert by_formula.saves_input == (key in saved)
        assert by_formula.saves_output == (same in saved and same != key)
    more = {k: s.nbytes() for k, s in saved.items() if k not in {key, same, *own}}
    assert by_formula.more == sum(more.values())

    told = timeline.breakdown(model, None, inputs)
    expected = by_formula.more
    expected += out.nbytes if by_formula.saves_output else 0
    expected += inputs.nbytes if by_formula.saves_input and not whole else 0
    assert told.categories["activation"] == expected


@pytest.mark.skipif(not hasattr(nn, "RMSNorm"), reason="since torch 2.4")
@pytest.mark.parametrize("affine", [True, False])
def test_a_norm_of_16_bits_saves_what_it_computed_in_32(affine):
    model = nn.Sequential(nn.Linear(64, 64), nn.RMSNorm(64, elementwise_affine=affine)).bfloat16()
    inputs = torch.randn(8, 64, dtype=torch.bfloat16)
    saved = saved_for_backward(model, inputs)
    assert saved_by_formula(model, inputs).of_layers == saved
    assert timeline.breakdown(model, None, inputs).categories["activation"] == saved


def test_a_user_registers_a_formula_for_a_layer_of_their_own():
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.by = nn.Parameter(torch.ones(()))

        def forward(self, x):
            return x * self.by

    model = nn.Sequential(Scale(), nn.ReLU())
    with pytest.raises(UsageError, match="Scale has no formula: register one"):
        layers.formula(model[0], (2, 3))
    assert layers.without_rule(model) == ("Scale",)

    @layers.rule(Scale)
    def scale(layer, shape, element):
        return layers.Formula(parameters=1, output=shape, saves_input=True)

    try:
        assert layers.formula(model[0], (2, 3)).output == (2, 3)
        assert layers.without_rule(model) == ()
    finally:
        del layers.registry._RULES[Scale]


@pytest.mark.parametrize(
    "layer",
    [
        nn.LSTM(2, 3, proj_size=1),
        nn.EmbeddingBag(2, 3, include_last_offset=True),
        nn.MultiheadAttention(2, 1, kdim=3),
        nn.MultiheadAttention(2, 1, add_zero_attn=True),
        nn.TransformerEncoderLayer(2, 1, activation=torch.tanh),
    ],
)
def test_settings_without_a_formula_are_told_of(layer):
    with pytest.raises(UsageError, match="formula"):
        layers.formula(layer, (2, 2, 2))
