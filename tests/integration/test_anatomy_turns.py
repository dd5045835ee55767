"""Several models and optimizers that take turns, and micro-steps, in a weighed step."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from running import run

from timeline.analysis.anatomy import Anatomized, take_apart
from timeline.analysis.expected import expected, is_unwalked
from timeline.analysis.formulas import Turn
from timeline.analysis.types import HOST, Instances, PhasePeak, PhaseSummary
from timeline.recording.anatomy import Anatomy
from timeline.recording.anatomy_file import read_anatomy

pytestmark = pytest.mark.torch

TURNS = """
import json, os
import torch
from torch import nn
from timeline.recorder import hooks, session as sessions
from timeline.recording.weighed.file import settle

torch.manual_seed(0)
loss_of = nn.BCEWithLogitsLoss()
ones, zeros = torch.ones(64, 1), torch.zeros(64, 1)

def two():
    G = nn.Sequential(nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 256), nn.Tanh())
    D = nn.Sequential(nn.Linear(256, 128), nn.LeakyReLU(0.2), nn.Linear(128, 1))
    return G, D, torch.optim.Adam(G.parameters()), torch.optim.Adam(D.parameters(), foreach=True)

def gan():
    G, D, of_g, of_d = two()
    for _ in range(4):
        real, z = torch.randn(64, 256), torch.randn(64, 16)
        fake = G(z)
        of_d.zero_grad()
        (loss_of(D(real), ones) + loss_of(D(fake.detach()), zeros)).backward()
        of_d.step()
        of_g.zero_grad()
        loss_of(D(fake), ones).backward()
        of_g.step()

def made_twice():
    G, D, of_g, of_d = two()
    for _ in range(4):
        z = torch.randn(64, 16)
        of_d.zero_grad()
        loss_of(D(G(z).detach()), zeros).backward()
        of_d.step()
        of_g.zero_grad()
        loss_of(D(G(z)), ones).backward()
        of_g.step()

def micro():
    model = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 128), nn.GELU(),
                          nn.Linear(128, 10))
    optimizer = torch.optim.AdamW(model.parameters())
    loss_of = nn.CrossEntropyLoss()
    for _ in range(3):
        optimizer.zero_grad()
        for _ in range(4):
            x, y = torch.randn(256, 64), torch.randint(0, 10, (256,))
            loss_of(model(x), y).backward()
        optimizer.step()

def carried():
    cell = nn.Linear(32, 32)
    optimizer = torch.optim.SGD(cell.parameters(), 0.0)
    held = torch.zeros(8, 32)
    for _ in range(3):
        held = (held + cell(torch.randn(8, 32))).tanh()
        held.sum().backward(retain_graph=True)
        optimizer.step()

def critic():
    G, D, of_g, of_d = two()
    for _ in range(3):
        for _ in range(5):
            with torch.no_grad():
                fake = G(torch.randn(64, 16))
            of_d.zero_grad()
            (D(fake).mean() - D(torch.randn(64, 256)).mean()).backward()
            of_d.step()
        of_g.zero_grad()
        (-D(G(torch.randn(64, 16))).mean()).backward()
        of_g.step()

def in_stages():
    G, D, of_g, of_d = two()
    for model, optimizer, side in ((D, of_d, 256), (G, of_g, 16)):
        for _ in range(4):
            optimizer.zero_grad()
            model(torch.randn(64, side)).mean().backward()
            optimizer.step()

for train in (gan, made_twice, micro, carried, critic, in_stages):
    name = train.__name__
    os.mkdir(name)
    session = sessions.Session(name, exact=True)
    sessions.activate(session)
    hooks.install(anatomy=2)
    train()
    hooks.uninstall()
    sessions.deactivate()
    session.close()
    settle(name)
"""

FAKE = 64 * 256 * 4
HIDDEN = 64 * 128 * 4


@pytest.fixture(scope="module")
def weighed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("turns")
    done = run([sys.executable, "-c", TURNS], cwd=folder)
    assert done.code == 0, done.stderr
    return folder


def read(folder: Path, name: str) -> Anatomy:
    damage: list[str] = []
    found = read_anatomy(folder / name, damage)
    assert found is not None
    assert damage == []
    return found


def paths(step: Anatomy) -> list[str]:
    """Of the phases, each once."""
    document: dict[int, str] = {}
    for each in step.phases:
        document.setdefault(each.begin.t_ns, each.path.removeprefix("step/"))
    return list(document.values())


def test_a_gans_step_has_both_turns_and_the_generators_forward_with_its_backward(weighed):
    step = read(weighed, "gan")
    assert paths(step) == [
        *("forward", "forward", "loss", "forward", "loss", "backward", "optimizer"),
        *("forward", "loss", "backward", "optimizer"),
    ]
    assert step.older == ()
    assert all(call.turns for call in step.calls)
    saved = {each.name: each.activation for each in step.layers}
    generator = "Sequential#2" if saved["Sequential.1"] != HIDDEN else "Sequential"
    # What relu returns; and tanh, which is what the other model is given.
    assert saved[f"{generator}.1"] == HIDDEN
    assert saved[f"{generator}.3"] == FAKE
    # Real pictures, noise, and the targets of the losses: what the generator made is none of these.
    assert step.categories["input"] == FAKE + 64 * 16 * 4 + 2 * 64 * 4


def test_formulas_and_graph_agree_in_each_turn_of_a_gan(weighed):
    step = read(weighed, "gan")
    both = sum(each.parameter for each in step.layers)
    for phase in step.phases:
        said = expected(step, phase)
        held = phase.categories
        for name in ("parameter", "optimizer_state"):
            assert said[name] == held[name]
        if phase.path.endswith("optimizer"):
            assert said["gradient"] == held["gradient"] == both
        else:
            assert said["input"] == held["input"]
    # The generator's call waits for the second backward, and is in the sums of both turns.
    first, second = (Turn(step, turn) for turn in (0, 1))
    own = sum(second.by_layer().values())
    assert own >= FAKE + 2 * HIDDEN
    last = len(step.calls) - 1
    assert first.backward(-1, {}).activation == FAKE + HIDDEN
    assert second.backward(-1, {}).activation == 0
    assert second.forward(last).activation == own


def anatomized(step: Anatomy) -> Anatomized:
    """As if the weighed step were the run."""
    names = tuple(dict.fromkeys(each.path for each in step.phases))
    one, no = np.zeros(len(names), np.int64), np.zeros(len(names), bool)
    columns = (one, one + 1, no, one - 1, one, one, one, one, one, ~no)
    instances = Instances(np.arange(len(names)), *columns, {}, names)
    highest = {n: max(each.high for each in step.phases if each.path == n) for n in names}
    phases = [
        PhaseSummary(n, 1, 0, 1, 1.0, 0, {HOST: PhasePeak(highest[n], 0, 0, True, 0)})
        for n in names
    ]
    found = take_apart(step, phases, instances, 0)
    assert found is not None
    return found


def test_what_no_backward_goes_through_has_no_figure_but_a_sentence(weighed):
    step = read(weighed, "made_twice")
    without = [each for each in step.phases if is_unwalked(step, each)]
    assert {each.turn for each in without} == {0}
    assert {each.path for each in without} == {"step/forward"}
    assert all("activation" not in expected(step, each) for each in without)
    alone = anatomized(replace(step, phases=(without[0],)))
    (composition,) = alone.phases
    assert composition["activation"].measured is None
    assert composition["activation"].estimated is None
    assert any(note.startswith("no backward of the step goes through") for note in alone.notes)
    # What came after it is known.
    after = next(each for each in step.phases if each.turn == 0 and each.path == "step/backward")
    assert "activation" in expected(step, after)
    assert not is_unwalked(step, after)


def test_five_turns_of_a_critic_and_one_of_the_generator_are_one_step(weighed):
    step = read(weighed, "critic")
    assert paths(step) == [
        *["forward", "forward", "backward", "optimizer"] * 5,
        *["forward", "forward", "backward", "optimizer"],
    ]
    both = sum(each.parameter for each in step.layers)
    for phase in step.phases:
        said = expected(step, phase)
        assert said["parameter"] == phase.categories["parameter"] == both
        assert said["optimizer_state"] == phase.categories["optimizer_state"]
    # Both models' states stand in all of it: two copies, and a count for each parameter.
    assert step.phases[0].categories["optimizer_state"] == 2 * both + 4 * len(step.sizes)
    assert [each.optimizer for each in step.trained] == ["Adam", "Adam"]


def test_an_optimizer_of_a_later_stage_takes_no_turns(weighed):
    step = read(weighed, "in_stages")
    assert paths(step) == ["forward", "backward", "optimizer"]
    # The first stage's, whose step was weighed before there was another optimizer.
    assert {each.gradient // 4 for each in step.layers if each.gradient} == {256 * 128 + 128, 129}
    assert len(step.trained) == 1


def test_gradients_of_earlier_micro_steps_stand_and_their_inputs_do_not(weighed):
    step = read(weighed, "micro")
    assert paths(step) == ["forward", "loss", "backward"] * 4 + ["optimizer"]
    whole = sum(each.parameter for each in step.layers)
    for phase in step.phases:
        said = expected(step, phase)
        if phase.turn:
            assert said["gradient"] == phase.categories["gradient"] == whole, phase.path
        if not phase.path.endswith("optimizer"):
            assert said["input"] == phase.categories["input"]
            # The images and targets, which the names still have until the next are there, and in
            # the loss what the model returned.
            assert said["input"] <= 256 * 64 * 4 + 2 * 256 * 8 + 256 * 10 * 4


def test_what_was_saved_before_the_step_is_an_activation_all_the_same(weighed):
    step = read(weighed, "carried")
    assert step.older == (0,)
    saved = {each.name: each.activation for each in step.layers}
    assert saved["(before the step)"] >= 8 * 32 * 4
    found = anatomized(step)
    assert any("computed before it" in note for note in found.notes)
    for composition in found.phases:
        if composition.path != "step/optimizer":
            assert composition["activation"].estimated is None
    held = json.loads((weighed / "carried" / "breakdown.json").read_text())
    assert held["given"]["older"] == [0]
