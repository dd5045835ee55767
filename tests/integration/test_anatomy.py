"""One step of a recorded training is weighed: nothing changes by it, and what it says is true."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from running import run

pytestmark = pytest.mark.torch

IDENTICAL = """
import hashlib, sys
import torch, torch.utils.checkpoint
from torch import nn

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.embed.weight
    def forward(self, x):
        return self.head(self.drop(self.embed(x)))

class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Sequential(nn.Linear(16, 64), nn.Dropout(0.2), nn.ReLU(inplace=True))
        self.b = nn.Linear(64, 4)
    def forward(self, x):
        x = torch.utils.checkpoint.checkpoint(self.a, x, use_reentrant=False)
        return self.b(x)

class Penalized(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4))
    def forward(self, x):
        x = x.requires_grad_()
        y = self.net(x)
        (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        per = torch.func.vmap(torch.func.grad(lambda v: (v * v).sum()))(x.detach())
        return y + g.pow(2).mean() + per.mean()

torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
                    nn.Dropout2d(0.5), nn.Flatten(), nn.Linear(8 * 36, 4))
gru = nn.GRU(16, 16, 2, dropout=0.5)
image, row, ids = (lambda: torch.randn(4, 3, 8, 8)), (lambda: torch.randn(4, 16)), (
    lambda: torch.randint(0, 50, (4, 7)))
cases = [
    (net, image, lambda p: torch.optim.SGD(p, 0.05, momentum=0.9), None),
    (net, image, lambda p: torch.optim.AdamW(p, 0.01, foreach=True), torch.bfloat16),
    (Tied(), ids, lambda p: torch.optim.Adam(p, 0.01), None),
    (Checkpointed(), row, lambda p: torch.optim.AdamW(p, 0.01), None),
    (Penalized(), row, lambda p: torch.optim.RMSprop(p, 0.01), None),
    (gru, lambda: torch.randn(5, 2, 16), lambda p: torch.optim.Adagrad(p, 0.01), None),
    (nn.Sequential(nn.Linear(16, 8), nn.Dropout(0.5), nn.Linear(8, 2)), row, "LBFGS", None),
]
told = hashlib.sha256()

def train(model, batch, make, cast):
    if make == "LBFGS":
        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)
    else:
        optimizer = make(model.parameters())
    def closure():
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=cast or torch.bfloat16, enabled=cast is not None):
            out = model(batch())
            out = out[0] if isinstance(out, tuple) else out
            loss = out.float().pow(2).mean()
        loss.backward()
        told.update(repr(loss.item()).encode())
        return loss
    for _ in range(5):
        if make == "LBFGS":
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()
    for each in (*model.parameters(), *model.buffers()):
        told.update(each.detach().float().numpy().tobytes())
    told.update(torch.random.get_rng_state().numpy().tobytes())
    for each in model.parameters():
        told.update(str(each.grad.stride()).encode())
    print(told.hexdigest())
    print(sorted(set(dir(model))) == sorted(set(dir(type(model)))) , repr(model))

for case in cases[int(sys.argv[1]):int(sys.argv[1]) + 1]:
    train(*case)
"""


IN_TURN = """
import hashlib, sys, json, os
sys.argv = ["train.py", "0"]
source = open("cases.py").read()
import torch
from timeline.recorder import hooks, session as sessions
out = {}
for anatomy in (0, 2):
    for case in range(7):
        directory = f"run-{anatomy}-{case}"
        os.mkdir(directory)
        session = sessions.Session(directory, exact=True)
        sessions.activate(session)
        hooks.install(anatomy=anatomy)
        printed = []
        names = {"__name__": "__main__", "print": lambda *words: printed.append(repr(words))}
        sys.argv[1] = str(case)
        exec(compile(source, "cases.py", "exec"), names)
        hooks.uninstall()
        sessions.deactivate()
        session.close()
        out[f"{anatomy}-{case}"] = printed
        weighed = os.path.exists(f"{directory}/breakdown.json")
        lines = [json.loads(line) for line in open(f"{directory}/events.{os.getpid()}.jsonl")]
        out[f"{anatomy}-{case}-weighed"] = weighed
        out[f"{anatomy}-{case}-missing"] = [e["p"] for e in lines if e["k"] == "missing"]
json.dump(out, open("out.json", "w"))
"""


def test_losses_weights_random_state_and_strides_are_the_same_to_the_bit(tmp_path: Path) -> None:
    (tmp_path / "cases.py").write_text(IDENTICAL)
    done = run([sys.executable, "-c", IN_TURN], cwd=tmp_path)
    assert done.code == 0, done.stderr
    out = json.loads((tmp_path / "out.json").read_text())
    for case in range(7):
        assert out[f"2-{case}-weighed"], out[f"2-{case}-missing"]
        assert not out[f"0-{case}-weighed"]
        assert out[f"0-{case}"] == out[f"2-{case}"]
        assert out[f"2-{case}-missing"] == []
    assert len({out[f"2-{case}"][0] for case in range(7)}) == 7


WEIGHED = """
import json, os, sys
from pathlib import Path
import torch, torchvision
import timeline
from timeline.recorder import hooks, session as sessions

def weighed(name, train):
    os.mkdir(name)
    session = sessions.Session(name, exact=True)
    sessions.activate(session)
    hooks.install(anatomy=2)
    told = train()
    hooks.uninstall()
    sessions.deactivate()
    session.close()
    return told, json.load(open(f"{name}/breakdown.json"))

def resnet():
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=50)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for step in range(3):
        optimizer.zero_grad()
        x, y = torch.randn(4, 3, 64, 64), torch.randint(0, 50, (4,))
        if step == 2:
            # The oracle: torch's own profiler, in a step that is like the weighed one.
            with torch.profiler.profile(profile_memory=True) as profiler:
                out = model(x)
            events = profiler.profiler.kineto_results.events()
            total = most = 0
            for event in sorted(events, key=lambda e: e.start_ns()):
                if event.name() == "[memory]":
                    total += event.nbytes()
                    most = max(most, total)
            loss = torch.nn.functional.cross_entropy(out, y)
        else:
            loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    theory = timeline.breakdown(
        model, "sgd,momentum=0.9", "3x64x64", batch=4, loss="cross_entropy")
    return {
        "forward": most,
        "categories": dict(theory.categories),
        "layers": {l.name: [l.activation, l.parameters, l.gradient] for l in theory.layers},
        "outputs": {l.name: [l.output_bytes, l.output_dtype, list(l.output_shape)]
                    for l in theory.layers if l.output_shape},
    }

def optimizers():
    from timeline.analysis.expected import expected
    from timeline.recording.anatomy import read_anatomy
    out = {}
    makers = dict(SGD={"lr": 0.1, "momentum": 0.9}, Adam={"amsgrad": True}, AdamW={}, NAdam={},
                  RAdam={}, Adamax={}, Adadelta={}, Adagrad={}, Rprop={},
                  RMSprop={"momentum": 0.9, "centered": True})
    for name, options in makers.items():
        def train():
            model = torch.nn.Sequential(torch.nn.Linear(30, 40), torch.nn.Linear(40, 5))
            model[0].bias.requires_grad_(False)
            optimizer = getattr(torch.optim, name)(
                [p for p in model.parameters() if p.requires_grad], **options)
            for _ in range(3):
                optimizer.zero_grad()
                model(torch.randn(4, 30)).sum().backward()
                optimizer.step()
        weighed(name, train)
        read = read_anatomy(Path(name), [])
        said = expected(read, "step/optimizer")
        out[name] = [said, {key: read.phases[-1].categories[key] for key in said}]
    return out

told, found = weighed("resnet", resnet)
json.dump([told, found, optimizers()], open("out.json", "w"))
"""


def test_what_is_weighed_is_what_theory_hooks_and_the_profiler_say(tmp_path: Path) -> None:
    done = run([sys.executable, "-c", WEIGHED], cwd=tmp_path)
    assert done.code == 0, done.stderr
    theory, weighed, optimizers = json.loads((tmp_path / "out.json").read_text())
    # The targets of a loss that is a function, which theory makes for itself: 4 numbers of 8 bytes.
    theory["categories"]["activation"] += 32
    theory["layers"]["(loss)"][0] += 32
    for name in ("parameter", "buffer", "gradient", "optimizer_state", "activation"):
        assert weighed["categories"][name] == theory["categories"][name], name
    layers = {each["name"]: each for each in weighed["layers"]}
    for name, (activation, parameters, gradient) in theory["layers"].items():
        there = layers[name]
        found = [there["activation"], there["parameters"], there["gradient"]]
        assert found == [activation, parameters, gradient], name
    for name, output in theory["outputs"].items():
        if not name.endswith("relu"):  # called twice
            there = layers[name]
            found = [there["output_bytes"], there["output_dtype"], there["output_shape"]]
            assert found == output, name
    forward = next(each for each in weighed["phases"] if each["path"] == "step/forward")
    grown = sum(forward["categories"][name] for name in ("activation", "temporary"))
    assert grown == pytest.approx(theory["forward"], rel=0.01)
    for name, (expected, found) in optimizers.items():
        assert expected == found, name
        assert expected["optimizer_state"] > 0
