"""The verb `breakdown` as a person types it, and what it prints."""

from __future__ import annotations

import json
import os
import sys

import pytest

from timeline.cli.main import main
from timeline.theory.types import CATEGORIES, Breakdown, Layer, Peak
from timeline.views import breakdown_json, breakdown_text

FACTORIES = """
from torch import nn

def small():
    return nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5))

def fails():
    raise RuntimeError("no weights here")

def leaves():
    raise SystemExit(7)

class Asks(nn.Linear):
    def forward(self, x):
        y = super().forward(x)
        return y if y.sum() > 0 else -y

def asks():
    return Asks(10, 10)

number = 3
"""


@pytest.fixture
def factories(tmp_path, monkeypatch):
    """A module beside the user, as `python -m timeline` finds it."""
    (tmp_path / "my_models.py").write_text(FACTORIES)
    (tmp_path / "my_script.py").write_text("import sys\nsys.exit('no data')")
    (tmp_path / "my_broken.py").write_text("import nowhere_to_be_found")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    yield "my_models"
    sys.modules.pop("my_models", None)


def made(layers):
    categories = dict.fromkeys(CATEGORIES, 0) | {"parameter": 4096, "activation": 3 * 1024**2}
    return Breakdown(
        title="model\x1b[31m",
        categories=categories,
        layers=tuple(
            Layer(f"blocks.{i}.attention.projection", "Linear", 1000, 4000, 0, 4000, i * 1024,
                  (2, 3), "float32", 24, 1)
            for i in range(layers)
        ),
        parameters=1000,
        outputs_bytes=24,
        peak=Peak(5 * 1024**2, "backward", categories),
        phases=(
            Peak(4 * 1024**2, "forward", categories),
            Peak(5 * 1024**2, "backward", categories),
            Peak(3 * 1024**2, "optimizer", categories),
        ),
        not_counted=("memory of no rule",),
        assumptions=("a loss",),
    )  # fmt: skip


@pytest.mark.torch
def test_the_table_and_the_document_of_a_factory(factories, capsys):
    pytest.importorskip("torch")
    words = ["breakdown", f"{factories}:small", "--input", "10", "--batch", "4"]
    words += ["--optimizer", "adam,foreach=false"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert text.startswith("my_models:small: 325 parameters\n")
    assert "Peak of tensors" in text
    assert "f32[4,20]" in text
    assert "Not counted: memory inside operators" in text
    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    told = document["breakdown"]
    assert document["timeline"] == 1
    assert tuple(told["categories"]) == CATEGORIES
    assert told["categories"]["parameter"] == 325 * 4
    assert told["parameters"] == 325
    assert told["outputs_bytes"] == (4 * 20 + 4 * 20 + 4 * 5) * 4
    assert told["layers"][0] == {
        "name": "0",
        "kind": "Linear",
        "parameters": 220,
        "parameter": 880,
        "buffer": 0,
        "gradient": 880,
        "activation": 0,
        "output_shape": [4, 20],
        "output_dtype": "float32",
        "output_bytes": 320,
        "calls": 1,
    }
    assert told["peak"]["bytes"] == sum(told["peak"]["categories"].values())


@pytest.mark.torch
@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["resnet18"], 2, "'resnet18' names no model: write torchvision:NAME"),
        (["my_models:smal"], 2, "no model 'smal'; near it: small"),
        (["my_models:number"], 2, "my_models:number is a int"),
        (
            ["my_models:fails"],
            1,
            "fails does not make a model without memory: my_models.py:8: "
            "RuntimeError: no weights here; if it needs weights with values, give a model",
        ),
        (["my_models:leaves"], 1, "my_models.py:11: it ends the program, by SystemExit(7)"),
        (["my_script:make"], 1, "my_script.py:2: it ends the program, by SystemExit('no data')"),
        (["my_models:asks", "--input", "10"], 1, "my_models.py:16 asks a tensor for its value"),
        (["my_models:small", "--input", "10:int64"], 1, "addmm takes no float32 and int64"),
        (["my_models:small", "--input", "10:float64"], 1, "float32 and float64 together"),
        (["my_broken:small"], 1, "my_broken cannot be imported"),
        (["my_absent:small"], 2, "there is no module my_absent"),
        (["my_models:small", "--batch", "2"], 2, "give inputs, too"),
        (["my_models:small", "--input", "11"], 1, "forward of Sequential cannot be followed"),
        (["my_models:small", "--input", "ten"], 2, "'ten' is no input"),
        (["my_models:small", "--optimizer", "adm"], 2, "no optimizer 'adm'"),
        (["my_models:small", "--optimizer", "sgd,momentum"], 2, "'momentum' is no option"),
        (["my_models:small", "--layers", "-1"], 2, "--layers -1 cannot be"),
        (["my_models:small", "--input", "10", "--batch", "0"], 2, "--batch 0 cannot be"),
        (
            ["my_models:small", "--input", "10", "--batch", "99999999999999999999"],
            2,
            "an input of 99999999999999999999x10 has more bytes than can be addressed",
        ),
        (["my_models:small", "--input", "10", "--dtype", "int8"], 2, "no model is cast to int8"),
        (["my_models:smal"], 2, "has no model 'smal'; near it: small"),
        (["my_models:torc"], 2, "the module my_models has no model 'torc'\n"),  # torch is none
        (["torchvision:resnet19"], 2, "torchvision has no model 'resnet19'; near it: resnet18"),
    ],
)
def test_what_cannot_be_is_one_sentence(factories, capsys, words, code, sentence):
    pytest.importorskip("torchvision")
    assert main(["breakdown", *words]) == code
    ended = capsys.readouterr()
    assert ended.out == ""
    assert ended.err.startswith("timeline: ")
    assert ended.err.count("\n") == 1
    assert sentence in ended.err


def test_without_torch_the_sentence_says_what_to_install(run_python, tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('none here')")
    places = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    ended = run_python(
        "-m", "timeline", "breakdown", "torchvision:resnet18", env={"PYTHONPATH": places}
    )
    assert ended.code == 1
    assert "needs torch, which cannot be imported (none here): pip install" in ended.stderr


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("ascii", [False, True])
def test_no_line_is_wider_than_the_terminal(width, ascii):
    text = breakdown_text.render(made(30), width=width, ascii=ascii)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    assert "model\\x1b[31m: 1,000 parameters" in text
    if ascii:
        assert text.isascii()


def test_the_layers_with_the_most_bytes_are_shown_in_their_order():
    text = breakdown_text.render(made(30), width=120, layers=3)
    shown = [line.split()[0] for line in text.splitlines() if line.startswith("blocks.")]
    assert shown == [f"blocks.{i}.attention.projection" for i in (27, 28, 29)]
    assert "and 27 more layers; --layers 0 shows all" in text
    assert breakdown_text.render(made(30), width=120, layers=0).count("blocks.") == 30


@pytest.mark.parametrize("width", [64, 80, 120])
def test_name_kind_and_output_are_there_whatever_the_names_length(width):
    text = breakdown_text.render(made(30), width=width, layers=3)
    lines = text.splitlines()
    for i in (27, 28, 29):
        at = next(n for n, line in enumerate(lines) if f"blocks.{i}.attention.projection" in line)
        row = lines[at] + lines[at + 1] if "Linear" not in lines[at] else lines[at]
        assert "Linear" in row
        assert "f32[2,3]" in row
    assert ("no room for" in text) == (width == 64)


def test_each_phase_has_its_peak_and_the_highest_stays_longest():
    rows = [line.split() for line in breakdown_text.render(made(1), width=80).splitlines()]
    assert ["at", "most", "forward", "backward", "optimizer"] in rows
    assert ["in", "all", "4.00", "MiB", "5.00", "MiB", "3.00", "MiB"] in rows
    narrow = breakdown_text.render(made(1), width=40)
    assert "backward" in narrow.split("phase:")[1]
    assert "optimizer  " not in narrow
    document = json.loads(breakdown_json.render(made(1)))["breakdown"]
    assert [each["phase"] for each in document["phases"]] == [
        "step/forward", "step/backward", "step/optimizer",
    ]  # fmt: skip
    assert document["phases"][1] == document["peak"]


def test_the_document_has_every_field_of_a_layer():
    document = json.loads(breakdown_json.render(made(1)))
    assert document["breakdown"]["peak"]["phase"] == "step/backward"
    assert document["breakdown"]["layers"][0]["output_shape"] == [2, 3]
    assert document["breakdown"]["not_counted"] == ["memory of no rule"]


@pytest.mark.parametrize(
    ("verb", "library"), [("breakdown", "torchvision"), ("estimate", "transformers")]
)
def test_a_library_that_was_built_for_another_torch_is_one_sentence(
    verb, library, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("torch")
    (tmp_path / f"{library}.py").write_text(
        "raise RuntimeError('look up for more:\\noperator torchvision::nms does not exist')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, library, raising=False)
    assert main([verb, f"{library}:resnet18", "--input", "3x64x64"]) == 1
    said = capsys.readouterr().err.strip()
    assert "operator torchvision::nms does not exist" in said
    assert f"install the {library} that goes with it" in said
    assert "\n" not in said
