"""What reads a process's memory from outside, one module a backend.

`open_probe` chooses. A backend's module is imported when it is asked for, since psutil and
memory_profiler are neither light nor needed where the kernel's files are.
"""

from __future__ import annotations

import os
import sys

from timeline.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    from timeline.recorder.overall import Overall

    class Probe(Protocol):
        """One way of reading the resident memory of one process.

        Attributes:
            exact: whether its rows carry the high-water mark.
            reason: a sentence why they do not; empty where they do.
        """

        exact: bool
        reason: str

        def read(self) -> Sample | None:
            """One sample, or None if the process is gone."""

        def readings(self) -> Iterator[Sample]:
            """What `read` gives, one sample after the other until the process is gone."""

        def close(self) -> None:
            """Let go of what is open."""


Sample = tuple[int, int, int, int, int]
"""``t_ns, read_ns, flags, rss, hwm``, as a row of the stream ``host`` (docs/format.md)."""

BACKENDS = (
    "auto",
    "linux",
    "psutil",
    "memory_profiler",
    "memory_profiler:psutil",
    "memory_profiler:psutil_uss",
    "memory_profiler:psutil_pss",
    "memory_profiler:posix",
)


def resolve(backend: str) -> str:
    """The backend that a name stands for on this machine, as `Channel.source` has it.

    Raises:
        UsageError: there is no such backend, or it cannot be used here.
    """
    if backend not in BACKENDS:
        raise UsageError(f"there is no backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    kernel = sys.platform == "linux" and os.path.exists("/proc/self/status")
    if backend == "auto":
        backend = "linux" if kernel else "psutil"
    if backend == "linux" and not kernel:
        raise UsageError(
            "the backend linux reads /proc/PID/status, which is not here: choose auto or psutil"
        )
    if backend == "memory_profiler":
        backend = "memory_profiler:psutil"
    if backend != "linux":
        _import(backend.partition(":")[0])
    return backend


def open_probe(
    source: str, pid: int, *, exact: bool = True, overall: Overall | None = None
) -> Probe:
    """The probe of one process.

    Args:
        source: what `resolve` gave.
        pid: the process to read.
        exact: whether to take and reset the high-water mark where the backend can.
        overall: keeps the largest mark for the process itself to see.

    Raises:
        OSError: the process cannot be read, or is gone.
    """
    if source == "linux":
        from timeline.recorder.probes.linux import LinuxProbe

        return LinuxProbe(pid, exact=exact, overall=overall)
    name, _, tool = source.partition(":")
    if name == "psutil":
        from timeline.recorder.probes.psutil import PsutilProbe

        return PsutilProbe(pid)
    from timeline.recorder.probes.memory_profiler import MemoryProfilerProbe

    return MemoryProfilerProbe(pid, tool)


def _import(name: str) -> None:
    from importlib import import_module

    try:
        import_module(name)
    except ImportError as error:
        raise UsageError(
            f"the backend {name} cannot be imported ({error}): install {name.replace('_', '-')}, "
            "or choose auto"
        ) from None
