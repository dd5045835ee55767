"""One step of a recorded training is weighed: nothing changes by it, and what it says is true."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from running import run, weighing_in_full

import timeline
from timeline.views.parts import at_the_peak, share_unexplained

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
        weighed = os.path.exists(f"{directory}/weighed.json")
        lines = [json.loads(line) for line in open(f"{directory}/events.{os.getpid()}.jsonl")]
        out[f"{anatomy}-{case}-weighed"] = weighed
        out[f"{anatomy}-{case}-missing"] = [e["p"] for e in lines if e["k"] == "missing"]
json.dump(out, open("out.json", "w"))
"""


def test_losses_weights_random_state_and_strides_are_the_same_to_the_bit(tmp_path: Path) -> None:
    (tmp_path / "cases.py").write_text(IDENTICAL)
    done = run([sys.executable, "-c", IN_TURN], cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert "Memory block of unknown size" not in done.stderr
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
from timeline.recording.weighed.file import settle

def weighed(name, train):
    os.mkdir(name)
    session = sessions.Session(name, exact=True)
    sessions.activate(session)
    hooks.install(anatomy=2)
    told = train()
    hooks.uninstall()
    sessions.deactivate()
    session.close()
    settle(name)
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
                    for l in theory.layers if l.output_bytes},
    }

def optimizers():
    from timeline.analysis.expected import expected
    from timeline.recording.anatomy_file import read_anatomy
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
        said = expected(read, read.phases[-1])
        out[name] = [said, {key: read.phases[-1].categories[key] for key in said}]
    return out

class Mixed(torch.nn.Module):
    # Layers whose results, inputs and views are shared, in place and not.
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(20, 16)
        self.norm = torch.nn.LayerNorm(16)
        self.wide, self.act = torch.nn.Linear(16, 64), torch.nn.GELU()
        self.narrow, self.drop = torch.nn.Linear(64, 16), torch.nn.Dropout(0.1)
        self.rnn = torch.nn.LSTM(16, 32, 2)
        self.bend, self.flat = torch.nn.ReLU(), torch.nn.Flatten()
        self.head, self.last = torch.nn.Linear(7 * 32, 5), torch.nn.LogSoftmax(1)
    def forward(self, ids):
        x = self.embed(ids)
        x = x + self.drop(self.narrow(self.act(self.wide(self.norm(x)))))
        x, _ = self.rnn(x.transpose(0, 1).contiguous())
        x = self.bend(x).transpose(0, 1).contiguous()
        return self.last(self.head(self.flat(x)))

def mixed():
    model = Mixed()
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        (model(torch.randint(0, 20, (3, 7)))[:, 0]).sum().backward()
        optimizer.step()

def by_formula(name):
    from timeline.analysis.expected import expected
    from timeline.analysis.formulas import Turn
    from timeline.recording.anatomy_file import read_anatomy
    read = read_anatomy(Path(name), [])
    turn = Turn(read, 0)
    layers = turn.by_layer()
    return {
        "layers": {each.name: [layers.get(i, 0), each.activation]
                   for i, each in enumerate(read.layers) if each.name != "(loss)"},
        "without": dict(turn.without),
        "phases": {each.path: [expected(read, each), dict(each.categories)]
                   for each in reversed(read.phases)},
    }

told, found = weighed("resnet", resnet)
weighed("mixed", mixed)
formulas = {name: by_formula(name) for name in ("resnet", "mixed")}
json.dump([told, found, optimizers(), formulas], open("out.json", "w"))
"""


def test_what_is_weighed_is_what_theory_hooks_and_the_profiler_say(tmp_path: Path) -> None:
    done = run([sys.executable, "-c", WEIGHED], cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert "Memory block of unknown size" not in done.stderr
    theory, weighed, optimizers, formulas = json.loads((tmp_path / "out.json").read_text())
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
        assert {each: found[each] for each in expected} == expected, name
        assert expected["optimizer_state"] > 0
    # The formulas, which were told shapes alone, and the graph, to the byte in each layer.
    for name, told in formulas.items():
        assert told["without"] == {}, name
        for layer, (by_formula, in_graph) in told["layers"].items():
            assert by_formula == in_graph, (name, layer)
        for path, (expected, found) in told["phases"].items():
            for category in ("input", "activation"):
                assert (category in expected) == (path != "step/optimizer")
            assert expected.get("input", found["input"]) == found["input"], (name, path)
    expected, found = formulas["resnet"]["phases"]["step/forward"]
    assert expected["activation"] == pytest.approx(found["activation"], rel=0.05)


PROGRAMS = """
import json, os
import torch
from torch import nn
from timeline.recorder import hooks, session as sessions
from timeline.recording.weighed.file import settle

def step(model, optimizer, *batches):
    optimizer.zero_grad()
    for batch in batches:
        model(batch).sum().backward()
    optimizer.step()

def linear(*sides):
    return nn.Sequential(*(nn.Linear(a, b) for a, b in zip(sides, sides[1:])))

def gan():
    G, D = linear(4, 8), linear(8, 1)
    first, second = torch.optim.SGD(D.parameters(), 0.1), torch.optim.Adam(G.parameters())
    for _ in range(3):
        step(D, first, G(torch.randn(2, 4)).detach(), torch.randn(2, 8))
        second.zero_grad()
        D(G(torch.randn(2, 4))).sum().backward()
        second.step()

def accumulated():
    model = linear(4, 8)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(3):
        step(model, optimizer, *torch.randn(3, 2, 4))

def inferred():
    model = linear(4, 8)
    with torch.no_grad():
        [model(torch.randn(2, 4)) for _ in range(4)]

def forward_only():
    model = linear(4, 8)
    [model(torch.randn(2, 4)) for _ in range(4)]

def one_step():
    model = linear(4, 8)
    step(model, torch.optim.SGD(model.parameters(), 0.1), torch.randn(2, 4))

def by_hand():
    model = linear(4, 8)
    [model(torch.randn(2, 4)).sum().backward() for _ in range(4)]

def backward_alone():
    weight = torch.randn(4, 8, requires_grad=True)
    [weight.square().sum().backward() for _ in range(4)]

def by_hand_after_a_look():
    model = linear(4, 8)
    with torch.no_grad():
        model(torch.randn(2, 4))
    [model(torch.randn(2, 4)).sum().backward() for _ in range(4)]

def no_module():
    weight = torch.randn(4, 8, requires_grad=True)
    optimizer = torch.optim.SGD([weight], 0.1, momentum=0.9)
    for _ in range(3):
        step(lambda x: (x @ weight).relu(), optimizer, torch.randn(2, 4))

class Failing(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 8)
        self.calls = 0
    def forward(self, x):
        self.calls += 1
        x = self.inner(x)
        if self.calls == 2:
            raise ValueError("once")
        return x

def failing():
    model = Failing()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(4):
        try:
            step(model, optimizer, torch.randn(2, 4))
        except ValueError:
            pass

class Profiled(Failing):
    def forward(self, x):
        self.calls += 1
        if self.calls == 2:
            with torch.profiler.profile() as profiler:
                x = self.inner(x)
            assert any(e.name == "aten::addmm" for e in profiler.events())
            return x
        return self.inner(x)

def profiled():
    model = Profiled()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    [step(model, optimizer, torch.randn(2, 4)) for _ in range(3)]

out = {}
for train in (gan, accumulated, inferred, forward_only, one_step, by_hand,
              backward_alone, by_hand_after_a_look, no_module, failing, profiled):
    name = train.__name__
    os.mkdir(name)
    session = sessions.Session(name, exact=True)
    sessions.activate(session)
    hooks.install(anatomy=2)
    train()
    hooks.uninstall()
    sessions.deactivate()
    session.close()
    lines = [json.loads(line) for line in open(f"{name}/events.{os.getpid()}.jsonl")]
    settle(name)
    there = os.path.exists(f"{name}/breakdown.json")
    out[name] = [json.load(open(f"{name}/breakdown.json")) if there else None,
                 [line["p"] for line in lines if line["k"] == "missing"]]
json.dump(out, open("out.json", "w"))
"""


def test_every_kind_of_program_is_weighed_or_says_why_not(tmp_path: Path) -> None:
    done = run([sys.executable, "-c", PROGRAMS], cwd=tmp_path)
    assert done.code == 0, done.stderr
    out = json.loads((tmp_path / "out.json").read_text())

    def paths(name: str) -> list[str]:
        return [each["path"].removeprefix("step/") for each in out[name][0]["phases"]]

    gan = out["gan"][0]
    assert [each["name"] for each in gan["layers"] if each["parameters"]] == [
        "Sequential.0",
        "Sequential#2.0",
    ]
    assert gan["categories"]["parameter"] == gan["categories"]["gradient"] == 4 * (40 + 9)
    assert gan["categories"]["optimizer_state"] == 2 * 4 * 40 + 2 * 4
    assert paths("gan").count("optimizer") == 2
    assert paths("accumulated") == ["forward", "backward"] * 3 + ["optimizer"]
    assert (paths("inferred"), out["inferred"][0]["step"]) == (["inference"], 0)
    assert (paths("forward_only"), out["forward_only"][0]["step"]) == (["forward"], 0)
    for name in ("gan", "accumulated", "inferred", "forward_only", "no_module", "failing"):
        assert out[name][1] == []
    assert out["one_step"] == [
        None,
        ["no anatomy: the program ended before the second step of its optimizer had ended"],
    ]
    assert out["by_hand"] == [
        None,
        ["no anatomy: no optimizer of torch.optim or Keras has stepped"],
    ]
    assert out["backward_alone"] == out["by_hand"]
    looked, missing = out["by_hand_after_a_look"]
    assert looked["step"] == 0
    assert missing == [
        "no anatomy of a training step: no optimizer of torch.optim or Keras has stepped"
    ]
    assert out["no_module"][0]["categories"]["parameter"] == 4 * 32
    assert out["no_module"][0]["categories"]["activation"] > 0
    assert paths("failing") == ["forward", "forward", "backward", "optimizer"]
    assert out["profiled"][0]["not_counted"] == ["temporaries: the program's own profiler began"]


RESNET = """
import torch, torchvision
torch.manual_seed(0)
model = torchvision.models.resnet18(num_classes=10)
optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
loss_of = torch.nn.CrossEntropyLoss()
for step in range(5):
    images, labels = torch.randn(32, 3, 64, 64), torch.randint(10, (32,))
    optimizer.zero_grad()
    loss_of(model(images), labels).backward()
    optimizer.step()
"""


def test_of_a_recorded_resnet_at_most_a_twentieth_is_unexplained(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(RESNET)
    # 34 runs of so few steps had 1 to 4.7 %, eleven of 48 steps 0.6 to 1.7 %.
    shares: list[float] = []
    while len(shares) < 3 and sum(share <= 0.05 for share in shares) < 2:
        name = f"rec{len(shares)}"
        ended = run(
            weighing_in_full(name, "train.py"),
            cwd=tmp_path,
        )
        assert ended.code == 0, ended.stderr
        shares.append(_share_that_is_unexplained(tmp_path / name))
    assert sum(share <= 0.05 for share in shares) == 2, shares


def _share_that_is_unexplained(directory: Path) -> float:
    analysis = timeline.analyze(timeline.load(directory))
    assert analysis.anatomy is not None
    peak = at_the_peak(analysis, analysis.anatomy)
    assert peak is not None
    share = share_unexplained(peak)
    assert share is not None
    share = abs(share)
    # All the parts, and nothing else, add up to the peak; theory says its part of them.
    assert sum(part.measured or 0 for part in peak.parts) == peak.peak
    for name in ("parameter", "optimizer_state"):
        assert peak[name].residual == 0
    assert peak["activation"].estimated is not None or peak.path == "step/optimizer"
    return share
