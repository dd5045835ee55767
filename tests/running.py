"""Running Python and timeline as a person would: shared by fixtures and tests alike."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# A test that hangs must not take CI's whole time; a run of this machine's slowest takes a minute.
TIME_LIMIT_S = 240


def tells_how_others_ended() -> bool:
    """Whether this kernel tells everyone how a process ended: by a pidfd, since Linux 6.15."""
    version = re.findall(r"\d+", os.uname().release)[:2] if sys.platform == "linux" else (0, 0)
    return tuple(map(int, version)) >= (6, 15)


@dataclass
class Ended:
    """A process that ended: its exit code (negative: a signal's number) and what it printed."""

    code: int
    stdout: str
    stderr: str
    recording: Path | None = None


def weighing_in_full(out: str, program: str) -> list[str]:
    """The command that records a program and weighs its second step in full."""
    options = ["--anatomy", "2", "--no-charts", "-o", out]
    return [sys.executable, "-m", "timeline", *options, program]


def clean_environment(**more: str) -> dict[str, str]:
    """This environment, as a person's shell would have it: nothing of pytest's or of a recorder's.

    The checkout is importable from any directory, since the project may not be installed.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "TIMELINE_", "PYTHON")) and name != "COLUMNS"
    }
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def run(command: list[str], *, cwd: Path, env: dict[str, str] | None = None, **options) -> Ended:
    """Run a command to its end, in a session of its own, with no standard input but `input`."""
    if "input" not in options:
        options["stdin"] = subprocess.DEVNULL
    process = subprocess.run(
        command,
        cwd=cwd,
        env=clean_environment(**(env or {})),
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_S,
        start_new_session=True,
        **options,
    )
    return Ended(process.returncode, process.stdout, process.stderr)


def begin(
    command: list[str], *, cwd: Path, env: dict[str, str] | None = None, **options
) -> subprocess.Popen[str]:
    """Start a command with pipes to all its streams, in a session of its own; not waited for."""
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=clean_environment(**(env or {})),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )
