"""The weighing of a step is a guest in the program: it keeps nothing and says nothing."""

from __future__ import annotations

import json
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
    ended = run(
        [sys.executable, "-m", "timeline", "--anatomy", "2", "-o", "rec", "program.py"],
        cwd=tmp_path,
    )
    assert ended.code == 0, ended.stderr
    assert "kept [False, False, False]" in ended.stdout, ended.stdout + ended.stderr
    assert "lowest 3" in ended.stdout
    assert "weighs None" in ended.stdout
    assert "Warning" not in ended.stderr
    (events,) = (tmp_path / "rec").glob("events.*")
    assert "the second step of its optimizer had not ended after 100 phases" in events.read_text()


PROFILERS = """
import json, os, warnings
import torch
from torch import nn
from torch.autograd import profiler_legacy
from timeline.recorder import hooks, session as sessions
from timeline.recording.weighed.file import settle
warnings.simplefilter("ignore")
torch.set_num_threads(1)

def told():
    with profiler_legacy.profile() as profiler:
        torch.ones(2) + 1
    return any(each.name == "aten::add" for each in profiler.function_events)

class Net(nn.Module):
    def __init__(self, inside):
        super().__init__()
        self.inner = nn.Linear(4, 8)
        self.inside = inside
        self.calls = 0
    def forward(self, x, *more):
        self.calls += 1
        return self.inside(self.inner, x) if self.calls == 2 else self.inner(x)

def old_profiler(inner, x):
    with profiler_legacy.profile(profile_memory=True) as profiler:
        x = inner(x)
    assert any(each.name == "aten::addmm" for each in profiler.function_events)
    return x

def old_profiler_left_on(inner, x):
    profiler = profiler_legacy.profile()
    profiler.__enter__()
    x = inner(x)
    left.append(profiler)
    return x

def plain(inner, x):
    return inner(x)

left = []

def train(inside, *more):
    model = Net(inside)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(4):
        optimizer.zero_grad()
        model(torch.randn(2, 4), *more).sum().backward()
        optimizer.step()

def recorded(name, anatomy, inside, *more, first=lambda: None):
    os.mkdir(name)
    session = sessions.Session(name, exact=True)
    sessions.activate(session)
    hooks.install(anatomy=anatomy)
    first()
    train(inside, *more)
    hooks.uninstall()
    sessions.deactivate()
    session.close()
    lines = [json.loads(line) for line in open(f"{name}/events.{os.getpid()}.jsonl")]
    settle(name)
    there = os.path.exists(f"{name}/breakdown.json")
    weighed = json.load(open(f"{name}/breakdown.json")) if there else {"not_counted": None}
    return weighed["not_counted"], [each["p"] for each in lines if each["k"] == "missing"]

out = {"told at first": told()}
out["old profiler"] = recorded("a", 2, old_profiler)
out["old profiler left on"] = recorded("b", 2, old_profiler_left_on)
left.pop().__exit__(None, None, None)
out["told after"] = told()
for anatomy in (0, 2):
    torch.autograd._enable_record_function(False)
    out[f"quiet {anatomy}"] = recorded(f"c{anatomy}", anatomy, plain)
    out[f"told when quiet {anatomy}"] = told()
    torch.autograd._enable_record_function(True)
# What traces operators must see those of the weighed step, too.
observer = torch.profiler.ExecutionTraceObserver().register_callback("trace.json")
out["traced"] = recorded("d", 2, plain, first=observer.start)
observer.stop()
observer.unregister_callback()
nodes = json.load(open("trace.json"))["nodes"]
out["operators traced"] = sum(each["name"] == "aten::addmm" for each in nodes)
out["long lists"] = recorded("e", 2, plain, [[1] * 10**6, [[2] * 100] * 100, torch.ones(3)])
json.dump(out, open("out.json", "w"))
"""


def test_profilers_and_traces_of_the_program_go_first(tmp_path: Path) -> None:
    ended = run([sys.executable, "-c", PROFILERS], cwd=tmp_path)
    assert ended.code == 0, ended.stderr
    out = json.loads((tmp_path / "out.json").read_text())
    own = "temporaries: the program's own profiler began"
    assert out["old profiler"] == [[own], []]
    assert own in out["old profiler left on"][0]
    assert out["traced"] == [[own], []]
    assert out["operators traced"] == 4
    assert out["told at first"]
    assert out["told after"]
    # Whoever had switched operators' reports off finds them off, weighed or not.
    assert not out["told when quiet 0"]
    assert not out["told when quiet 2"]
    assert out["quiet 0"] == [None, []]
    assert out["quiet 2"] == [[], []]
    assert out["long lists"] == [["input: lists of more than 20,000 things, beyond these"], []]
