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
import copy, gc, hashlib, json, os, statistics, sys, tempfile, time
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

class Gpt(torch.nn.Module):
    def __init__(self):
        super().__init__()
        nn = torch.nn
        self.embed, self.place = nn.Embedding(100, 64), nn.Embedding(16, 64)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(64, 4, 256, batch_first=True, norm_first=True)
            for _ in range(4))
        self.norm, self.head = nn.LayerNorm(64), nn.Linear(64, 100)
    def forward(self, x):
        seen = torch.nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        y = self.embed(x) + self.place(torch.arange(x.shape[1]))
        for block in self.blocks:
            y = block(y, src_mask=seen, is_causal=True)
        return self.head(self.norm(y)).flatten(0, 1)

class Lstm(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.lstm = torch.nn.Embedding(100, 64), torch.nn.LSTM(64, 64, 2)
        self.head = torch.nn.Linear(64, 100)
    def forward(self, x):
        return self.head(self.lstm(self.embed(x))[0]).flatten(0, 1)

def small(kind):
    # A model, what makes a batch and its targets, and the optimizer's class.
    nn, models = torch.nn, torchvision.models
    adam = torch.optim.Adam
    def momentum(parameters):
        return torch.optim.SGD(parameters, 0.01, momentum=0.9)
    def images():
        return torch.randn(2, 3, 64, 64), torch.randint(10, (2,))
    def texts():
        return torch.randint(100, (2, 16)), torch.randint(100, (32,))
    if kind == "mlp":
        model = nn.Sequential(nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(),
                              nn.Linear(256, 10))
        return model, lambda: (torch.randn(256, 128), torch.randint(10, (256,))), adam
    if kind == "deep":
        return linear(40, 64), lambda: (torch.randn(8, 64), torch.randint(64, (8,))), momentum
    if kind == "gpt":
        return Gpt(), texts, adam
    if kind == "lstm":
        return Lstm(), texts, adam
    if kind == "vit":
        return models.VisionTransformer(64, 16, 4, 4, 64, 256, num_classes=10), images, adam
    return getattr(models, kind)(num_classes=10), images, adam

def fresh(kind, weigh, steps):
    # One small training in a process of its own: what each step took, and which was weighed how.
    took = []
    with tempfile.TemporaryDirectory() as directory:
        session = sessions.Session(directory, exact=True)
        sessions.activate(session)
        began = time.process_time()
        hooks.install(anatomy=weigh)
        torch.manual_seed(0)
        model, batch, make = small(kind)
        optimizer = make(model.parameters())
        before = time.process_time() - began
        loss_of = torch.nn.CrossEntropyLoss()
        # What the imports left to be collected takes 0.1 s, in whichever step it is due.
        gc.collect()
        for _ in range(steps):
            x, y = batch()
            began = time.process_time()
            optimizer.zero_grad()
            loss_of(model(x), y).backward()
            optimizer.step()
            took.append(time.process_time() - began)
        hooks.uninstall()
        sessions.deactivate()
        session.close()
        path = os.path.join(directory, "weighed.json")
        weighed = json.load(open(path)) if weigh else {"step": 0}
    return {"took": took, "step": weighed["step"], "coarse": "coarse" in weighed,
            "before_s": before}

torch.set_num_threads(1)
if sys.argv[1] == "fresh":
    print(json.dumps(fresh(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
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
    "mlp": "3 linear layers of 256, Adam, 256 rows",
    "deep": "40 linear layers of 64, SGD with momentum, 8 rows",
    "lstm": "LSTM, 2 layers of 64, Adam, 2 rows of 16",
    "gpt": "GPT, 4 blocks of 64, Adam, 2 rows of 16",
    "vit": "ViT, 4 blocks of 64, Adam, 2 images of 64x64",
    "mobilenet_v3_small": "MobileNetV3-Small, Adam, 2 images of 64x64",
    "resnet18": "ResNet-18, Adam, 2 images of 64x64",
    "resnet50": "ResNet-50, Adam, 2 images of 64x64",
    "vgg16": "VGG-16, Adam, 2 images of 64x64",
}

_LONG = ("resnet50", "vgg16")
"""Of these a step takes a second and more: fewer processes, and fewer steps."""


def measure_all(*, quick: bool) -> dict[str, Any]:
    """By model: seconds of a step, of the weighed one, of those after it, and of those without.

    And whether the results with and without weighing are the same to the bit. Under ``fresh`` by
    small model what the step that is weighed unasked took more than the same step of a process
    that weighs none, in the shares of a step: the median of many pairs, with the least and most.

    Raises:
        Failed: the program did not run.
    """
    found: dict[str, Any] = _run("8" if quick else "20")
    small = {kind: _pairs(kind, 2 if quick else 5 if kind in _LONG else 15) for kind in _SMALL}
    return {**found, "fresh": small}


def _pairs(kind: str, count: int) -> dict[str, Any]:
    rows = []
    for _ in range(count):
        steps = "6" if kind in _LONG else "16"
        on, off = (_run("fresh", kind, weigh, steps) for weigh in ("-1", "0"))
        place = on["step"] - 1
        step = statistics.median(on["took"][place + 1 :])
        more, later = (on["took"][each] - off["took"][each] for each in (place, place + 1))
        rows.append((more / step, step, more, later, on["step"], on["coarse"]))
    shares, lengths, mores, laters, steps_, coarse = zip(*rows, strict=True)
    return {
        "step_s": statistics.median(lengths),
        "more_s": statistics.median(mores),
        "next_s": statistics.median(laters),
        "steps": statistics.median(shares),
        "least": min(shares),
        "most": max(shares),
        "weighed": sorted(set(steps_)),
        "coarse": sum(coarse),
        "processes": count,
    }


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
        "| small model, in fresh processes | a step | weighed | coarsely | more by | in steps | "
        "next step |",
        "|---|---|---|---|---|---|---|",
    ]
    small = results.get("fresh", {})
    for name, each in small.items():
        cells = [
            f"{1e3 * each['step_s']:.1f} ms",
            f"the {' or '.join(map(str, each['weighed']))}.",
            f"{each['coarse']} of {each['processes']}",
            f"{1e3 * each['more_s']:.1f} ms",
            f"{each['steps']:.2f} ({each['least']:.2f} to {each['most']:.2f})",
            f"{1e3 * each['next_s']:+.1f} ms",
        ]
        lines.append(f"| {_SMALL[name]} | {' | '.join(cells)} |")
    if small:
        name, worst = max(small.items(), key=lambda pair: pair[1]["steps"])
        lines += [
            "",
            f"Worst: {_SMALL[name]}, {worst['steps']:.2f} of a step more. At most one step, once: "
            + ("yes" if worst["steps"] <= 1 else "**no**")
            + ".",
        ]
    return "\n".join(lines) + "\n"


_COLUMNS = ("step_s", "weighed_s", "spent_s", "after_s", "off_s")
