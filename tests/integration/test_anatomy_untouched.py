"""What was asked for and never written is named, and what cannot be estimated has a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import run, weighing_in_full

import timeline
from timeline.analysis.anatomy import Anatomized
from timeline.recorder.hooks.heap import heap_reader
from timeline.views.parts import share_unexplained

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(heap_reader() is None, reason="this C library tells no heap"),
]

MIB = 1 << 20
LAYER = 4 * 513 * 512

BEGIN = """
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
model = nn.Sequential(*(nn.Linear(512, 512) for _ in range(4)))
optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
def train(forward):
    for _ in range(3):
        optimizer.zero_grad()
        forward(torch.randn(1024, 512)).sum().backward()
        optimizer.step()
"""

UNTOUCHED = """
class Roomy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        room = torch.empty(64 << 20, dtype=torch.uint8)
        room[: 16 << 20].zero_()
        ctx.save_for_backward(room)
        return x * 2
    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = model
    def forward(self, x):
        return self.layers(Roomy.apply(self.layers(x)))

train(Net())
"""

ANOTHER_WAY = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers, self.last = model[:3], model[3]
    def forward(self, x):
        for each in self.layers:
            x = checkpoint(each, x, use_reentrant=False)
        with torch.autocast("cpu", torch.bfloat16):
            return self.last(x)

train(Net())
"""


def weighed(folder: Path, script: str) -> Anatomized:
    (folder / "train.py").write_text(BEGIN + script)
    ended = run(
        weighing_in_full("rec", "train.py"),
        cwd=folder,
    )
    assert ended.code == 0, ended.stderr
    found = timeline.analyze(timeline.load(folder / "rec")).anatomy
    assert found is not None
    return found


def assert_no_false_gradients(anatomy: Anatomized) -> None:
    """A tick may come between a layer's backward and its gradient, and there may be few."""
    peak = anatomy.of("step/backward")
    assert peak is not None
    if peak["gradient"].estimated is None:
        assert any("gradients of step/backward are not estimated" in each for each in anatomy.notes)
    assert abs(peak["gradient"].residual or 0) <= LAYER


def test_memory_that_is_saved_and_never_written_is_taken_from_the_parts(tmp_path: Path) -> None:
    anatomy = weighed(tmp_path, UNTOUCHED)
    peak = anatomy.of("step/backward")
    assert peak is not None
    assert (peak["activation"].measured or 0) > 64 * MIB
    # Of 64 MiB 16 were written.
    assert -(peak["untouched"].measured or 0) == pytest.approx(48 * MIB, abs=4 * MIB)
    share = share_unexplained(peak)
    assert share is not None
    assert share > -0.01
    assert sum(part.measured or 0 for part in peak.parts) == peak.peak
    assert any("nothing had been written there yet" in note for note in anatomy.notes)


def test_in_a_checkpoint_and_under_autocast_no_activations_are_estimated(tmp_path: Path) -> None:
    anatomy = weighed(tmp_path, ANOTHER_WAY)
    peak = anatomy.of("step/backward")
    assert peak is not None
    assert peak["activation"].estimated is None
    assert peak["temporary"].estimated is None
    assert_no_false_gradients(anatomy)
    assert any("packed otherwise: 3;" in note for note in anatomy.notes)
    assert any("under autocast: 1;" in note for note in anatomy.notes)
    assert any("not estimated: formulas do not hold for 4 of 4" in note for note in anatomy.notes)
