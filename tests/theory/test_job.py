"""Whole jobs, as functions of users give them to estimate and breakdown."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from timeline import advice, breakdown, estimate  # noqa: E402
from timeline.cli.main import main  # noqa: E402
from timeline.errors import BreakdownError, UsageError  # noqa: E402

pytestmark = pytest.mark.torch

WIDTH = 256


def net():
    return nn.Sequential(nn.Linear(WIDTH, 1024), nn.ReLU(), nn.Linear(1024, WIDTH))


class WithTargets(nn.Module):
    """The same model and loss, as one module of which nothing has to be known."""

    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, given, wanted):
        return nn.functional.mse_loss(self.net(given), wanted)


def step(model, batch):
    given, wanted = batch
    return nn.functional.mse_loss(model(given), wanted)


def told(made):
    peak = (made.peak_allocated, made.peak_reserved, made.peak_phase)
    return (*peak, tuple(made.course.allocated), tuple(made.course.reserved))


def two_parts():
    model = net()
    return model, torch.optim.AdamW(model.parameters())


def three_parts():
    model = net()
    optimizer = torch.optim.AdamW(model.parameters())
    torch.optim.lr_scheduler.StepLR(optimizer, 5)
    return model, optimizer, torch.randn(2048, WIDTH)


def named():
    return {"model": net(), "optimizer": "adamw", "inputs": [torch.randn(2048, WIDTH)]}


def as_object():
    return SimpleNamespace(model=net(), optimizer=torch.optim.AdamW, inputs=(WIDTH,), note="mine")


def with_batch(batch):
    return net(), "adamw", torch.randn(batch, WIDTH)


@pytest.mark.parametrize(
    ("job", "given"),
    [
        (net, {"optimizer": "adamw", "inputs": (WIDTH,), "batch": 2048}),
        (two_parts, {"inputs": (WIDTH,), "batch": 2048}),
        (three_parts, {}),
        (named, {}),
        (as_object, {"batch": 2048}),
        (with_batch, {"batch": 2048}),
    ],
)
def test_each_form_of_a_job_is_the_same_job(job, given):
    alike = {"inputs": torch.empty(2048, WIDTH, device="meta")}
    assert told(estimate(job, **given)) == told(estimate(net(), "adamw", **alike))
    assert breakdown(job, **given).peak == breakdown(net(), "adamw", **alike).peak


@pytest.mark.parametrize("inputs", [(torch.empty(512, WIDTH),) * 2, [(WIDTH,), (WIDTH,)]])
def test_a_step_of_its_own_is_followed_as_the_same_lines_in_a_module(inputs):
    shapes = isinstance(inputs, list)

    def job():
        return {"model": net(), "optimizer": "sgd", "inputs": inputs, "step": step}

    made = estimate(job, batch=512 if shapes else None, accumulate=2)
    separate = [torch.empty(512, WIDTH), torch.empty(512, WIDTH)]
    plain = estimate(WithTargets(), "sgd", separate, loss=lambda loss: loss, accumulate=2)
    assert told(made) == told(plain)


def test_a_batch_that_is_a_dict_comes_as_one():
    seen = []

    def look(model, batch):
        seen.append({name: tuple(each.shape) for name, each in batch.items()})
        return model(batch["x"]).sum()

    def job(batch=3):
        return {"model": net(), "inputs": {"x": torch.ones(batch, WIDTH), "n": "scalar:int64"},
                "step": look}  # fmt: skip

    breakdown(job)
    breakdown(job, batch=5)
    assert seen == [{"x": (3, WIDTH), "n": (3,)}, {"x": (5, WIDTH), "n": (5,)}]


def test_a_job_is_advised_with_its_own_optimizer():
    kinds = {each.kind for each in advice(three_parts)}
    assert {"optimizer", "inference_mode"} <= kinds
    with pytest.raises(UsageError, match="no step"):
        advice(lambda: {"model": net(), "inputs": (WIDTH,), "step": step})


@pytest.mark.parametrize(
    ("job", "given", "error", "sentence"),
    [
        (three_parts, {"optimizer": "sgd"}, UsageError, "three_parts brings its own optimizer"),
        (three_parts, {"inputs": (3,)}, UsageError, "brings its own inputs"),
        (three_parts, {"batch": 4}, UsageError, "a function with a parameter batch"),
        (lambda: {"model": net(), "optimiser": "sgd"}, {}, UsageError, "'optimiser': use model,"),
        (lambda: {"model": 3}, {}, BreakdownError, "whose model is a int"),
        (lambda: {"optimizer": "sgd"}, {}, BreakdownError, "whose model is a NoneType"),
        (lambda: (net(), torch.ones(3)), {}, UsageError, "whose optimizer is a Tensor"),
        (lambda: (net(), torch.optim.SGD(net().parameters())), {"inputs": (WIDTH,)}, UsageError,
         "no parameter of this model"),
        (lambda: (net(), "sgd", (WIDTH,), nn.MSELoss()), {}, UsageError, "MSELoss, which needs"),
        (lambda: (net(), "sgd", (WIDTH,), None, 3), {}, UsageError, "whose step is a int"),
        (lambda: (net(), "sgd", (WIDTH,), None, lambda m, b: None), {}, UsageError,
         "returned a NoneType: it has to return the loss"),
        (lambda: (net(), "sgd", (WIDTH,), None, lambda m, b: m(b)), {}, UsageError,
         r"of the shape \(1, 256\)"),
        (lambda: (net(), "sgd", (WIDTH,), "sum", step), {"loss": "cross_entropy"}, UsageError,
         "its own loss"),
        (lambda: [net()] * 6, {}, UsageError, "returned 6 values"),
        (lambda: None, {}, BreakdownError, "returned NoneType"),
        (two_parts, {}, UsageError, "needs inputs"),
    ],
)  # fmt: skip
def test_what_is_no_job_is_one_sentence(job, given, error, sentence):
    with pytest.raises(error, match=sentence) as caught:
        estimate(job, **given)
    assert "\n" not in str(caught.value)


JOB = """
import torch
from torch import nn

def make_job(batch):
    model = nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 10))
    return {
        "model": model,
        "optimizer": torch.optim.AdamW(model.parameters()),
        "inputs": (torch.randn(batch, 256), torch.randint(10, (batch,))),
        "step": lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]),
    }
"""


@pytest.fixture
def target(tmp_path, monkeypatch):
    (tmp_path / "a_whole_job.py").write_text(JOB)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "a_whole_job", raising=False)
    return "a_whole_job:make_job"


def test_the_largest_batch_of_a_job_is_found_by_its_own_parameter(target, capsys):
    assert main(["estimate", target, "--fit", "512MiB", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["fit"]
    assert found["batch"] > 1000
    assert found["next"]["batch"] == found["batch"] + 1


def test_batches_of_a_job_stand_side_by_side(target, capsys):
    assert main(["estimate", target, "--compare", "batch=8,8192", "--json"]) == 0
    small, large = json.loads(capsys.readouterr().out)["comparison"]
    # Beside the rest stand at least what the two layers save for backward, of 1024 and 10 numbers.
    assert large["peak_allocated"] - small["peak_allocated"] > (8192 - 8) * 4 * (1024 + 256)


def test_a_job_is_broken_down_on_the_command_line(target, capsys):
    assert main(["breakdown", target, "--batch", "64", "--json"]) == 0
    categories = json.loads(capsys.readouterr().out)["breakdown"]["categories"]
    assert categories["input"] == 64 * 256 * 4 + 64 * 8
    numbers = 256 * 1024 + 1024 + 1024 * 10 + 10
    assert categories["optimizer_state"] == 2 * 4 * numbers + 4 * 4
