"""What weighing a step costs: that step beside the steps around it, and what is left afterwards.

Steps of one process are compared with each other, since the machine's speed drifts between runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from measure import Failed

ROOT = Path(__file__).resolve().parent.parent

_PROGRAM = """
import json, os, statistics, sys, tempfile, time
import torch, torchvision
from timeline.recorder import hooks, session as sessions

def steps_of(model, batch, count, weigh):
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    took = []
    with tempfile.TemporaryDirectory() as directory:
        session = sessions.Session(directory, exact=True)
        sessions.activate(session)
        hooks.install(anatomy=weigh)
        for _ in range(count):
            began = time.perf_counter()
            optimizer.zero_grad()
            model(batch).sum().backward()
            optimizer.step()
            took.append(time.perf_counter() - began)
        hooks.uninstall()
        sessions.deactivate()
        session.close()
        path = os.path.join(directory, "breakdown.json")
        spent = json.load(open(path))["spent"] / 1e9 if weigh else 0.0
    return took, spent

count, weigh = int(sys.argv[1]), int(sys.argv[1]) // 2
models = {
    "ResNet-18, 8 images of 96x96": (torchvision.models.resnet18(), torch.randn(8, 3, 96, 96)),
    "40 linear layers of 64": (
        torch.nn.Sequential(*(torch.nn.Linear(64, 64) for _ in range(40))), torch.randn(8, 64)),
}
out = {}
for name, (model, batch) in models.items():
    steps_of(model, batch, 3, 0)
    took, spent = steps_of(model, batch, count, weigh)
    off, _ = steps_of(model, batch, count, 0)
    others = took[2:weigh - 1]
    out[name] = {"step_s": statistics.median(others), "weighed_s": took[weigh - 1],
                 "spent_s": spent, "after_s": statistics.median(took[weigh:]),
                 "off_s": statistics.median(off[2:])}
print(json.dumps(out))
"""


def measure_all(*, quick: bool) -> dict[str, Any]:
    """By model: seconds of a step, of the weighed one, of those after it, and of those without.

    Raises:
        Failed: the program did not run.
    """
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, "8" if quick else "40"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise Failed(f"anatomy: {done.stderr.strip()[-300:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def table(results: dict[str, Any]) -> str:
    """The figures in Markdown."""
    lines = [
        "## Weighing a step",
        "",
        "| model | a step | the weighed one | of it weighing | steps after | without |",
        "|---|---|---|---|---|---|",
    ]
    for name, each in results.items():
        cells = [f"{1e3 * each[key]:.1f} ms" for key in _COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


_COLUMNS = ("step_s", "weighed_s", "spent_s", "after_s", "off_s")
