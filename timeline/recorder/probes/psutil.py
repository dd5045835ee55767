"""psutil's reading of RSS: for every system that it knows, and without a high-water mark."""

from __future__ import annotations

import time

import psutil

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from timeline.recorder.probes import Sample


class PsutilProbe:
    """Reads ``psutil.Process(pid).memory_info().rss``."""

    exact = False
    reason = "psutil reads no high-water mark: peaks are the largest samples"

    def __init__(self, pid: int, *, now: Callable[[], int] = time.monotonic_ns) -> None:
        """Look the process up.

        Raises:
            OSError: there is no such process.
        """
        self._now = now
        try:
            self._process = psutil.Process(pid)
        except psutil.Error as error:
            raise ProcessLookupError(str(error)) from None

    def read(self) -> Sample | None:
        """One sample, or None if the process is gone."""
        begun = self._now()
        try:
            rss = self._process.memory_info().rss
        except (psutil.Error, OSError):
            return None
        t = self._now()
        # One that has ended but was not waited for reads 0 without an error.
        return (t, t - begun, 0, rss, -1) if rss else None

    def readings(self) -> Iterator[Sample]:
        """What `read` gives, one sample after the other until the process is gone."""
        return iter(self.read, None)

    def close(self) -> None:
        """Nothing is held open."""
