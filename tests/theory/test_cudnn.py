"""cuDNN asked for its workspaces without a GPU: what it says, and what becomes of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from timeline.theory.cuda.cards import card
from timeline.theory.cudnn import asking
from timeline.theory.cudnn.settling import BY_RULE, NOBODY, settle
from timeline.theory.predicting import predict
from timeline.theory.script.tape_file import dump, load
from timeline.theory.tape import Amount, Convolution, Storage, Tape

MiB = 1 << 20

SQUARE = Convolution(
    "forward", (32, 64, 56, 56), (64, 64, 3, 3), (32, 64, 56, 56), (1, 1), (1, 1), (1, 1),
    "float32", False,
)  # fmt: skip
TWICE = replace(SQUARE, x=(64, 64, 56, 56), y=(64, 64, 56, 56))
IMPOSSIBLE = Convolution(
    "forward", (32, 64, 56, 56), (64, 63, 3, 3), (32, 64, 9, 9), (1, 1), (1, 1), (1, 1),
    "float32", False,
)  # fmt: skip


@pytest.fixture(scope="module")
def cudnn():
    """Its version, and what it says of `SQUARE` on three cards and of what cannot be."""
    found = {minor: asking.ask((8, minor), [IMPOSSIBLE, SQUARE, TWICE]) for minor in (0, 6, 9)}
    if not all(each and each.workspaces for each in found.values()):
        pytest.skip("there is no cuDNN here that answers for a device that is not there")
    return found


def tape_with(asks: Convolution) -> Tape:
    tape = Tape()
    tape.step()
    tape.phase("step/forward")
    tape.add(Storage(Amount.exactly(100 * MiB), "", "step/forward"))
    tape.assumptions.setdefault(BY_RULE)
    scratch = Storage(
        Amount(0, 0, 5 * MiB), "conv", "step/forward", reason="workspace", may_fail=True, asks=asks
    )
    tape.remove(tape.add(scratch))
    return tape


def test_a_copy_of_the_map_is_a_workspace_on_tensor_cores(cudnn):
    """The tensor cores want channels last: what comes is copied, with the filters."""
    sizes = cudnn[6].workspaces[SQUARE]
    map_, filters = 32 * 64 * 56 * 56 * 4, 64 * 64 * 3 * 3 * 4
    assert all(size >= 0 for size in sizes)
    assert any(map_ <= size <= map_ + filters + 64 * 1024 for size in sizes)
    assert asking.to_try(sizes)[-1] < MiB, "where there is no room, a kernel without one is left"


def test_the_answer_depends_on_the_kind_of_card_and_on_the_sizes(cudnn):
    assert len({each.workspaces[SQUARE] for each in cudnn.values()}) == 3
    assert max(cudnn[6].workspaces[TWICE]) > max(cudnn[6].workspaces[SQUARE])


def test_what_it_does_not_understand_has_no_answer_and_the_rest_has(cudnn):
    assert set(cudnn[6].workspaces) == {SQUARE, TWICE}
    assert asking.ask((1, 0), [SQUARE]).workspaces == {}


@pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace")
def test_the_process_that_is_asked_opens_no_device(cudnn, tmp_path):
    seen = tmp_path / "opened.txt"
    question = json.dumps([asking.described((8, 9)), [SQUARE.as_value()]])
    command = [sys.executable, "-I", str(asking.PROGRAM), str(asking.library())]
    strace = ["strace", "-f", "-e", "trace=openat", "-o", str(seen)]
    subprocess.run([*strace, *command], input=question, text=True, capture_output=True, check=True)
    opened = seen.read_text()
    assert "libcudnn" in opened
    assert "/dev/nvidia" not in opened


def test_its_answers_become_the_amounts_of_a_tape(cudnn):
    tape = tape_with(SQUARE)
    settle(tape, (8, 6))
    (_, scratch) = tape.storages
    sizes = cudnn[6].workspaces[SQUARE]
    assert scratch.asks is None
    assert scratch.amount.expected == sizes[0]
    assert scratch.amount.high >= max(sizes[0], 5 * MiB)
    assert list(scratch.instead) == sorted(scratch.instead, reverse=True)
    (said,) = tape.assumptions
    assert said.startswith(f"cuDNN {cudnn[6].version} says")


@pytest.mark.parametrize("path", ["", "/nonexistent/libcudnn.so.9", "libc.so.6"])
def test_without_cudnn_the_amounts_stay_and_that_is_said(monkeypatch, path):
    monkeypatch.setenv(asking.VARIABLE, path)
    tape = tape_with(SQUARE)
    settle(tape, (8, 6))
    assert tape.storages[1].amount == Amount(0, 0, 5 * MiB)
    assert tape.storages[1].asks is None
    assert list(tape.assumptions) == [BY_RULE, NOBODY]


def test_one_that_does_not_answer_in_time_is_as_none(cudnn, monkeypatch):
    monkeypatch.setattr(asking, "LIMIT_S", 0.01)
    assert asking.ask((8, 6), [SQUARE]) is None


def test_where_there_is_no_room_the_next_kernel_is_tried():
    def made(instead: tuple[int, ...], room: int) -> int:
        tape = tape_with(SQUARE)
        scratch = tape.storages[1]
        scratch.asks, scratch.amount, scratch.instead = None, Amount.exactly(90 * MiB), instead
        made = predict(tape, title="", card=card("rtx3060"), capacity=room, steps=1)
        assert made.fits
        return made.peak_allocated // MiB

    assert made((60 * MiB, 0), 200 * MiB) == 190
    assert made((60 * MiB, 0), 170 * MiB) == 160
    assert made((60 * MiB, 0), 120 * MiB) == 100
    assert made((), 120 * MiB) == 100


def test_what_is_asked_survives_a_tape_s_way_through_json():
    assert load(dump(tape_with(SQUARE))).storages == tape_with(SQUARE).storages
