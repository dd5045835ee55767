"""What comes into a program beside its model, and after its weighed step, has a name of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import run, weighing_in_full

import timeline
from timeline.recorder.hooks.heap import heap_reader

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(heap_reader() is None, reason="this C library tells no heap"),
]

MIB = 1 << 20

HEAVY = """
small = [str(number) for number in range(400_000)]
large = [bytes(5000) for number in range(4000)]
"""
"""Of the former CPython has memory of its own, of the latter the C library's heap."""

TRAINING = """
import torch
from torch import nn
model = nn.Sequential(*(nn.Linear(512, 512) for _ in range(8)))
import heavy
optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)

def step(rows):
    optimizer.zero_grad()
    model(torch.randn(rows, 512)).sum().backward()
    optimizer.step()

for _ in range(3):
    step(256)
blocks = [bytearray(100_000) for _ in range(400)]
held = blocks[::20]
del blocks
step(256)
step(256)
"""
"""After its third step it takes 40 MB of the heap, holds 2 of them, and takes the same steps."""


def test_what_was_imported_and_what_malloc_keeps_by_then_are_named(tmp_path: Path) -> None:
    (tmp_path / "heavy.py").write_text(HEAVY)
    (tmp_path / "train.py").write_text(TRAINING)
    ended = run(
        weighing_in_full("rec", "train.py"),
        cwd=tmp_path,
    )
    assert ended.code == 0, ended.stderr
    analysis = timeline.analyze(timeline.load(tmp_path / "rec"))
    assert analysis.anatomy is not None
    for path in ("step/forward", "step/backward", "step/optimizer"):
        peak = analysis.anatomy.of(path)
        assert peak is not None
        # 20 MB of the one, 25 of the other, and torch's own compiler.
        assert (peak["imported"].measured or 0) > 40 * MIB, path
        assert peak.later.kept > 10 * MIB, path
        left = peak["unexplained"].measured
        # What the program holds now, and a few MiB of what the first step makes.
        assert left is not None
        assert abs(left) < 0.08 * peak.grown, (path, peak)
        assert sum(part.measured or 0 for part in peak.parts) == peak.peak
