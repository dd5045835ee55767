"""What a program shows of itself is the same with and without phases, and so is a failing torch."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.torch

TRACEBACKS = """
import logging, sys, threading, traceback, warnings
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

class Bad(nn.Module):
    def __init__(self, fail=False):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        if fail:
            raise RuntimeError("in init")
    def forward(self, x):
        return self.layer(x[:, :3])

class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.bad = Bad()
    def forward(self, x):
        return self.bad(x)

class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2
    @staticmethod
    def backward(ctx, gradient):
        raise ValueError("in backward")

class Unreadable(Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, i):
        raise KeyError("in the data")

class Mine(torch.optim.SGD):
    def step(self, closure=None):
        raise ArithmeticError("in step")

x = torch.randn(2, 4)
model = Outer()

def backward():
    Twice.apply(torch.randn(2, requires_grad=True)).sum().backward()

def gradient():
    y = torch.randn(2, requires_grad=True)
    torch.autograd.grad(Twice.apply(y).sum(), y)

def closure():
    torch.optim.LBFGS(model.parameters()).step(lambda: model(x).sum())

def chained():
    try:
        model(x)
    except Exception as error:
        raise LookupError("outer") from error

def hooked():
    other = Outer()
    other.register_forward_pre_hook(lambda *args: 1 / 0)
    other(x)

cases = [
    lambda: model(x), backward, gradient, closure, chained, hooked,
    lambda: Mine(model.parameters(), lr=1).step(),
    lambda: list(DataLoader(Unreadable())), lambda: list(DataLoader(Unreadable(), num_workers=1)),
    lambda: torch.load("/nowhere"), lambda: model.load_state_dict({}), lambda: Bad(True),
    lambda: model.to("nowhere"), lambda: torch.autograd.backward([x]),
    lambda: torch.optim.Adam(model.parameters()).load_state_dict({"param_groups": []}),
]
for case in cases:
    try:
        case()
    except Exception as error:
        traceback.print_exc()
        logging.exception("logged")
        sys.excepthook(*sys.exc_info())

# A wrapper would be one level more on the way to whom a warning is about.
warnings.simplefilter("always")
(torch.randn(2, requires_grad=True) * 2).sum().backward(create_graph=True)
torch.optim.lr_scheduler.StepLR(torch.optim.SGD(model.parameters(), lr=1.0), 1).step()

thread = threading.Thread(target=model, args=(x,), name="other")
thread.start()
thread.join()
model(x)
"""


@pytest.mark.slow
def test_tracebacks_and_warnings_are_byte_for_byte_those_of_plain_python(
    write_script, run_python, run_timeline
):
    script = write_script(TRACEBACKS)
    plain, recorded = run_python(script), run_timeline(script)
    assert plain.code == recorded.code == 1
    # The launcher's own lines come after the program's.
    assert plain.stderr.count("Traceback") > 45
    assert recorded.stderr[: len(plain.stderr)] == plain.stderr


FAILING_TORCH = """
def inner():
    raise ImportError("libnothing.so: cannot open shared object file")
inner()
"""


@pytest.mark.parametrize("how", ["import torch", "__import__('torch')"])
def test_a_torch_that_fails_to_import_fails_in_the_same_way(
    write_script, run_python, run_timeline, how
):
    write_script(FAILING_TORCH, "torch/__init__.py")
    script = write_script(f"{how}\n")
    plain, recorded = run_python(script), run_timeline(script)
    assert plain.code == recorded.code == 1
    assert recorded.stderr[: len(plain.stderr)] == plain.stderr


def test_something_else_called_torch_is_imported_and_said_to_have_no_phases(
    write_script, run_timeline
):
    write_script("answer = 42\n", "torch.py")
    ended = run_timeline(write_script("import torch\nprint(torch.answer)\n"))
    assert (ended.code, ended.stdout.splitlines()[0]) == (0, "42")
    (events,) = ended.recording.glob("events.*.jsonl")
    assert "no phases for torch" in events.read_text()


FOUND = """
import importlib.util, sys, threading
before = list(sys.meta_path)
assert importlib.util.find_spec("torch") is not None
assert "torch" not in sys.modules
thread = threading.Thread(target=lambda: __import__("torchvision"))
thread.start()
thread.join()
import torch, torchvision
print(type(torch.__spec__).__name__, type(torch.__loader__).__name__, torch.__spec__.name)
print([f"{type(finder).__name__} {finder._name}" for finder in sys.meta_path
       if "timeline" in type(finder).__module__])
torch.nn.Linear(2, 2)(torch.ones(1, 2))
"""


@pytest.mark.slow
def test_torch_is_hooked_whoever_imports_it_and_its_spec_is_genuine(write_script, run_timeline):
    pytest.importorskip("torchvision")
    ended = run_timeline(write_script(FOUND))
    assert ended.code == 0, ended.stderr
    # One finder waits for Keras from here on.
    assert ended.stdout.splitlines()[:2] == [
        "ModuleSpec SourceFileLoader torch",
        "['ModuleWatcher keras']",
    ]
    (events,) = ended.recording.glob("events.*.jsonl")
    assert '"p":"step/forward"' in events.read_text()
