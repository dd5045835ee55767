"""memory_profiler's own reading, by any of its backends, for figures that match its own."""

from __future__ import annotations

import time
import warnings

from memory_profiler import memory_usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from timeline.recorder.probes import Sample

_WORDS = {"psutil_uss": "unique set size (USS)", "psutil_pss": "proportional set size (PSS)"}


class MemoryProfilerProbe:
    """Asks ``memory_profiler.memory_usage`` once for each sample."""

    exact = False

    def __init__(self, pid: int, tool: str, *, now: Callable[[], int] = time.monotonic_ns) -> None:
        """Read once, to see that it can.

        Args:
            pid: the process to read.
            tool: ``psutil``, ``psutil_uss``, ``psutil_pss`` or ``posix``.
            now: the monotonic clock, in nanoseconds.

        Raises:
            OSError: the process cannot be read, or is gone.
        """
        self._pid = pid
        self._tool = tool
        self._now = now
        # Its posix backend says at every call that it is slow: whoever chose it knows.
        warnings.filterwarnings("ignore", message="psutil module not found")
        kind = f" and gives the {_WORDS[tool]}" if tool in _WORDS else ""
        self.reason = (
            f"memory_profiler reads no high-water mark{kind}: peaks are the largest samples"
        )
        if self.read() is None:
            raise ProcessLookupError(f"memory_profiler cannot read process {pid} by {tool}")

    def read(self) -> Sample | None:
        """One sample, or None if the process is gone."""
        begun = self._now()
        try:
            # max_iterations=1 with interval 0: one reading, and no sleep after it.
            (mib,) = memory_usage(
                self._pid, interval=0, timeout=None, max_iterations=1, backend=self._tool
            )
        except Exception:
            # psutil.NoSuchProcess, or what a backend makes of it: every one of them means gone.
            return None
        t = self._now()
        # posix answers -1 and psutil 0 for a process that has ended.
        return (t, t - begun, 0, round(mib * 1048576), -1) if mib and mib > 0 else None

    def readings(self) -> Iterator[Sample]:
        """What `read` gives, one sample after the other until the process is gone."""
        return iter(self.read, None)

    def close(self) -> None:
        """Nothing is held open."""
