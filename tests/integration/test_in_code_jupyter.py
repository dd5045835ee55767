"""Recording in a Jupyter notebook, by a real kernel."""

from __future__ import annotations

import os

import pytest
from running import clean_environment

from timeline import load
from timeline.recording.types import Kind

CELLS = [
    "import timeline, time, sys",
    "r = timeline.Recorder()\n"
    "with r:\n"
    "    with timeline.phase('cell'):\n"
    "        x = bytearray(60 << 20); del x; time.sleep(0.2)\n"
    "r",
    "@timeline.record(charts=False)\n"
    "def work():\n"
    "    with timeline.phase('inner'): return 7\n"
    "print(work())",
    "async def part(n):\n"
    "    with timeline.phase(f'part {n}'): pass\n"
    "import asyncio\n"
    "with timeline.Recorder('async', charts=False):\n"
    "    await asyncio.gather(part(1), part(2))",
    "left = timeline.Recorder('left', charts=False).start()",
    "print('matplotlib' in sys.modules, 'numpy' in sys.modules)",
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_notebook_records_its_cells_and_shows_the_chart(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", clean_environment()["PYTHONPATH"])
    monkeypatch.setenv("JUPYTER_PATH", kernels(tmp_path))
    client = nbclient.NotebookClient(
        notebook,
        timeout=120,
        kernel_name="this-python",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    outputs = [cell["outputs"] for cell in notebook.cells]

    (shown,) = [each for each in outputs[1] if each["output_type"] == "execute_result"]
    assert "data:image/png;base64," in shown["data"]["text/html"]
    (said,) = [each for each in outputs[1] if each.get("name") == "stderr"]
    assert said["text"].startswith("timeline: peak ")
    assert outputs[2][0]["text"] == "7\n"
    assert outputs[5][0]["text"].split()[0] == "False"

    def begun(path):
        return [m.name for m in load(path).marks if m.kind is Kind.BEGIN]

    (cell,) = tmp_path.glob("notebook-*.timeline")
    assert begun(cell) == ["cell"]
    assert load(cell).series["host.rss"].high.max() > load(cell).marks.rss[0] + (59 << 20)
    (work,) = tmp_path.glob("work-*.timeline")
    assert begun(work) == ["work", "inner"]
    assert sorted(begun(tmp_path / "async")) == ["part 1", "part 2"]
    assert load(tmp_path / "left").run.end in ("exited", "killed", "running")


def kernels(tmp_path):
    """A place for kernels with one in it: the interpreter that runs the tests."""
    import json
    import sys

    spec = tmp_path / "jupyter" / "kernels" / "this-python"
    spec.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(
        json.dumps({"argv": command, "display_name": "this", "language": "python"})
    )
    return str(tmp_path / "jupyter")
