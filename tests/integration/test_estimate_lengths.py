"""Scripts whose batches differ in length: no step repeats the one before."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from timeline.theory.script.loaders import apart  # noqa: E402

pytestmark = pytest.mark.torch

MiB = 1 << 20

MODEL = """
import random
import torch
from torch import nn
from torch.utils.data import DataLoader

model = nn.Sequential(nn.Embedding(100, 64), nn.Linear(64, 4096), nn.ReLU(), nn.Linear(4096, 8))
model.cuda()
optimizer = torch.optim.SGD(model.parameters(), 0.1)
lengths = LENGTHS

def learn(tokens):
    optimizer.zero_grad()
    model(tokens.cuda()).sum().backward()
    optimizer.step()
"""

LOADER = """
sentences = [torch.zeros(length, dtype=torch.int64) for length in lengths]
def together(several):
    return nn.utils.rnn.pad_sequence(several, batch_first=True)

loader = DataLoader(sentences, 2, collate_fn=together)
for epoch in range(50):
    for tokens in loader:
        learn(tokens)
"""

LOOP = """
for length in lengths * 50:
    learn(torch.zeros(2, length, dtype=torch.int64))
"""


@pytest.fixture
def told(estimate):
    """``told(text, *options)`` is the key ``estimate`` of the document."""

    def run_it(text: str, *options: str):
        ended = estimate(text, *options)
        assert ended.code == 0, ended.stderr
        return json.loads(ended.stdout)["estimate"]

    return run_it


def said(found) -> str:
    return " ".join(found["assumptions"])


def test_batches_of_many_tensors_are_told_apart_by_those_that_differ():
    image, boxes = torch.zeros(3, 4), torch.zeros(2, 4)
    assert apart([image, boxes, image], [image, boxes[:1], image]) == ("[2, 4]", "[1, 4]")
    assert apart([image], [image, boxes]) == ("[3, 4]", "[3, 4], [2, 4]")
    assert apart([image], [image]) == ("[3, 4]", "[3, 4]")
    many = apart([image] * 9, [boxes] * 9)
    assert many[0] == "[3, 4], [3, 4], [3, 4], [3, 4] and 5 more"


def test_a_loaders_first_eight_batches_are_followed_and_then_the_largest(told):
    # The longest of two: 30, 40, 90, 20, 50, 60, 70, 80; the ninth, of 500, is not looked at.
    lengths = "[30, 9, 40, 9, 90, 9, 20, 9, 50, 9, 60, 9, 70, 9, 80, 9, 500, 9]"
    found = told(MODEL.replace("LENGTHS", lengths) + LOADER)
    alone = told(MODEL.replace("LENGTHS", "[90]") + LOOP)
    # In a block that was kept from a shorter one and is not split, a tensor takes a little more.
    assert 0 <= found["peak_allocated"] - alone["peak_allocated"] < MiB
    assert found["peak_reserved"] >= alone["peak_reserved"]
    assert "script.py:23" in said(found)
    assert "differ (from [2, 20] to [2, 90])" in said(found)
    assert "the one that needs the most again and again" in said(found)
    assert found["steps"] == 8 + 2  # and the largest until it repeats


def test_a_last_batch_of_fewer_examples_makes_no_difference(told):
    found = told(MODEL.replace("LENGTHS", "[30, 30, 30]") + LOADER)
    assert "every batch is like the first: [2, 30]" in said(found)


def test_a_loop_of_its_own_is_followed_until_its_highest_peak_repeats(told):
    # Before that others repeat, which are lower.
    found = told(MODEL.replace("LENGTHS", "[20, 70, 20, 20, 90, 70, 20, 20, 90]") + LOOP)
    alone = told(MODEL.replace("LENGTHS", "[90]") + LOOP)
    assert 0 <= found["peak_allocated"] - alone["peak_allocated"] < MiB
    assert "no step came to the highest peak twice" not in said(found)


def test_a_loop_that_never_repeats_ends_at_a_bound_and_says_so(told):
    lengths = "random.Random(1).sample(range(10, 200), 100)"
    found = told(MODEL.replace("LENGTHS", lengths) + LOOP)
    assert found["steps"] == 16
    assert "no step came to the highest peak twice: the largest of 16 counts" in said(found)
    assert found["cut_off"] == ""
    longer = told(MODEL.replace("LENGTHS", lengths) + LOOP, "--steps", "40")
    assert longer["steps"] == 40
    assert longer["peak_allocated"] > found["peak_allocated"]
