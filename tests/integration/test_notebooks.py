"""The notebooks, executed by a real kernel, and the outputs that are committed with them."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

pytest.importorskip("torchvision")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).resolve().parent.parent.parent / "notebooks"
NAMES = ("quickstart.ipynb", "breakdown.ipynb")


def shown(notebook):
    """What a reader sees below the cells: texts, and how many pictures."""
    outputs = [each for cell in notebook.cells for each in cell.get("outputs", ())]
    texts = "".join(each.text for each in outputs if "text" in each)
    return texts, sum("image/png" in each.get("data", {}) for each in outputs)


def columns(text):
    """The headings of the tables: of the phases, and of what the peak is made of."""
    lines = text.splitlines()
    return [
        line.split()
        for before, line in zip(["", *lines], lines, strict=False)
        if line.split()[:1] == ["phase"] or before.startswith("The peak of ")
    ]


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_and_shows_what_is_committed(name, monkeypatch):
    for variable in ("JUPYTER_PATH", "PYTHONPATH"):
        monkeypatch.setenv(variable, "")  # is set back after the test
    execute = runpy.run_path(str(ROOT / "execute.py"))["execute"]
    now, pictures = shown(execute(ROOT / name))
    kept, kept_pictures = shown(nbformat.read(ROOT / name, as_version=4))
    assert pictures == kept_pictures
    # Figures that are no measurement are the same everywhere.
    # What a reader sees is what the package shows now.
    assert columns(kept) == columns(now)
    exact = [line for line in kept.splitlines() if "by hand" in line or "parameters of" in line]
    assert exact
    assert set(exact) <= set(now.splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_committed_outputs_are_small_and_without_paths(name):
    path = ROOT / name
    assert path.stat().st_size < 200_000
    text, pictures = shown(nbformat.read(path, as_version=4))
    assert text or pictures
    assert not any(root in text for root in ("/tmp", "/home", "/work", "/usr", "\\Users"))


def test_the_quickstarts_last_picture_is_of_the_table_above_it():
    text, _ = shown(nbformat.read(ROOT / "quickstart.ipynb", as_version=4))
    assert ["estimated", "measured", "residual"] in columns(text)
    in_table = next(line for line in text.splitlines() if line.split()[:1] == ["unexplained"])
    share = in_table.split("%")[0].split()[-1]
    assert f"{share} % of the growth" in text.split("by theory")[-1]


def test_weights_by_hand_are_those_measured():
    text, _ = shown(nbformat.read(ROOT / "breakdown.ipynb", as_version=4))
    rows = [line.split() for line in text.splitlines() if line.endswith("1.00000")]
    assert {row[0] for row in rows} >= {"parameter", "gradient", "optimizer", "activation", "kept,"}
