"""What importing timeline brings into a program, in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Heavy, or a name that a user's own module may have.
UNASKED = [
    *("torch", "numpy", "matplotlib", "bokeh", "psutil", "memory_profiler", "pynvml", "IPython"),
    *("json", "argparse", "subprocess", "asyncio", "logging", "inspect", "ast", "multiprocessing"),
    *("threading", "typing", "re", "functools", "collections", "dataclasses", "pathlib", "struct"),
]


def imported_by(code):
    """The modules that a statement adds to those of an interpreter that has done nothing."""
    # -S: what site's .pth files import is the installation's, not ours.
    program = (
        f"import sys; sys.path[:0] = {[path for path in sys.path if path]!r}\n"
        f"before = set(sys.modules)\n{code}\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import timeline",
        "from timeline import phase, mark",
        "import timeline\nwith timeline.phase('a'): timeline.mark('b')",
    ],
)
def test_importing_timeline_brings_nothing_heavy(code):
    assert imported_by(code).isdisjoint(UNASKED)


def test_record_brings_little():
    heavy = {*UNASKED} - {"typing", "re", "functools", "collections", "struct"}
    assert imported_by("from timeline import record, Recorder").isdisjoint(heavy)


def test_the_parts_that_only_look_import_nothing_of_the_recorder():
    names = imported_by("import timeline.recording.reader, timeline.analysis.analyze")
    assert not {name for name in names if name.startswith("timeline.recorder.hooks")}
    assert names.isdisjoint({"torch", "matplotlib", "bokeh"})


def test_recording_a_function_imports_no_heavy_library(tmp_path):
    code = (
        "import os, timeline\n"
        f"os.chdir({str(tmp_path)!r})\n"
        "@timeline.record(charts=False)\n"
        "def f(): pass\n"
        "f()"
    )
    names = imported_by(code)
    libraries = {"torch", "numpy", "matplotlib", "bokeh", "psutil", "memory_profiler", "pynvml"}
    assert names.isdisjoint(libraries)
