"""The weighing of a step is a guest in the program: it keeps nothing and says nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from running import run

pytestmark = pytest.mark.torch

PROGRAM = """
import gc, os, time, warnings, weakref
import torch
import torch.autograd.profiler as profilers
from torch import nn
from timeline.recorder.hooks import anatomy
from timeline.recorder.hooks.torch_phases import Probe
anatomy._MOST_CALLS = 100
warnings.simplefilter("always")
torch.set_num_threads(1)

def small():
    return nn.Sequential(*[nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(20)])

class Profiled(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = small()
    def forward(self, x):
        with profilers.emit_itt():
            return self.net(x)

model, x = Profiled(), torch.randn(4, 8)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
model(x).sum().backward()
optimizer.step()

# The second step begins, and is never ended by the optimizer.
names = dict(model.net.named_parameters())
moved = {name: each * 1 for name, each in names.items()}
torch.func.functional_call(model.net, moved, (x,)).sum().backward()
model(x).sum().backward()
large = nn.Linear(100, 100)
large(torch.randn(2, 100)).sum().backward()
gone = weakref.ref(large.weight), weakref.ref(optimizer), weakref.ref(moved["0.0.weight"])
lowest = os.open(os.devnull, os.O_RDONLY)
print("lowest", lowest)
os.close(lowest)
del large, optimizer, moved
gc.collect()
print("kept", [each() is not None for each in gone])
for _ in range(100):
    model.net(x).sum().backward()
print("weighs", Probe.anatomy._weighing)
"""


def test_a_step_that_never_ends_is_let_go_and_the_program_notices_nothing(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    ended = run([sys.executable, "-m", "timeline", "-o", "rec", "program.py"], cwd=tmp_path)
    assert ended.code == 0, ended.stderr
    assert "kept [False, False, False]" in ended.stdout, ended.stdout + ended.stderr
    assert "lowest 3" in ended.stdout
    assert "weighs None" in ended.stdout
    assert "Warning" not in ended.stderr
    (events,) = (tmp_path / "rec").glob("events.*")
    assert "the second step of its optimizer had not ended after 100 phases" in events.read_text()
