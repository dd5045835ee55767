"""What weighing a step costs: that step beside the steps around it, and what is left afterwards.

Steps of one process are compared with each other, since the machine's speed drifts between runs,
and in seconds of CPU on one thread, which stand the noise of others. Losses, weights, gradients,
buffers and random state with and without are compared to the bit.

Where a step takes 3 ms, what is done for the first time in a process costs as much as what is done
in each step. So small steps are weighed in many fresh processes, each once.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from measure import Failed

ROOT = Path(__file__).resolve().parent.parent

_PROGRAM = """
import copy, hashlib, json, os, statistics, sys, tempfile, time
import torch, torchvision
from timeline.recorder import hooks, session as sessions

def steps_of(made, batches, count, weigh):
    torch.manual_seed(0)
    model = copy.deepcopy(made)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    took = []
    told = hashlib.sha256()
    with tempfile.TemporaryDirectory() as directory:
        session = sessions.Session(directory, exact=True)
        sessions.activate(session)
        hooks.install(anatomy=weigh)
        for _ in range(count):
            began = time.process_time()
            optimizer.zero_grad()
            for batch in batches:
                loss = model(batch).sum()
                loss.backward()
            optimizer.step()
            took.append(time.process_time() - began)
            told.update(repr(loss.item()).encode())
        hooks.uninstall()
        sessions.deactivate()
        session.close()
        path = os.path.join(directory, "weighed.json")
        spent = json.load(open(path))["spent"] / 1e9 if weigh else 0.0
    for each in (*model.parameters(), *model.buffers(), *(p.grad for p in model.parameters())):
        told.update(each.detach().numpy().tobytes())
    told.update(torch.random.get_rng_state().numpy().tobytes())
    return took, spent, told.hexdigest()

def linear(layers, side):
    return torch.nn.Sequential(*(torch.nn.Linear(side, side) for _ in range(layers)),
                               torch.nn.Dropout(0.1))

def fresh(made, batch, make, loss_of, weigh):
    # One small training in a process of its own: the steps around the weighed one, and it.
    took = []
    with tempfile.TemporaryDirectory() as directory:
        session = sessions.Session(directory, exact=True)
        sessions.activate(session)
        began = time.process_time()
        hooks.install(anatomy=weigh)
        model = made()
        optimizer = make(model.parameters())
        before = time.process_time() - began
        for _ in range(16):
            x, y = torch.randn(batch), torch.randint(10, batch[:1])
            began = time.process_time()
            optimizer.zero_grad()
            loss_of(model(x), y).backward()
            optimizer.step()
            took.append(time.process_time() - began)
        hooks.uninstall()
        sessions.deactivate()
        session.close()
    around = statistics.median(took[4:weigh - 1] + took[weigh:])
    return {"step_s": around, "more_s": took[weigh - 1] - around, "next_s": took[weigh] - around,
            "before_s": before}

torch.set_num_threads(1)
if sys.argv[1] == "fresh":
    nn = torch.nn
    out = {
        "mlp": lambda weigh: fresh(
            lambda: nn.Sequential(nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(),
                                  nn.Linear(256, 10)),
            (256, 128), torch.optim.Adam, nn.CrossEntropyLoss(), weigh),
        "deep": lambda weigh: fresh(
            lambda: linear(40, 64), (8, 64), lambda p: torch.optim.SGD(p, 0.01, momentum=0.9),
            lambda out, _: out.sum(), weigh),
    }[sys.argv[2]](10)
    print(json.dumps(out))
    sys.exit()
count, weigh = int(sys.argv[1]), int(sys.argv[1]) // 2
models = {
    "ResNet-18, 8 images of 96x96": (torchvision.models.resnet18(), [torch.randn(8, 3, 96, 96)]),
    "40 linear layers of 64": (linear(40, 64), [torch.randn(8, 64)]),
    "8 linear layers of 512, 64 micro-steps": (linear(8, 512), [*torch.randn(64, 64, 512)]),
}
out = {}
for name, (model, batches) in models.items():
    steps_of(model, batches, 3, 0)
    took, spent, one = steps_of(model, batches, count, weigh)
    off, _, other = steps_of(model, batches, count, 0)
    others = took[2:weigh - 1]
    out[name] = {"step_s": statistics.median(others), "weighed_s": took[weigh - 1],
                 "spent_s": spent, "after_s": statistics.median(took[weigh:]),
                 "off_s": statistics.median(off[2:]), "same": one == other}
print(json.dumps(out))
"""


_SMALL = {
    "mlp": "3 linear layers of 256, Adam, cross entropy, 256 rows",
    "deep": "40 linear layers of 64, SGD with momentum, 8 rows",
}


def measure_all(*, quick: bool) -> dict[str, Any]:
    """By model: seconds of a step, of the weighed one, of those after it, and of those without.

    And whether the results with and without weighing are the same to the bit. Under ``fresh`` by
    small model the medians of many processes, with the least and the most of the weighed step.

    Raises:
        Failed: the program did not run.
    """
    found: dict[str, Any] = _run("8" if quick else "20")
    small: dict[str, Any] = {}
    for name in _SMALL:
        rows = [_run("fresh", name) for _ in range(2 if quick else 15)]
        shares = sorted(row["more_s"] / row["step_s"] for row in rows)
        small[name] = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        small[name] |= {"steps": statistics.median(shares), "least": shares[0], "most": shares[-1]}
    return {**found, "fresh": small}


def _run(*words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *words],
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
        "| model | a step | the weighed one | of it weighing | steps after | without | results |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, each in results.items():
        if name == "fresh":
            continue
        cells = [f"{1e3 * each[key]:.1f} ms" for key in _COLUMNS]
        cells.append("the same to the bit" if each["same"] else "**differ**")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "| small model, in fresh processes | a step | weighed: more by | in steps | next step |",
        "|---|---|---|---|---|",
    ]
    for name, each in results.get("fresh", {}).items():
        cells = [f"{1e3 * each['step_s']:.1f} ms", f"{1e3 * each['more_s']:.1f} ms"]
        cells.append(f"{each['steps']:.2f} ({each['least']:.2f} to {each['most']:.2f})")
        cells.append(f"+{1e3 * each['next_s']:.1f} ms")
        lines.append(f"| {_SMALL[name]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


_COLUMNS = ("step_s", "weighed_s", "spent_s", "after_s", "off_s")
