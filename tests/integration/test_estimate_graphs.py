"""What no backward goes through is let go of with the last name for it, in a script as in torch."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.torch

SCRIPT = """
import torch
from torch import nn

chain = nn.Sequential(
    nn.Linear(256, 256), nn.LayerNorm(256), nn.Sigmoid(), nn.Dropout(), nn.ReLU(), nn.Softmax(1)
).cuda()
layer = nn.TransformerEncoderLayer(256, 4, batch_first=True).cuda()
lstm = nn.LSTM(256, 256).cuda()
for _ in range(12):
    for each in (chain, layer, lstm):
        x = torch.randn(16, 128, 256, device="cuda")
        out = each(x)
        out = (out if torch.is_tensor(out) else out[0]).norm(dim=-1).exp()
        if (out > 1e9).any():
            break
        del x, out
optimizer = torch.optim.SGD(chain.parameters(), lr=0.1)
for _ in range(10):
    loss = chain(torch.randn(4, 4, 256, device="cuda")).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""


def test_graphs_without_a_backward_do_not_gather(estimate):
    ended = estimate(SCRIPT)
    assert ended.code == 0, ended.stderr  # an LSTM as wide as its input among them
    found = json.loads(ended.stdout)["estimate"]
    phases = found["course"]["phases"]
    backward = next(at for at, name in phases if name == "step/backward")
    allocated = found["course"]["allocated"][:backward]
    third = len(allocated) // 3
    # Twelve rounds, the last four no higher than the first.
    assert max(allocated[2 * third :]) == max(allocated[:third])


BY_CLOSURE = """
import torch

model = torch.nn.Linear(512, 511).cuda()
optimizer = torch.optim.{optimizer}
x = torch.randn(8, 512).cuda()

def closure():
    optimizer.zero_grad()
    loss = model(x).sum()
    loss.backward()
    return loss

for _ in range(10):
    optimizer.step(closure)
"""


def by_closure(estimate, optimizer):
    ended = estimate(BY_CLOSURE.replace("{optimizer}", optimizer))
    assert ended.code == 0, ended.stderr
    return json.loads(ended.stdout)["estimate"]


def test_what_an_optimizer_does_after_its_closure_is_its_step(estimate):
    found = by_closure(estimate, "Adam(model.parameters())")
    state = [each for each in found["alive_at_peak"] if each["category"] == "optimizer_state"]
    assert {each["phase"] for each in state} == {"step/optimizer"}
    assert found["peak_phase"] == "step/optimizer"


def test_lbfgs_has_all_of_its_history_in_a_script_and_in_the_loop_of_a_model(estimate):
    found = by_closure(estimate, "LBFGS(model.parameters(), history_size=7)")
    vectors = (2 * 7 + 2) * 511 * 513 * 4  # old directions and steps, the last of each, and d
    assert found["categories_at_peak"]["optimizer_state"] == pytest.approx(vectors, rel=0.01)
    assert any("LBFGS" in each for each in found["not_counted"])
    from timeline import estimate as of_model

    told = of_model(torch.nn.Linear(512, 511), "lbfgs,history_size=7", (512,), batch=8)
    assert told.categories_at_peak["optimizer_state"] == pytest.approx(vectors, rel=0.01)
