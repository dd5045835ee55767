"""Advice: each figure against really making the change."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from oracles import most_allocated  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import timeline  # noqa: E402
from timeline.cli.main import main  # noqa: E402
from timeline.errors import UsageError  # noqa: E402
from timeline.theory.advising import advise  # noqa: E402
from timeline.theory.change import Step  # noqa: E402

pytestmark = pytest.mark.torch

SHAPE = (8, 32, 32)


class Block(nn.Module):
    def __init__(self, channels, inplace=False, again=False):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.act = nn.ReLU(inplace)
        self.again = again

    def forward(self, x):
        if self.again:
            return checkpoint(self.through, x, use_reentrant=False)
        return self.through(x)

    def through(self, x):
        return self.act(self.norm(self.conv(x)))


class Net(nn.Module):
    """A network that can be built with each change made by hand."""

    def __init__(self, inplace=False, again=False, separable=False):
        super().__init__()
        self.blocks = nn.Sequential(*(Block(8, inplace, again) for _ in range(6)))
        self.wide = nn.Conv2d(8, 512, 3, padding=1, stride=8)
        if separable:
            self.wide = nn.Sequential(
                nn.Conv2d(8, 8, 3, stride=8, padding=1, groups=8, bias=False), nn.Conv2d(8, 512, 1)
            )
        self.last = nn.Linear(512 * 16, 50)

    def forward(self, x):
        return self.last(self.wide(self.blocks(x)).flatten(1))


def peak(make=Net, optimizer="adam", batch=16, **options):
    return timeline.breakdown(make, optimizer, SHAPE, batch=batch, **options).peak.bytes


@pytest.fixture(scope="module")
def advised():
    return timeline.advice(Net, "adam", SHAPE, batch=16, set_to_none=False)


def test_each_figure_is_that_of_the_change_made_by_hand(advised):
    now = peak(set_to_none=False)
    by_hand = {
        "batch": peak(batch=8, set_to_none=False),
        "bf16": peak(precision="bf16", set_to_none=False),
        "checkpointing": peak(lambda: Net(again=True), set_to_none=False),
        "set_to_none": peak(),
        "inference_mode": peak(optimizer=None, train=False),
        "in_place": peak(lambda: Net(inplace=True), set_to_none=False),
        "separable": peak(lambda: Net(separable=True), set_to_none=False),
    }
    told = {each.kind: each for each in advised if not each.kind.startswith("optimizer")}
    saving = {kind for kind, then in by_hand.items() if then < now}
    assert set(told) == saving
    assert saving >= {"batch", "bf16", "checkpointing", "inference_mode", "set_to_none"}
    for kind, each in told.items():
        assert each.peak == by_hand[kind], kind
        assert each.saves == now - each.peak > 0
    assert told["checkpointing"].layers == tuple(f"blocks.{i}" for i in range(6))
    others = {each.what: each for each in advised if each.kind == "optimizer"}
    sgd = others["the optimizer sgd,momentum=0"]
    assert sgd.peak == peak(optimizer="sgd,momentum=0", set_to_none=False)


def test_batch_normalisation_is_excepted_where_the_model_has_it(advised):
    (batch,) = [each for each in advised if each.kind == "batch"]
    assert batch.what.endswith("give the same gradients, except through batch normalisation")
    plain = timeline.advice(lambda: nn.Linear(64, 64), None, (64,), batch=64)
    (batch,) = [each for each in plain if each.kind == "batch"]
    assert batch.what.endswith("give the same gradients")


def test_an_inference_saves_by_activations_in_place():
    def make(inplace=False):
        return nn.Sequential(nn.Linear(10, 5000), nn.ReLU(inplace))

    advised = timeline.advice(make, None, (10,), batch=16, train=False)
    told = {each.kind: each for each in advised}
    by_hand = timeline.breakdown(make(True), None, (10,), batch=16, train=False)
    assert told["in_place"].peak == by_hand.peak.bytes
    assert told["in_place"].layers == ("1",)
    assert not {"bf16", "checkpointing", "optimizer", "inference_mode"} & set(told)


def test_the_largest_saving_stands_first_and_none_is_without(advised):
    sizes = [each.saves for each in advised]
    assert sizes == sorted(sizes, reverse=True)
    assert min(sizes) > 0


def test_a_real_step_saves_what_was_advised():
    """The allocator's truth, with and without checkpointing, against the advice's figure."""

    def true_peak(make):
        model, images = make(), torch.randn(16, *SHAPE)

        def step():
            out = model(images)
            loss = out.sum()
            loss.backward()

        step()
        model.zero_grad()
        return most_allocated(step)

    told = {each.kind: each for each in timeline.advice(Net, None, SHAPE, batch=16)}
    truth = true_peak(Net) - true_peak(lambda: Net(again=True))
    assert told["checkpointing"].saves == pytest.approx(truth, rel=0.05)


def test_a_model_stays_as_it_is_and_its_optimizer_is_known():
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, foreach=True)
    before = {name: type(each) for name, each in model.named_modules()}
    advised = timeline.advice(model, optimizer, torch.zeros(16, *SHAPE))
    assert {name: type(each) for name, each in model.named_modules()} == before
    assert not any(each.inplace for each in model.modules() if isinstance(each, nn.ReLU))
    assert not optimizer.state
    assert all("forward" not in vars(each) for each in model.modules())
    batch = next(each for each in advised if each.kind == "batch")
    assert batch.peak == peak(optimizer="adamw,foreach=true", batch=8)


def test_an_in_place_activation_that_autograd_refuses_is_not_advised():
    class Refused(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.ReLU()

        def forward(self, x):
            y = torch.sigmoid(x * 2)  # saves its result, which may not be overwritten
            return self.act(y)

    advised = timeline.advice(Refused, None, torch.zeros(100, 100, requires_grad=True))
    assert "in_place" not in {each.kind for each in advised}


def test_another_weight_of_a_step_can_be_advised_on():
    with torch.device("meta"):
        model = Net()
    step = Step(model, "adam", SHAPE, 16)
    advised = advise(step, lambda changed: 1000 * (changed.batch or 1))
    assert [(each.kind, each.saves) for each in advised] == [("batch", 8000)]


def test_advice_needs_inputs():
    with pytest.raises(UsageError, match="give inputs"):
        timeline.advice(Net)


def test_the_command_line_prints_advice_and_its_document(capsys):
    pytest.importorskip("torchvision")
    words = ["breakdown", "torchvision:squeezenet1_1", "--input", "3x64x64", "--batch", "4"]
    assert main([*words, "--advice", "--layers", "1"]) == 0
    out = capsys.readouterr().out
    assert "What would lower the peak, each alone:" in out
    assert "a batch of 2 instead of 4" in out
    assert main([*words, "--advice", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["advice"][0]["saves"] > 0
    assert set(document["advice"][0]) == {"kind", "what", "costs", "saves", "peak", "layers"}
