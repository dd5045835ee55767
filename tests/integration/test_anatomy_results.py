"""What a program holds beside its training, in what a peak is made of: results and copies."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from oracles import most_allocated  # noqa: E402
from running import run, weighing_in_full  # noqa: E402

import timeline  # noqa: E402
from timeline.units import format_bytes  # noqa: E402

pytestmark = pytest.mark.torch

TRAINING = """
import torch
from torch import nn
from torch.nn import functional as F

def training(drops=False, taught=False):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 2000))
    teacher = nn.Sequential(nn.Linear(64, 2000)) if taught else None
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    x, wanted, held = torch.randn(512, 64), torch.randint(2000, (512,)), {}
    def step():
        optimizer.zero_grad()
        if taught:
            with torch.no_grad():
                held["taught"] = teacher(x)
        held["scores"] = model(x)
        loss = F.cross_entropy(held["scores"], wanted)
        if taught:
            loss = loss + F.kl_div(held["scores"].log_softmax(1), held["taught"].softmax(1))
        if drops:
            del held["scores"]
        loss.backward()
        optimizer.step()
    return model, x, step, held
"""

RECORDED = """
from timeline.recorder.hooks import weighing
weighing.TICK_NS = 0  # every moment, however fast the machine is
import copy, sys
from training import training
taught = len(sys.argv) > 1
model, x, step, held = training(taught=taught)
averaged = copy.deepcopy(model) if taught else None
for _ in range(3):
    step()
"""

SCORES = 512 * 2000 * 4


def recorded(folder, *words):
    folder.joinpath("training.py").write_text(TRAINING)
    folder.joinpath("program.py").write_text(RECORDED)
    command = weighing_in_full("run", "program.py")
    ran = run([*command, *words], cwd=folder)
    assert ran.code == 0, ran.stderr
    return timeline.analyze(timeline.load(folder / "run")).anatomy, ran.stderr


def truth(training, **options):
    """The most that torch's allocator holds in the second step, as its backward runs."""
    model, x, step, held = training(**options)
    step()
    held.clear()  # it would be gone by then, and what was made unheard is not told when it goes
    for each in model.parameters():
        each.grad = None
    standing = sum(each.nbytes for each in [*model.parameters(), x])
    return standing + most_allocated(step)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    return folder, *recorded(folder)


def test_what_a_model_returned_and_a_variable_holds_is_a_temporary_of_every_phase(plain):
    _, anatomy, printed = plain
    for phase in anatomy.weighed.phases:
        # In forward that of the step before, and then of this one.
        assert phase.returned == SCORES, phase.path
        assert phase.categories["temporary"] >= SCORES, phase.path
    assert {each.path for each in anatomy.weighed.phases} == {
        "step/forward", "step/backward", "step/optimizer",
    }  # fmt: skip
    told = f"of temporaries {format_bytes(SCORES)} in step/forward"
    assert told in " ".join(printed.split())


def test_to_let_go_of_it_before_backward_saves_what_is_advised(plain):
    folder, anatomy, _ = plain
    training = runpy.run_path(str(folder / "training.py"))["training"]
    peak = truth(training)
    assert anatomy.advised.peak == pytest.approx(peak, rel=0.01)
    (told,) = [each for each in anatomy.advised.advice if each.kind == "returned"]
    assert told.saves == pytest.approx(peak - truth(training, drops=True), rel=0.02)


def test_what_a_teacher_returned_and_a_copy_that_is_never_called_are_weighed(tmp_path: Path):
    anatomy, _ = recorded(tmp_path, "taught")
    forward = next(each for each in anatomy.weighed.phases if each.path == "step/forward")
    # The teacher's of this step and the student's of the one before.
    assert forward.returned == 2 * SCORES
    trained, teacher = 64 * 128 + 128 + 128 * 2000 + 2000, 64 * 2000 + 2000
    assert forward.categories["parameter"] == 4 * (2 * trained + teacher)


CLOSURE = """
import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(100, 600), nn.Tanh(), nn.Linear(600, 600), nn.Linear(600, 1))
x, wanted = torch.randn(2000, 100), torch.randn(2000, 1)
optimizer = torch.optim.LBFGS(model.parameters(), max_iter=5, history_size=4)
def closure():
    optimizer.zero_grad()
    loss = F.mse_loss(model(x), wanted)
    loss.backward()
    return loss
for _ in range(3):
    optimizer.step(closure)
"""


def test_what_an_optimizer_made_before_its_closure_is_told_in_the_closures_phases(tmp_path: Path):
    (tmp_path / "program.py").write_text(CLOSURE)
    ran = run(
        weighing_in_full("run", "program.py"),
        cwd=tmp_path,
    )
    assert ran.code == 0, ran.stderr
    phases = timeline.analyze(timeline.load(tmp_path / "run")).anatomy.phases
    # By malloc's word as much is no tensor inside the closure as beside it; LBFGS had 6 copies of
    # 1.7 MiB of its own by then.
    beside = [each.in_heap for each in phases]
    assert len(beside) == 3
    assert max(beside) - min(beside) < 2 << 20


UNDER_FUNC = """
import torch
from torch import nn

model = nn.Linear(64, 8)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    x = torch.randn(32, 64)
    with torch.no_grad():
        torch.func.vmap(model)(x)
    model(x).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
"""


def test_a_model_that_is_called_under_vmap_first_is_weighed_all_the_same(tmp_path: Path):
    (tmp_path / "program.py").write_text(UNDER_FUNC)
    ran = run(
        weighing_in_full("run", "program.py"),
        cwd=tmp_path,
    )
    assert ran.code == 0, ran.stderr
    anatomy = timeline.analyze(timeline.load(tmp_path / "run")).anatomy
    assert anatomy is not None, ran.stderr
    backward = next(each for each in anatomy.weighed.phases if each.path == "step/backward")
    assert backward.categories["parameter"] == 4 * (64 * 8 + 8)
