"""Gradient accumulation without a loader: the last step is told by its first micro-steps."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.torch

SCRIPT = """
import torch
from torch import nn

model = nn.Sequential(
    nn.Linear(256, 1024), nn.LayerNorm(1024), nn.GELU(), nn.Dropout(), nn.Linear(1024, 100)
).cuda()
optimizer = torch.optim.AdamW(model.parameters())

def batch(rows=64):
    return torch.randn(rows, 256).to("cuda"), torch.randint(100, (rows,)).to("cuda")

x, y = batch()
for step in range(100):
    if step == 2 and {largest}:
        model(batch(4096)[0])
    for micro in range(8):
        print("micro", step, micro, flush=True)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = nn.functional.cross_entropy(model(x), y) / 8
        x, y = batch()
        loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
"""


def told(estimate, *words, largest=False):
    ended = estimate(SCRIPT.replace("{largest}", str(largest)), "--show-output", *words)
    assert ended.code == 0, ended.stderr
    return json.loads(ended.stdout)["estimate"], ended.stderr.count("micro")


def test_a_step_that_begins_as_the_last_is_not_followed_to_its_end_and_is_the_same(estimate):
    short, micro_steps = told(estimate)
    whole, all_micro_steps = told(estimate, "--steps", "3")
    assert micro_steps < all_micro_steps == 24
    assert short == whole


def test_a_step_that_begins_otherwise_is_followed(estimate):
    found, micro_steps = told(estimate, largest=True)
    assert micro_steps > 24
    assert max(found["course"]["categories"]["input"]) >= 4096 * 256 * 4
