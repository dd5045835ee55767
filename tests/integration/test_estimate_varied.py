"""A script estimated several times: the largest batch that fits, and choices side by side."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from timeline.cli.main import main  # noqa: E402

pytestmark = pytest.mark.torch

MiB = 1 << 20

SCRIPT = """
import argparse
import torch

parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, default=2)
parser.add_argument("--width", type=int, default=1)
parser.add_argument("--seed", type=int, default=0)
words = parser.parse_args()
model = torch.nn.Linear(words.width, 64 << 20, bias=False).cuda()
optimizer = torch.optim.SGD(model.parameters())
for _ in range(100):
    x = torch.ones(words.batch_size, words.width, device="cuda")
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
"""


@pytest.fixture
def script(write_script, tmp_path, monkeypatch):
    """A script in the working directory; each row of its batch makes tensors of 256 MiB."""
    write_script(SCRIPT, "varied.py")
    monkeypatch.chdir(tmp_path)
    return "varied.py"


def test_the_largest_batch_of_a_script_fits_and_the_next_does_not(script, capsys):
    words = ["--fit", "6GiB", script, "--batch-size={batch}"]
    assert main(["estimate", "--json", *words]) == 0
    found = json.loads(capsys.readouterr().out)["fit"]
    assert found["next"]["batch"] == found["batch"] + 1
    assert "out of device memory" in found["next"]["reason"]
    assert found["process_total"]["expected"] <= found["card"]["visible"]
    # Beside the weights, their gradient and at most half a GiB of context, a batch has two to five
    # tensors of its own at the peak.
    room = found["card"]["visible"] - 2 * 256 * MiB
    assert (room - 512 * MiB) // (5 * 256 * MiB) <= found["batch"] <= room // (2 * 256 * MiB)
    assert found["cut_off"] == ""


def test_words_of_a_script_in_braces_are_compared(script, capsys):
    words = ["--compare", "width=1,2", script, "--width", "{width}"]
    assert main(["estimate", "--json", *words]) == 0
    rows = json.loads(capsys.readouterr().out)["comparison"]
    assert [row["width"] for row in rows] == ["1", "2"]
    # One more column of weights; by the time of the peak there may be its gradient, too.
    grown = rows[1]["peak_allocated"] - rows[0]["peak_allocated"]
    assert 256 * MiB <= grown <= 2 * 256 * MiB


NORMS = """
from torch import nn

def make(batch=8):
    return {"model": nn.Sequential(nn.Conv2d(3, 64, 3), nn.AdaptiveAvgPool2d(1),
                                   nn.BatchNorm2d(64)),
            "optimizer": "sgd", "inputs": (3, 512, 512)}
"""


def test_a_batch_too_small_to_run_is_not_taken_for_one_that_fails(
    write_script, tmp_path, monkeypatch, capsys
):
    write_script(NORMS, "norms_of_one_pixel.py")
    monkeypatch.syspath_prepend(tmp_path)
    words = ["estimate", "norms_of_one_pixel:make", "--fit"]
    assert main([*words, "780MiB", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["fit"]
    assert 2 <= found["batch"] == found["next"]["batch"] - 1
    assert found["refused"] == ""
    assert main([*words, "560MiB", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["fit"]
    assert (found["batch"], found["next"]["batch"]) == (0, 2)
    assert "more than 1 value per channel" in found["refused"]
    assert main([*words, "560MiB"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "not even a batch of 2 fits 560.0 MiB" in told
    assert "A batch of 1 cannot run: step/forward of Sequential" in told
    assert main([*words[:2], "--compare", "batch=1,2"]) == 1
    assert "with batch=1: step/forward of Sequential" in capsys.readouterr().err


def test_the_batch_of_a_script_is_compared_by_its_own_name(script, capsys):
    words = ["--compare", "batch-size=1,3", script, "--batch-size", "{batch-size}"]
    assert main(["estimate", "--json", *words]) == 0
    rows = json.loads(capsys.readouterr().out)["comparison"]
    assert [row["batch-size"] for row in rows] == ["1", "3"]
    grown = rows[1]["peak_allocated"] - rows[0]["peak_allocated"]
    assert 2 * 2 * 256 * MiB <= grown <= 2 * 5 * 256 * MiB
    assert main(["estimate", "--compare", "batch-size=1,3", script]) in (1, 2)
    assert "write {batch-size} where its words have it" in capsys.readouterr().err


def test_a_batch_that_changes_nothing_is_said(script, capsys):
    assert main(["estimate", "--fit", "t4", script, "--seed", "{batch}"]) == 2
    assert "needs the same with {batch} as 8 and as 16" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--fit", "t4", "varied.py"], "write {batch} where its words have it"),
        (["--fit", "t4", "-m", "varied"], "the batch of -m varied: write {batch}"),
        (["--compare", "lr=1,2", "varied.py", "--batch-size", "2"], "write {lr} where its words"),
        (["--compare", "lr=1", "varied.py", "{lr}"], "give at least two"),
        (["--compare", "no name=1,2", "varied.py"], "compare one of"),
        (["--fit", "t4", "nothing.py", "{batch}"], "there is no script nothing.py"),
        (["--compare", "batch=1,2", "nothing.py", "{batch}"], "there is no script nothing.py"),
    ],
)
def test_what_cannot_be_varied_is_one_sentence(words, sentence, script, capsys):
    assert main(["estimate", *words]) in (1, 2)
    assert sentence in capsys.readouterr().err
