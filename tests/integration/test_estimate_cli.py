"""The verb estimate on a model: its words, its files, the largest batch, choices side by side."""

from __future__ import annotations

import json
import pickle  # noqa: TID251 - a CUDA snapshot is one
import sys

import pytest

torch = pytest.importorskip("torch")

from timeline.cli.estimate import split  # noqa: E402
from timeline.cli.main import main  # noqa: E402

pytestmark = pytest.mark.torch

MiB = 1 << 20

MODEL = """
import torch

def make():
    block = lambda: torch.nn.Sequential(
        torch.nn.Linear(256, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 256)
    )
    return torch.nn.Sequential(torch.nn.Sequential(block(), block(), block()))
"""


@pytest.fixture
def target(write_script, tmp_path, monkeypatch):
    """The words that name a model of a module in the working directory."""
    write_script(MODEL, "model_to_estimate.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "model_to_estimate", raising=False)
    return ["model_to_estimate:make", "--input", "256", "--optimizer", "adamw"]


def test_every_view_of_an_estimate_and_its_document_opens_again(target, tmp_path, capsys):
    names = ["a.json", "a.png", "a.html", "a.txt"]
    outputs = [word for name in names for word in ("-o", name)]
    assert main(["estimate", *target, "--batch", "64", "--gpu", "t4", *outputs]) == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "a.html").read_text()
    assert "model_to_estimate:make" in page
    assert "<script src=" not in page
    capsys.readouterr()
    assert main(["report", "a.json"]) == 0
    again = capsys.readouterr().out
    assert "on Tesla T4, predicted" in again
    assert (tmp_path / "a.txt").read_text().splitlines()[1] == again.splitlines()[1]
    assert main(["report", "a.json", "--json"]) == 0
    document = json.loads((tmp_path / "a.json").read_text())
    reopened = json.loads(capsys.readouterr().out)
    assert reopened["estimate"] == document["estimate"]
    assert document["breakdown"]["parameters"] == 3 * (2 * 256 * 1024 + 1024 + 256)
    assert document["estimate"]["card"]["fits"] == "yes"
    assert main(["report", "a.json", "-o", "b.png", "-o", "b.html"]) == 0


def test_the_largest_batch_fits_and_the_next_does_not(target, capsys):
    assert main(["estimate", *target, "--fit", "512MiB", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["fit"]
    room = found["card"]["visible"]
    assert found["next"]["batch"] == found["batch"] + 1
    assert "out of device memory" in found["next"]["reason"]
    assert found["process_total"]["expected"] <= room
    assert found["estimates"] <= 20


def test_choices_stand_side_by_side(target, capsys):
    words = ["--batch", "16384", "--compare", "optimizer=sgd,adamw", "--compare", "checkpointing"]
    assert main(["estimate", *target, *words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["comparison"]
    assert [(row["optimizer"], row["checkpointing"]) for row in rows] == [
        ("sgd", "no"), ("sgd", "yes"), ("adamw", "no"), ("adamw", "yes"),
    ]  # fmt: skip
    peaks = [row["peak_allocated"] for row in rows]
    assert peaks[1] < peaks[0] < peaks[2]
    assert main(["estimate", *target, *words]) == 0
    assert "checkpointing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "there is nothing to estimate"),
        (["torchvision:resnet18", "--gpu", "rtx9090"], "there is no card 'rtx9090'"),
        (["torchvision:resnet18", "--gpu", "24"], "a GPU's memory lies between"),
        (["nothing.py"], "there is no script nothing.py"),
        (["--batch", "4", "nothing.py"], "--batch is for a model"),
        (["--fit", "24GiB", "nothing.py"], "there is no script nothing.py"),
        (["torchvision:resnet18", "--fit", "24GiB"], "give the sizes of one input"),
        (["torchvision:resnet18", "--compare", "colour=a,b"], "compare one of"),
        (["torchvision:resnet18", "--compare", "precision=fp32,fp8"], "not 'fp8'"),
        (["torchvision:resnet18", "--input", "3x64x64", "-o", "a.pdf"], "no suffix"),
        (["torchvision:resnet18", "--steps", "0"], "--steps 0 cannot be"),
        (["torchvision:resnet18", "--batch", "0"], "--batch 0 cannot be"),
        (["torchvision:resnet18", "--compare", "batch=8,0"], "not '0'"),
        (["torchvision:resnet18", "--compare", "batch=8,many"], "not 'many'"),
        (["--limit", "0", "nothing.py"], "--limit 0 cannot be"),
        (["--limit", "nan", "nothing.py"], "--limit nan cannot be"),
        (["--loss", "cross_entropy", "nothing.py"], "--loss is for a model"),
        (["--zero-grad", "never", "nothing.py"], "--zero-grad is for a model"),
        (["torchvision:resnet18", "--limit", "5"], "--limit is for a script: torchvision:resnet18"),
        (["torchvision:resnet18", "--fit", "t4", "-o", "a.png"], "leave --output out"),
        (["torchvision:resnet18", "--fit", "t4", "--gpu", "l4"], "leave --gpu out"),
        (["torchvision:resnet18", "--fit", "t4", "--compare", "batch=1,2"], "leave --fit out"),
        (["torchvision:resnet18", "--over", "x.pickle"], "--over is for a picture or a page"),
        (["torchvision:resnet18", "--fit", ""], "there is no card ''"),
        (["torchvision:resnet18", "--fit", "0GiB"], "a GPU's memory lies between"),
        (["torchvision:resnet18", "--fit=-5GiB"], "there is no card '-5GiB'"),
        (["torchvision:resnet18", "--gpu", "nan"], "there is no card 'nan'"),
        (["torchvision:resnet18", "--gpu", ""], "there is no card ''"),
        (["torchvision:resnet18", "--gpu", "1e300GiB"], "there is no card '1e300GiB'"),
        (["torchvision:resnet18", "--gpu", "9" * 400], "is not a size"),
        (["torchvision:resnet18", "--compare", "gpu=t4,rtx1"], "there is no card 'rtx1'"),
        (["torchvision:resnet18", "--compare", "batch=8"], "give at least two"),
        (["torchvision:resnet18", "--compare", "batch"], "give at least two"),
        (["torchvision:resnet18", "--compare", "="], "compare one of"),
        (["-m"], "-m names no module"),
        (["torchvision:resnet18", "--input", "3x64x64", "--fit", "300MiB"],
         "CUDA's context alone, about"),
        (["torchvision:resnet18", "--input", "3x64x64", "--optimizer", "adam,lr=x"],
         "option lr takes a number, and not 'x'"),
        (["torchvision:resnet18", "--input", "3x64x64", "--optimizer", "sgd,nesterov=maybe"],
         "option nesterov takes true or false, and not 'maybe'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_a_sentence(words, sentence, capsys):
    assert main(["estimate", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_all_that_stands_behind_a_script_is_the_scripts():
    assert split(["--gpu", "t4", "train.py", "--gpu", "1"]) == (
        ["--gpu", "t4"], ["train.py", "--gpu", "1"],
    )  # fmt: skip
    assert split(["-m", "pkg.train", "-o", "x"]) == ([], ["-m", "pkg.train", "-o", "x"])
    assert split(["torchvision:vgg11", "--batch", "4"]) == (
        ["torchvision:vgg11", "--batch", "4"], [],
    )  # fmt: skip


def test_the_known_cards_are_listed(capsys):
    assert main(["estimate", "--gpu"]) == 0
    assert "a100-40gb" in capsys.readouterr().out


def test_a_snapshot_is_laid_over_an_estimate(target, tmp_path, capsys):
    block = {"size": 2 * MiB, "state": "inactive"}
    segment = {"device": 0, "address": 1 << 30, "total_size": 2 * MiB, "allocated_size": 0,
               "stream": 0, "blocks": [block]}  # fmt: skip
    at = {"stream": 0, "addr": 1 << 30}
    trace = [
        {"action": "segment_alloc", "size": 2 * MiB, **at},
        {"action": "alloc", "size": MiB, **at},
        {"action": "free_completed", "size": MiB, **at},
    ]
    snapshot = {"segments": [segment], "device_traces": [trace]}
    (tmp_path / "s.pickle").write_bytes(pickle.dumps(snapshot))
    words = ["--batch", "8", "--over", "s.pickle", "-o", "over.png", "-o", "over.html"]
    assert main(["estimate", *target, *words]) == 0
    assert "measured allocated" in (tmp_path / "over.html").read_text()
    capsys.readouterr()
    assert main(["estimate", *target, "--over", "nowhere", "-o", "x.png"]) == 1
    assert "nowhere" in capsys.readouterr().err
