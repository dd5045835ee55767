"""Sums that torch writes over their first argument: theory's peak against the allocator's."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from oracles import most_allocated  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import timeline  # noqa: E402

pytestmark = pytest.mark.torch

WIDE = 2000


class Calls(nn.Module):
    """A function of the input and of layers."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        return self.function(x, *self.layers)


def truth_of(run):
    """The most that it allocates when it is run again."""
    run()
    return most_allocated(run)


def truth_of_a_step(model, step):
    """The same of a step that finds no gradients.

    torch's profiler tells of a block that stood before only where an earlier profile, in another
    test, had one at that address: gradients given back in the step would count now and then.
    """
    step()
    model.zero_grad()
    return most_allocated(step)


def beyond(told, *categories):
    """What stands at the peak beside these categories."""
    return told.peak.bytes - sum(told.peak.categories[each] for each in categories)


def turned(x, layer):
    return layer(x.transpose(0, 1))


def program_s_own(x, layer):
    return x.transpose(0, 1) @ layer.weight.t() + layer.bias


def held_by_name(x, layer):
    y = x.transpose(0, 1) @ layer.weight.t()
    return y + layer.bias


LINEAR = {
    "turned": (turned, (16, 12, 30)),
    "of one matrix": (lambda x, layer: layer(x[0].t()), (1, 30, 16)),
    "as it came": (lambda x, layer: layer(x), (16, 12, 30)),
    "of four dimensions": (lambda x, layer: layer(x.permute(0, 2, 3, 1)), (2, 30, 9, 8)),
    "of one row": (lambda x, layer: layer(x[0, 0]), (1, 1, 30)),
    "not a part of linear": (program_s_own, (16, 12, 30)),
    "not a part of linear, with a name": (held_by_name, (16, 12, 30)),
}


@pytest.mark.parametrize("name", LINEAR)
def test_a_bias_is_added_in_place_where_linear_does_it(name):
    function, shape = LINEAR[name]
    model = Calls(function, nn.Linear(30, WIDE))
    inputs = torch.randn(shape)
    told = timeline.breakdown(model, None, inputs, train=False)
    with torch.no_grad():
        truth = truth_of(lambda: model(inputs))
    assert beyond(told, "parameter", "input") == pytest.approx(truth, abs=256)


@pytest.mark.parametrize("trained", [True, False])
def test_a_bias_is_added_in_place_in_a_step_of_training_as_well(trained):
    layer = nn.Linear(30, WIDE)
    layer.weight.requires_grad_(trained)
    model = Calls(turned, layer)
    inputs = torch.randn(16, 12, 30)
    told = timeline.breakdown(model, None, inputs)

    def step():
        model.zero_grad()
        out = model(inputs)
        loss = out.sum()
        loss.backward()

    truth = truth_of_a_step(model, step)
    assert beyond(told, "parameter", "input") == pytest.approx(truth, abs=256)


@pytest.mark.parametrize("kind", [nn.GRU, nn.RNN, nn.LSTM])
def test_layers_that_call_linear_from_inside_do_the_same(kind):
    layers = kind(16, 64, batch_first=True), nn.Linear(64, WIDE)
    model = Calls(lambda x, steps, last: last(steps(x)[0]), *layers).eval()
    inputs = torch.randn(8, 20, 16)
    told = timeline.breakdown(model, None, inputs, train=False)
    with torch.no_grad():
        truth = truth_of(lambda: model(inputs))
    assert beyond(told, "parameter", "input") == pytest.approx(truth, rel=0.01)


def test_a_recomputed_linear_adds_in_place_too():
    from torch.utils.checkpoint import checkpoint

    layer = nn.Linear(30, WIDE)
    model = Calls(lambda x, inner: checkpoint(turned, x, inner, use_reentrant=False).sum(), layer)
    inputs = torch.randn(16, 12, 30)
    told = timeline.breakdown(model, None, inputs)

    def step():
        model.zero_grad()
        model(inputs).backward()

    assert beyond(told, "parameter", "input") == pytest.approx(
        truth_of_a_step(model, step), rel=0.01
    )


def test_gradients_meet_in_place_as_on_real_tensors():
    """Two gradients as large as all else: a sum beside them would be the peak."""

    def function(x, layer):
        trunk = layer(x)
        return (trunk + trunk * 2.0) * 3.0

    model = Calls(function, nn.Linear(30, WIDE))
    inputs = torch.randn(64, 30)
    told = timeline.breakdown(model, None, inputs)

    def step():
        model.zero_grad()
        out = model(inputs)
        loss = out.sum()
        loss.backward()

    assert beyond(told, "parameter", "input") == pytest.approx(
        truth_of_a_step(model, step), abs=256
    )


def test_what_autograd_needs_stays_as_it_is():
    """The product is another tensor than what linear returns, for whoever asks for gradients."""
    model = Calls(lambda x, layer: F.relu(turned(x, layer)) * 2.0, nn.Linear(30, 40))
    inputs = torch.randn(4, 5, 30)
    told = timeline.breakdown(model, "sgd", inputs)
    assert told.categories["gradient"] == (30 * 40 + 40) * 4
    # relu saves its result, and the product with the weight its copied input.
    assert told.categories["activation"] == 4 * 5 * 40 * 4 + 4 * 5 * 30 * 4
