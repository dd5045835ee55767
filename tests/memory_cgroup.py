"""A memory cgroup of a size, for programs that shall be killed in it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from timeline.recording.cgroups import Cgroup, cgroups_of


@contextlib.contextmanager
def memory_cgroup(limit: int) -> Iterator[Cgroup]:
    """A cgroup with a limit inside one of this process's own; skips where none can be made."""
    made = None
    for around in cgroups_of(os.getpid()):
        place = Path(around.path, f"timeline-test-{os.getpid()}-{time.monotonic_ns()}")
        try:
            place.mkdir()
        except OSError:
            continue
        cgroup = Cgroup(str(place), around.version)
        try:
            Path(cgroup.file("max")).write_text(str(limit))
        except OSError:
            place.rmdir()  # version 2 gives no memory controller beside processes
            continue
        made = cgroup
        break
    if made is None:
        pytest.skip("no memory cgroup can be made here: that needs root and a writable cgroupfs")
    try:
        yield made
    finally:
        _remove(made.path)


def _remove(path: str) -> None:
    # The last process of it may still be on its way out.
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.05)


def inside(cgroup: Cgroup, command: list[str]) -> list[str]:
    """The command that runs another one in a cgroup, from its first moment on."""
    join = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
    return ["sh", "-c", join, cgroup.path, *command]
