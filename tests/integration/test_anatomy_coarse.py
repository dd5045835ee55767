"""A step that is weighed coarsely says the same as one in full, as far as it says anything."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from running import run

import timeline
from timeline.views import json as view_json
from timeline.views import text

pytestmark = pytest.mark.torch

PROGRAM = """
import hashlib, json, os, sys
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from timeline.recorder import hooks, session as sessions
from timeline.recorder.hooks import forecast
from timeline.recording.weighed.file import settle

forecast._BASE_NS = 1 << 60  # no step is as long as to weigh it in full

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(20, 8), nn.Linear(8, 20, bias=False)
        self.out.weight = self.embed.weight
        self.register_buffer("scale", torch.ones(3))
    def forward(self, x):
        return self.out(self.embed(x))

class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(16, 16), nn.Sequential(nn.Linear(16, 16), nn.ReLU())
    def forward(self, x):
        return checkpoint(self.b, self.a(x), use_reentrant=False)

class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 8, 2), nn.Linear(8, 4)
    def forward(self, x):
        return self.head(self.lstm(x)[0])

class Bytes(nn.Module):  # its input is gone before the loss makes what it saves
    def __init__(self):
        super().__init__()
        self.hidden, self.out = linear(), nn.Linear(16, 50)
    def forward(self, x):
        return self.out(self.hidden(x.float()))

def row():
    return torch.randn(4, 16)

def linear():
    return nn.Sequential(*(nn.Linear(16, 16) for _ in range(12)), nn.Dropout(0.1))

net = lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
adam = lambda p: torch.optim.Adam(p, 0.01)
cases = {
    "linear": (linear, row, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), 1),
    "net": (net, lambda: torch.randn(2, 3, 8, 8), adam, 1),
    "tied": (Tied, lambda: torch.randint(20, (4, 6)), adam, 1),
    "micro-steps": (linear, row, adam, 3),
    "lstm": (Recurrent, lambda: torch.randn(5, 2, 8), adam, 1),
    "checkpoint": (Checkpointed, row, adam, 1),
    "bytes": (Bytes, lambda: torch.randint(0, 9, (4, 16), dtype=torch.uint8), adam, 1),
    "gan": None,
}

def train(make, batch, optimize, micro):
    model = make()
    optimizer = optimize(model.parameters())
    for _ in range(4):
        optimizer.zero_grad()
        for _ in range(micro):
            out = model(batch())
            loss = functional.log_softmax(out, 1).pow(2).mean()
            loss.backward()
            del out, loss
        optimizer.step()
    return [model]

def turns():
    make, judge = nn.Linear(4, 8), nn.Linear(8, 1)
    one, other = torch.optim.SGD(judge.parameters(), 0.1), torch.optim.Adam(make.parameters())
    for _ in range(4):
        fake = make(torch.randn(3, 4))
        one.zero_grad()
        judge(fake.detach()).sum().backward()
        one.step()
        other.zero_grad()
        judge(fake).sum().backward()
        other.step()
    return [make, judge]

out = {}
for name, case in cases.items():
    for anatomy in (0, 2, -1):
        directory = f"{name}{anatomy}"
        os.mkdir(directory)
        session = sessions.Session(directory, exact=True)
        sessions.activate(session)
        hooks.install(anatomy=anatomy)
        torch.manual_seed(0)
        models = turns() if case is None else train(*case)
        hooks.uninstall()
        sessions.deactivate()
        session.close()
        told = hashlib.sha256()
        for model in models:
            for each in (*model.parameters(), *model.buffers()):
                told.update(each.detach().numpy().tobytes())
        told.update(torch.random.get_rng_state().numpy().tobytes())
        settle(directory)
        there = os.path.exists(f"{directory}/breakdown.json")
        out[directory] = [told.hexdigest(),
                          json.load(open(f"{directory}/breakdown.json")) if there else None]

# Whatever a first step took, the others may have taken less than to weigh one.
forecast._BASE_NS, forecast._LAYER_NS, forecast._SLOWER = 0, 1, 1 << 60
for steps in (2, 4):
    directory = f"later{steps}"
    os.mkdir(directory)
    session = sessions.Session(directory, exact=True)
    sessions.activate(session)
    hooks.install(anatomy=-1)
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(row()).sum().backward()
        optimizer.step()
    hooks.uninstall()
    sessions.deactivate()
    session.close()
    lines = [json.loads(line) for line in open(f"{directory}/events.{os.getpid()}.jsonl")]
    settle(directory)
    there = os.path.exists(f"{directory}/breakdown.json")
    out[directory] = [[line["p"] for line in lines if line["k"] == "missing"],
                      json.load(open(f"{directory}/breakdown.json")) if there else None]
json.dump(out, open("out.json", "w"))
"""

CASES = ("linear", "net", "tied", "micro-steps", "lstm", "checkpoint", "bytes", "gan")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coarse")
    done = run([sys.executable, "-c", PROGRAM], cwd=folder)
    assert done.code == 0, done.stderr
    return json.loads((folder / "out.json").read_text())


@pytest.mark.parametrize("case", CASES)
def test_results_are_the_same_to_the_bit_however_it_is_weighed(told, case):
    assert told[f"{case}0"][0] == told[f"{case}2"][0] == told[f"{case}-1"][0]


@pytest.mark.parametrize("case", CASES)
def test_what_is_held_is_the_same_to_the_byte_and_by_layer_as_in_full(told, case):
    full, coarse = told[f"{case}2"][1], told[f"{case}-1"][1]
    for name in ("parameter", "buffer", "gradient", "optimizer_state", "activation", "input"):
        assert coarse["categories"][name] == full["categories"][name], name
    for name in ("parameters", "sizes", "trained"):
        assert coarse[name] == full[name], name
    for one, other in zip(coarse["layers"], full["layers"], strict=True):
        for name in ("name", "kind", "parameters", "parameter", "buffer", "gradient", "calls"):
            assert one[name] == other[name], (one["name"], name)
        assert one["activation"] == other["activation"], one["name"]


def test_of_a_phase_that_moment_is_shown_at_which_most_was_in_use(told):
    by_path = {each["path"]: each for each in told["linear-1"][1]["phases"]}
    forward, backward = by_path["step/forward"], by_path["step/backward"]
    assert max(each["categories"]["activation"] for each in (forward, backward)) == 12 * 4 * 16 * 4
    assert all(each["rise"] is None for each in by_path.values())
    assert by_path["step/optimizer"]["categories"]["gradient"] == 12 * 4 * (16 * 16 + 16)


SMALL = """
import torch
from timeline.recorder.hooks import forecast
forecast._BASE_NS = 1 << 60
model = torch.nn.Sequential(*(torch.nn.Linear(64, 64) for _ in range(20)))
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for _ in range(4):
    optimizer.zero_grad()
    model(torch.randn(8, 64)).sum().backward()
    optimizer.step()
"""


def recorded(folder: Path, *options: str) -> Path:
    (folder / "train.py").write_text(SMALL)
    command = [sys.executable, "-m", "timeline", "--no-charts", "-o", "rec", *options, "train.py"]
    ended = run(command, cwd=folder)
    assert ended.code == 0, ended.stderr
    return folder / "rec"


def test_terminal_and_json_say_why_it_is_coarse_and_what_to_do(tmp_path: Path) -> None:
    analysis = timeline.analyze(timeline.load(recorded(tmp_path)))
    anatomy = analysis.anatomy
    assert anatomy is not None
    assert anatomy.weighed.step == 2
    why = "step 2 was weighed coarsely: in full it would take some"
    assert why in " ".join(text.render(analysis).split())
    assert "--anatomy 2 weighs this step in full" in " ".join(text.render(analysis).split())
    assert why in view_json.render(analysis)
    peak = anatomy.of("step/backward")
    assert peak is not None
    assert peak["temporary"].measured is None, "not known is no zero"
    known = [each.measured for each in peak.parts if each.measured is not None]
    assert sum(known) == peak.peak, "what is not known is unexplained, and in no other part"
    assert anatomy.advised is None
    assert anatomy.unadvised == "the step was weighed coarsely"
    assert anatomy.notes[0] == anatomy.weighed.coarse
    assert anatomy.weighed.coarse.startswith(why)
    assert not any("no call of a layer" in note for note in anatomy.notes)


def test_a_step_that_is_asked_for_by_number_is_weighed_in_full(tmp_path: Path) -> None:
    analysis = timeline.analyze(timeline.load(recorded(tmp_path, "--anatomy", "2")))
    assert analysis.anatomy is not None
    assert not analysis.anatomy.weighed.coarse
    assert not analysis.anatomy.weighed.not_counted
    peak = analysis.anatomy.of("step/backward")
    assert peak is not None
    assert peak["temporary"].measured is not None


def test_where_the_first_step_cannot_tell_the_third_is_weighed_or_a_sentence_says_why_not(told):
    missing, weighed = told["later4"]
    assert weighed["step"] == 3
    assert not missing
    assert not weighed["not_counted"], "in full, since it fits"
    (why,), weighed = told["later2"]
    assert weighed is None
    assert "before the third step of SGD had ended: --anatomy 2 weighs an earlier one" in why


ODD = """
import sys
import torch
from torch import nn
from timeline.recorder.hooks import forecast
forecast._BASE_NS = int(sys.argv[1])

class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(8, 8) for _ in range(20)))
        self.later = nn.LazyBatchNorm1d(), nn.LazyLinear(8)
        self.unused = nn.ModuleList(self.later)
    def forward(self, x, ragged):
        return self.layers(x)

model = Odd()
optimizer = torch.optim.SGD([*model.layers.parameters(), *model.unused.parameters()], 0.1)
ragged = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(3, 3)])
for _ in range(5):
    optimizer.zero_grad()
    model(torch.randn(4, 8), ragged).sum().backward()
    optimizer.step()
"""


@pytest.mark.parametrize("base_ns", [0, 1 << 60], ids=["in full", "coarsely"])
def test_layers_that_are_not_made_yet_and_inputs_without_a_shape_cost_nothing(base_ns, tmp_path):
    (tmp_path / "odd.py").write_text(ODD)
    number = ["--anatomy", "2"] if not base_ns else []
    words = ["-m", "timeline", "--no-charts", *number, "-o", "r", "odd.py", str(base_ns)]
    ended = run([sys.executable, *words], cwd=tmp_path)
    assert ended.code == 0, ended.stderr
    recording = timeline.load(tmp_path / "r")
    assert recording.anatomy is not None, ended.stderr
    assert bool(recording.anatomy.coarse) == bool(base_ns)
    assert not [each for each in recording.missing if "anatomy" in each]
    assert sum(each.parameters for each in recording.anatomy.layers) == 20 * 72
