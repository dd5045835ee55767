"""torch.compile, torch.export and probes: the same phases, and not one graph more."""

from __future__ import annotations

import pytest

from tests.integration.torch_recording import Recorded

torch = pytest.importorskip("torch")
nn = torch.nn

pytestmark = pytest.mark.torch

EACH = ["step/forward Net", "step/backward"]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))

    def forward(self, x):
        for part in self.parts:
            x = torch.relu(part(x))
        return x


class Breaking(Net):
    def forward(self, x):
        x = self.parts[0](x)
        torch._dynamo.graph_break()
        return self.parts[1](x)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture(params=["eager", "aot_eager"])
def options(request):
    return {"backend": request.param, "fullgraph": True}


def train(model, times=2):
    for _ in range(times):
        model(torch.randn(2, 8)).sum().backward()


def test_a_compiled_model_is_called_by_its_own_name(options):
    with Recorded() as recorded:
        model = torch.compile(Net(), **options)
        assert recorded.new() == ["load Net"]
        train(model)
        assert recorded.new() == EACH * 2
        with torch.no_grad():
            model(torch.randn(2, 8))
        assert recorded.new() == ["inference Net"]


def test_a_model_compiled_before_recording_and_used_after_it(options):
    model = torch.compile(Net(), **options)
    train(model)
    for _ in range(2):
        with Recorded() as recorded:
            train(model)
            assert recorded.new() == EACH * 2
        train(model)


def test_a_model_that_compiles_itself(options):
    with Recorded() as recorded:
        model = Net()
        model.compile(**options)
        train(model)
        model = Net()
        model.forward = torch.compile(model.forward, **options)
        train(model)
        assert recorded.new() == ["load Net", *EACH * 2] * 2


def test_a_compiled_function_is_no_model_but_its_backward_is_one(options):
    with Recorded() as recorded:
        net = Net()
        recorded.new()
        train(torch.compile(net.forward, **options))
        train(torch.compile(lambda x: net(x) * 2, **options))
        assert recorded.new() == ["step/backward"] * 4


def test_a_module_with_a_hook_is_compiled_whole(options):
    with Recorded() as recorded:
        net = Net()
        net.parts[0].register_forward_hook(lambda module, args, output: output * 2)
        train(torch.compile(net, **options))
        assert recorded.new() == ["load Net", *EACH * 2]


def test_exporting_is_no_call():
    x = torch.randn(2, 8)
    with Recorded() as recorded:
        net = Net()
        programs = [torch.export.export(net, (x,), strict=strict) for strict in (False, True)]
        assert recorded.new() == ["load Net"]
        for program in programs:
            torch.testing.assert_close(program.module()(x), net(x))
        assert recorded.new() == ["step/forward GraphModule", "step/forward Net"] * 2


def test_a_model_that_breaks_in_two_is_one_forward():
    with Recorded() as recorded:
        train(torch.compile(Breaking(), backend="eager"))
        assert recorded.new() == [
            "load Breaking",
            *["step/forward Breaking", "step/backward"] * 2,
        ]


SCRIPT = """
import sys
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
    def forward(self, x):
        x = self.a(x)
        torch._dynamo.graph_break()
        return self.b(x)

x = torch.randn(2, 4)
net = Net()
optimizer = torch.optim.AdamW(net.parameters())

@torch.compile(backend="eager")
def whole(x):
    optimizer.zero_grad()
    net(x).sum().backward()
    optimizer.step()

@torch.compile(backend="eager")
def gradient(x):
    y = net.a(x.requires_grad_())
    return torch.autograd.grad(y.sum(), x)[0]

hooked = Net()
hooked.a.register_forward_hook(lambda *args: None)
models = [torch.compile(Net(), backend="eager"), torch.compile(hooked, backend="aot_eager")]
for _ in range(2):
    for model in models:
        model(x).sum().backward()
    torch.compile(optimizer.step, backend="eager")()
    whole(x)
    gradient(torch.randn(2, 4))
for name, counted in sorted(torch._dynamo.utils.counters.items()):
    print(name, sorted(counted.items()))
"""


@pytest.mark.slow
def test_the_compiler_counts_the_same_graphs_breaks_and_resumptions(
    write_script, run_python, run_timeline
):
    """Nothing of ours is compiled, even where a model breaks and runs under the compiler's eye."""
    script = write_script(SCRIPT)
    plain, recorded = run_python(script), run_timeline(script)
    assert (plain.code, recorded.code) == (0, 0), recorded.stderr
    assert "unique_graphs" in plain.stdout
    assert recorded.stdout.splitlines()[: len(plain.stdout.splitlines())] == (
        plain.stdout.splitlines()
    )
