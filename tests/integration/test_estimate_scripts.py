"""Training scripts as people write them, followed without a GPU and without running them."""

from __future__ import annotations

import json
import sys

import pytest
from running import run

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.torch

MiB = 1 << 20

LOOP = """
import torch
from torch import nn

device = "cuda" if torch.cuda.is_available() else "cpu"
model = nn.Sequential(
    nn.Linear(1024, 1024, bias=False), nn.ReLU(), nn.Linear(1024, 1024, bias=False)
).to(device)
optimizer = torch.optim.Adam(model.parameters())
for step in range(1000):
    x = torch.randn(256, 1024).to(device)
    optimizer.zero_grad()
    output = model(x)
    loss = output.sum()
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(f"step {step}: {loss.item():.3f}")
torch.save(model.state_dict(), "model.pt")
"""


@pytest.fixture
def estimate(tmp_path):
    """``estimate(*words)`` runs the verb; returns its `Ended`."""

    def run_it(*words: object, **options):
        command = [sys.executable, "-m", "timeline", "estimate", *map(str, words)]
        return run(command, cwd=tmp_path, **options)

    return run_it


@pytest.fixture
def told(estimate):
    """``told(*words)`` is the key ``estimate`` of the document that the verb prints."""

    def run_it(*words: object, **options):
        ended = estimate("--json", *words, **options)
        assert ended.code == 0, ended.stderr
        return json.loads(ended.stdout)["estimate"]

    return run_it


def test_a_script_needs_what_the_same_loop_in_code_does(told, write_script):
    from timeline import estimate as in_code

    def model():
        return torch.nn.Sequential(
            torch.nn.Linear(1024, 1024, bias=False),
            torch.nn.ReLU(),
            torch.nn.Linear(1024, 1024, bias=False),
        )

    found = told(write_script(LOOP))
    alike = in_code(model, "adam", "1024", batch=256)
    assert found["peak_allocated"] == alike.peak_allocated
    assert found["peak_reserved"] == alike.peak_reserved
    assert found["peak_phase"] == alike.peak_phase
    for category in ("parameter", "gradient", "optimizer_state"):
        assert found["categories_at_peak"][category] == alike.categories_at_peak[category]


def test_a_script_leaves_no_file_and_starts_no_cuda(estimate, write_script, tmp_path):
    script = write_script(
        LOOP.replace("1000)", "5)")
        + "\nimport os\nos.makedirs('runs/a')\nopen('runs/a/log.txt', 'w').write('x')\n"
        + "assert open('runs/a/log.txt').read() == 'x'\n"
    )
    ended = estimate("--steps", "50", script)
    assert ended.code == 0, ended.stderr
    assert "saves tensors" in " ".join(ended.stdout.split())
    assert [each.name for each in tmp_path.iterdir()] == [script.name]


def test_a_script_that_knows_no_gpu_is_estimated_as_if_on_one(told, write_script):
    on_card = told(write_script(LOOP))
    on_cpu = told(write_script(LOOP.replace('"cuda" if torch.cuda.is_available() else ', "")))
    assert on_cpu["categories_at_peak"]["parameter"] == 8 * MiB
    assert on_cpu["peak_allocated"] == pytest.approx(on_card["peak_allocated"], rel=0.02)
    assert any("asks for no card" in each for each in on_cpu["assumptions"])
