"""Memory line by line in chosen functions, of real programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest
from running import clean_environment

from timeline import analyze, load
from timeline.views import text
from timeline.views.page import lines as page

MIB = 1 << 20

HELPER = """
def grow(n):
    data = bytearray(n << 20)
    return data
"""

PROGRAM = """
import sys
import helper
import timeline

def work():
    with timeline.phase("load"):
        a = bytearray(60 << 20)
    b = [helper.grow(10) for _ in range(3)]
    with timeline.phase("free"):
        del a
    return len(b)

print(work(), sys.argv[1:])
sys.exit(3)
"""


@pytest.fixture
def program(tmp_path):
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "prog.py").write_text(PROGRAM)
    return tmp_path


def run(folder, *words):
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )


def by_text(function):
    return {each.text.strip(): each for each in function.lines}


def test_lines_of_named_functions_stand_beside_their_phases(program):
    options = ("-o", "run", "--no-charts", "--lines", "work", "--lines", "helper.grow")
    ran = run(program, "-m", "timeline", *options, "prog.py", "--lines", "mine")
    assert ran.returncode == 3
    assert ran.stdout == "3 ['--lines', 'mine']\n"
    recording = load(program / "run")
    work, grow = recording.lines
    assert (work.name, grow.name) == ("__main__.work", "helper.grow")
    lines = by_text(work)
    made = lines["a = bytearray(60 << 20)"]
    assert (made.count, made.phases) == (1, ("load",))
    assert made.increment == pytest.approx(60 * MIB, abs=MIB)
    assert lines["del a"].increment == pytest.approx(-60 * MIB, abs=MIB)
    assert lines["del a"].phases == ("free",)
    assert lines["b = [helper.grow(10) for _ in range(3)]"].phases == ()
    assert lines["return len(b)"].increment == pytest.approx(0, abs=MIB)
    inner = by_text(grow)["data = bytearray(n << 20)"]
    assert (inner.count, inner.increment) == (3, pytest.approx(30 * MIB, abs=MIB))
    # What a line added is what the phase around it shows, which is read by another way.
    (load_phase,) = [each for each in analyze(recording).phases if each.path == "load"]
    assert made.increment == pytest.approx(load_phase.peak["host.rss"].delta, abs=MIB)


def test_the_views_have_the_table(program):
    run(program, "-m", "timeline", "-o", "run", "--no-charts", "--lines", "work", "prog.py")
    analysis = analyze(load(program / "run"))
    table = text.render(analysis, width=100)
    (line,) = [each for each in table.splitlines() if "bytearray(60 << 20)" in each]
    assert line.split()[3:6] == ["+60.0", "MiB", "1"]
    assert "load" in line
    assert "<pre>        a = bytearray(60 &lt;&lt; 20)</pre>" in page.card(analysis)
    shown = run(program, "-m", "timeline", "report", "run", "--json")
    (function,) = json.loads(shown.stdout)["lines"]
    assert function["lines"][2]["phases"] == ["load"]


def test_increments_are_those_of_memory_profiler(program):
    """The oracle: its own report of the same function."""
    oracle = textwrap.dedent("""
        import memory_profiler
        profiler = memory_profiler.LineProfiler()
        import helper, io
        profiler(helper.grow)(40)
        out = io.StringIO()
        memory_profiler.show_results(profiler, out)
        print(out.getvalue())
    """)
    told = run(program, "-c", oracle).stdout
    (row,) = [each for each in told.splitlines() if "bytearray" in each]
    theirs = float(row.split()[3])
    (program / "prog.py").write_text("import helper\nhelper.grow(40)\n")
    words = ("-o", "run", "--no-charts", "--lines", "helper.grow", "prog.py")
    run(program, "-m", "timeline", *words)
    (function,) = load(program / "run").lines
    ours = by_text(function)["data = bytearray(n << 20)"].increment / MIB
    assert ours == pytest.approx(theirs, abs=1)


def test_what_cannot_be_traced_is_said_and_the_program_runs(program):
    why = {
        "nowhere.f": "there is no module nowhere",
        "f": "there is no f in the program",
        "helper.grew": "there is no grew in helper",
        "xmlrpc.client.f": "xmlrpc was not imported",
        "json.tool.main": "json.tool was not imported",
        "sys.exit": "it was not called",
        "work.f": "there is no module work: of the program's own it is __main__.work.f",
    }
    words = [word for name in why for word in ("--lines", name)]
    program.joinpath("prog.py").write_text("import json\n" + PROGRAM)
    ran = run(program, "-m", "timeline", "-o", "run", "--no-charts", *words, "prog.py")
    assert ran.returncode == 3
    recording = load(program / "run")
    assert recording.lines == ()
    for name, reason in why.items():
        name = name if "." in name else f"__main__.{name}"
        assert f"lines of {name}: {reason}" in recording.missing


def test_a_killed_program_says_that_its_lines_are_lost(program):
    (program / "prog.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    run(program, "-m", "timeline", "-o", "run", "--no-charts", "--lines", "f", "prog.py")
    recording = load(program / "run")
    assert recording.lines == ()
    assert any("lines.json was not written" in each for each in recording.damage)


@pytest.mark.parametrize("content", ["{", "[]", '{"timeline": 1, "functions": [{"lines": 3}, 4]}'])
def test_a_damaged_document_costs_the_lines_and_a_sentence(program, content):
    run(program, "-m", "timeline", "-o", "run", "--no-charts", "prog.py")
    (program / "run" / "lines.json").write_text(content)
    recording = load(program / "run")
    assert any("lines.json" in each for each in recording.damage)
    text.render(analyze(recording))


def test_a_decorated_function_is_traced_and_stays_what_it_is(program):
    (program / "dec.py").write_text(
        textwrap.dedent("""
            import sys, timeline

            @timeline.record(lines=True, directory="run", charts=False, name="train")
            def train(n):
                "What it does."
                with timeline.phase("inner"):
                    a = bytearray(n << 20)
                return n

            print(train(30), train.__name__, train.__doc__, sys.gettrace())
        """)
    )
    ran = run(program, "dec.py")
    assert ran.stdout == "30 train What it does. None\n"
    (function,) = load(program / "run").lines
    line = by_text(function)["a = bytearray(n << 20)"]
    assert line.increment == pytest.approx(30 * MIB, abs=MIB)
    assert line.phases == ("inner",)


TRAINING = """
import sys
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(64, 64)
        self.outer = nn.Linear(64, 1)
        self.kept = torch.ones(1 << 20)
    def forward(self, x):
        return self.outer(self.inner(x))

model = Net()
optimizer = torch.optim.SGD(model.parameters(), 0.1)

def fit():
    held = torch.ones(16 << 20)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(8, 64)).sum().backward()
        optimizer.step()
    return held

fit()
if "traced" in sys.argv:
    sys.settrace(lambda *_: None)
    Net()
    sys.settrace(None)
"""


@pytest.mark.torch
def test_constructions_are_found_while_lines_are_traced(program):
    (program / "fit.py").write_text(TRAINING)
    options = ("-o", "run", "--no-charts", "--lines", "fit", "--lines", "__main__.Net.__init__")
    ran = run(program, "-m", "timeline", "--anatomy", "2", *options, "fit.py", "traced")
    assert ran.returncode == 0, ran.stderr
    recording = load(program / "run")
    assert "debugger" not in "".join((program / "run" / "summary.json").read_text())
    analysis = analyze(recording)
    # One: where something else traces, a frame's trace is left alone.
    assert next(each.count for each in analysis.phases if each.path == "load") == 1
    lines = {each.name: by_text(each) for each in recording.lines}
    assert lines["__main__.fit"]["held = torch.ones(16 << 20)"].increment == pytest.approx(
        64 * MIB, abs=MIB
    )
    assert lines["__main__.Net.__init__"]["self.kept = torch.ones(1 << 20)"].count == 1
    # The array came after the model, and is not what was there before it.
    step = analysis.anatomy.of("step/forward")
    before = step["before_model"].measured
    assert step.peak - before >= 60 * MIB


def test_lines_are_for_plain_functions():
    import timeline
    from timeline.errors import UsageError

    with pytest.raises(UsageError, match="plain function"):

        @timeline.record(lines=True)
        def values():
            yield 1


def test_without_lines_memory_profiler_is_not_imported(program):
    (program / "prog.py").write_text("import sys; print('memory_profiler' in sys.modules)")
    ran = run(program, "-m", "timeline", "-o", "run", "--no-charts", "prog.py")
    assert ran.stdout == "False\n"
    assert not os.path.exists(program / "run" / "lines.json")
