"""What all tests share: running Python and timeline as a person would, and leaving no trace."""

from __future__ import annotations

import signal
import sys
import threading
from importlib import import_module
from pathlib import Path

import pytest
from gpus import Gpu, Gpus, build, compiler
from running import Ended, run


@pytest.fixture
def write_script(tmp_path):
    """``write_script(text, name="script.py")`` writes a program; returns its path."""

    def write(text: str, name: str = "script.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def run_python(tmp_path):
    """``run_python(*args, env=None, cwd=None, input=None)`` runs a fresh ``python``."""

    def run_it(*args: object, cwd: Path | None = None, **options) -> Ended:
        return run([sys.executable, *map(str, args)], cwd=cwd or tmp_path, **options)

    return run_it


@pytest.fixture
def run_timeline(tmp_path):
    """``run_timeline(script, *args, options=["--no-charts"])`` records a script to its end.

    The recording goes to ``run.timeline`` in the test's directory unless ``-o`` is among the
    options; ``.recording`` of what is returned is its path, if it was made.
    """

    def record(*target: object, options=("--no-charts",), cwd=None, **more) -> Ended:
        options = list(map(str, options))
        out = Path(options[options.index("-o") + 1]) if "-o" in options else None
        if out is None:
            out = tmp_path / "run.timeline"
            options += ["-o", str(out)]
        command = [sys.executable, "-m", "timeline", *options, *map(str, target)]
        ended = run(command, cwd=cwd or tmp_path, **more)
        ended.recording = out if out.is_dir() else None
        return ended

    return record


@pytest.fixture
def estimate(write_script, tmp_path):
    """``estimate(text, *options)`` predicts a script of this text, as a document."""

    def run_it(text: str, *options: object) -> Ended:
        script = write_script(text)
        words = ["estimate", "--json", *map(str, options), str(script)]
        return run([sys.executable, "-m", "timeline", *words], cwd=tmp_path)

    return run_it


@pytest.fixture
def of_benchmarks(monkeypatch):
    """``of_benchmarks(name)`` imports a module of ``benchmarks/estimates``, for one test."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    yield lambda name: import_module(f"estimates.{name}")
    for name in [each for each in sys.modules if each.split(".")[0] == "estimates"]:
        del sys.modules[name]


def _children() -> set[int]:
    found: set[int] = set()
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            found.update(map(int, task.read_text().split()))
        except OSError:
            pass  # the thread ended meanwhile
    return found


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    """After each test: no session, no import hook or patch of ours, no child, no thread."""
    from timeline.recorder import session

    children = _children()
    threads = set(threading.enumerate())
    finders = list(sys.meta_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    left = []
    if session.current is not None:
        left.append(f"an active session in {session.current.directory}")
    left += [f"an import hook: {f!r}" for f in sys.meta_path if f not in finders and _ours(f)]
    left += [f"a signal handler for {n}" for n, h in handlers.items() if signal.getsignal(n) != h]
    left += [f"a thread: {t.name}" for t in set(threading.enumerate()) - threads if _ours(t)]
    for pid in _children() - children:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        # A browser or a kernel that a wider fixture keeps is theirs to end.
        if "timeline" in command:
            left.append(f"a child process {pid}: {command}")
    session.deactivate()
    assert not left, f"left behind: {left}"


def _ours(thing: object) -> bool:
    kind = type(thing)
    named = f"{kind.__module__} {getattr(thing, 'name', '')} {getattr(thing, '__module__', '')}"
    return "timeline" in named


@pytest.fixture(scope="session")
def gpu_library(tmp_path_factory):
    """``gpu_library(*options)``: the directory of a stand-in for the driver's library, compiled."""
    if compiler() is None:
        pytest.skip("no C compiler: the stand-in for NVIDIA's library cannot be built")
    built: dict[tuple[str, ...], Path] = {}

    def library(*options: str) -> Path:
        if options not in built:
            built[options] = build(tmp_path_factory.mktemp("nvml"), *options)
        return built[options]

    return library


@pytest.fixture
def scripted_gpus(gpu_library, tmp_path):
    """``scripted_gpus(Gpu(…), …)``: GPUs for processes that get its ``environ``."""

    def script(*gpus: Gpu, options: tuple[str, ...] = ()) -> Gpus:
        return Gpus(tmp_path / "gpus.txt", gpu_library(*options), *gpus)

    return script
