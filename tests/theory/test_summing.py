"""The formulas' sum over whole models against what torch saves, by another way."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from oracles import saved_for_backward  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import timeline  # noqa: E402
from timeline.theory import layers  # noqa: E402
from timeline.theory.summing import saved_by_formula  # noqa: E402
from timeline.theory.targets import resolve  # noqa: E402

pytestmark = pytest.mark.torch

FAMILIES = [
    "resnet18", "vgg11_bn", "densenet121", "mobilenet_v3_small", "googlenet", "shufflenet_v2_x0_5",
    "convnext_tiny", "swin_t", "vit_b_16",
]  # fmt: skip
TRANSFORMERS = ["gpt2", "distilbert", "opt"]


def traced(model, inputs, batch=None):
    """What is saved for backward, by following torch's own hooks."""
    return timeline.breakdown(model, None, inputs, batch=batch).categories["activation"]


class Calls(nn.Module):
    """A function as a model, whose input is the result of something with a weight."""

    def __init__(self, function, *layers):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.layers = nn.ModuleList(layers)
        self.function = function

    def forward(self, x):
        return self.function(x * self.weight, *self.layers)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_the_formulas_of_a_classifier_sum_to_what_torch_saves(name):
    pytest.importorskip("torchvision")
    target = resolve(f"torchvision:{name}", ["3x224x224"])
    told = saved_by_formula(target.make, target.inputs, batch=2)
    assert told.not_counted == ()
    assert told.bytes == told.of_layers + told.of_operators
    assert told.bytes == traced(target.make, target.inputs, batch=2) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_the_formulas_of_a_transformer_sum_to_what_torch_saves(name):
    pytest.importorskip("transformers")
    target = resolve(f"transformers:{name}", ["32"])
    told = saved_by_formula(target.make, target.inputs, batch=2)
    assert told.not_counted == ()
    assert told.bytes == traced(target.make, target.inputs, batch=2) > 0


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("two", [False, True])
def test_the_formulas_of_a_recurrent_network_sum_to_what_torch_saves(kind, two):
    if kind is nn.LSTM and "AVX512" not in torch.backends.cpu.get_cpu_capability():
        pytest.skip("oneDNN's layout with AVX-512")
    inputs = torch.zeros((3, 7), dtype=torch.int64)

    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(50, 12)
            self.steps = kind(12, 16, 2, batch_first=True, bidirectional=two, dropout=0.1)
            self.scores = nn.Linear(32 if two else 16, 50)

        def forward(self, x):
            return self.scores(self.steps(self.words(x))[0])

    told = saved_by_formula(Words(), inputs)
    assert told.layers[kind.__name__] == 1
    assert told.not_counted == ()
    assert told.bytes == traced(Words(), inputs)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_recurrent_layer_in_evaluation_saves_as_much(kind):
    if kind is nn.LSTM and "AVX512" not in torch.backends.cpu.get_cpu_capability():
        pytest.skip("oneDNN's layout with AVX-512")
    model = Calls(lambda x, layer: layer(x)[0], kind(6, 32, bidirectional=True).eval())
    inputs = torch.randn(4, 3, 6)
    truth = saved_for_backward(model, inputs)
    assert traced(model, inputs) == truth
    told = saved_by_formula(model, inputs)
    assert (told.bytes, told.not_counted) == (truth, ())


def test_a_cumulative_average_of_batches_is_followed():
    model = Calls(lambda x, layer: layer(x), nn.BatchNorm1d(6, momentum=None))
    told = saved_by_formula(model, torch.randn(4, 6))
    assert told.bytes == traced(model, torch.randn(4, 6)) == 4 * 6 * 4 + 2 * 6 * 4
    assert model.layers[0].momentum is None


def test_an_encoder_of_torch_is_counted_by_its_layers_formula():
    layer = nn.TransformerEncoderLayer(8, 2, 24)
    model = Calls(lambda x, inner: inner(x), nn.TransformerEncoder(layer, 3))
    inputs = torch.randn(5, 3, 8)
    told = saved_by_formula(model, inputs)
    assert told.layers == {"TransformerEncoderLayer": 3}
    assert told.bytes == traced(model, inputs)


OPERATORS = {
    "residual": lambda x: x + F.relu(x),
    "product with itself": lambda x: x * x,
    "product with what needs no gradient": lambda x: x * torch.ones_like(x),
    "quotient": lambda x: x / x.exp(),
    "matrices": lambda x: x @ x.transpose(-1, -2),
    "a mask": lambda x: x.masked_fill(torch.ones(6, dtype=torch.bool), 0.0).where(x > 0, x),
    "chosen": lambda x: x[:, torch.zeros(2, dtype=torch.int64)].flatten(1),
    "gathered": lambda x: x.gather(0, torch.zeros(x.shape, dtype=torch.int64)),
    "in place by result": lambda x: F.leaky_relu(x.clone(), inplace=True) + F.elu_(x.clone()),
    "in place with a copy": lambda x: F.silu(x.clone(), inplace=True).mul_(x),
    "a root of the mean square": lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True)),
    "attention": lambda x: F.scaled_dot_product_attention(*(x[None, None],) * 3),
    "attention with dropout": lambda x: F.scaled_dot_product_attention(
        *(x[None, None],) * 3, dropout_p=0.1
    ),
    "normalised": lambda x: F.layer_norm(F.normalize(x), (6,)),
    "by each image": lambda x: F.instance_norm(x[None], weight=x[:, 0], bias=x[:, 1]),
    "gated": lambda x: F.glu(x) * x.new_ones(3),
    "reflected": lambda x: F.pad(x, (1, 2), mode="reflect"),
    "parts": lambda x: torch.cat([torch.tanh(each) for each in x.chunk(2, -1)]).softmax(-1),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_what_single_operators_save_is_what_torch_saves(name):
    model, inputs = Calls(OPERATORS[name]), torch.randn(4, 6)
    told = saved_by_formula(model, inputs)
    assert told.not_counted == ()
    assert told.bytes == traced(model, inputs)


def test_an_operator_without_a_rule_is_named_with_its_calls():
    told = saved_by_formula(Calls(lambda x: x.cumprod(0) + x.cumprod(1)), torch.randn(4, 6))
    assert told.not_counted == ("cumprod (2)",)


def test_functions_of_ones_own_and_checkpointing_are_named():
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x.exp())
            return x * 2

        @staticmethod
        def backward(ctx, gradient):
            return gradient * 2

    told = saved_by_formula(Calls(lambda x: Twice.apply(x) + x), torch.randn(4, 6))
    assert told.not_counted == ("Twice (1)",)
    again = Calls(lambda x: checkpoint(torch.tanh, x, use_reentrant=False))
    (only,) = saved_by_formula(again, torch.randn(4, 6)).not_counted
    assert "checkpointing" in only


def test_a_layer_used_twice_and_one_that_is_frozen_count_as_torch_counts_them():
    frozen = nn.Linear(6, 6).requires_grad_(False)
    model = Calls(lambda x, a, b: a(b(a(x).relu())), nn.Linear(6, 6), frozen)
    inputs = torch.randn(4, 6)
    told = saved_by_formula(model, inputs)
    assert told.layers == {"Linear": 2}
    assert told.bytes == traced(model, inputs)


def test_a_formula_that_is_wrong_is_told_of():
    class Doubled(nn.Module):
        def forward(self, x):
            return x * 2.0

    @layers.rule(Doubled)
    def doubled(layer, shape, element):
        return layers.Formula(0, (*shape, 2))

    try:
        told = saved_by_formula(Calls(lambda x, inner: inner(x), Doubled()), torch.randn(4, 6))
    finally:
        del layers.registry._RULES[Doubled]
    assert len(told.not_counted) == 1
    assert "Doubled, whose formula says (4, 6, 2)" in told.not_counted[0]


def test_the_model_and_the_random_state_stay_as_they_are():
    model = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5)).eval()
    before = torch.get_rng_state()
    saved_by_formula(model, torch.randn(4, 6, generator=torch.Generator()))
    assert torch.equal(before, torch.get_rng_state())
    assert not model.training
    assert not model[0]._forward_hooks
