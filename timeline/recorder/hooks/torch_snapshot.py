"""Torch's own history of its allocations on GPUs, written into the run directory on request.

It is recorded from the program's initialisation of CUDA on, the last `MOST_EVENTS` events with
their Python stacks. A snapshot of it is written when an allocation fails, at the end, and before
that where the history is about to lose the peak.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from timeline.recorder.session import Session

MOST_EVENTS = 100_000
"""An allocation and its free are up to three; with Python stacks some tens of MB of host memory."""

LOST_AFTER = MOST_EVENTS // 4
"""So many allocations after the peak its history may be lost: two are left for their frees, and one
for what comes until the next mark."""

MOST_FAILURES = 3
"""Of a program that tries sizes until one fits, the first failures are written."""

PEAK, FAILURE = "snapshot.peak.pickle", "snapshot.oom.pickle"


class History:
    """The history of one session."""

    def __init__(self, torch: Any, session: Session) -> None:
        """Let torch record.

        Raises:
            Exception: what torch raises where it cannot.
        """
        self._memory = torch.cuda.memory
        self._session = session
        self._pid = os.getpid()
        self._failures = 0
        self._open = True
        self._peak = 0
        self._peak_at = 0
        self._written = 0
        self._memory._record_memory_history(
            enabled="all", context="all", stacks="python", max_entries=MOST_EVENTS
        )
        torch._C._cuda_attach_out_of_memory_observer(self._failed)

    def reached(self, peak: int, allocations: int) -> None:
        """A mark has seen so much allocated, after so many allocations since the start."""
        if peak > self._peak:
            self._peak, self._peak_at = peak, allocations
        elif self._written < self._peak and allocations - self._peak_at > LOST_AFTER:
            self._write(PEAK)
            self._written = self._peak

    def close(self) -> None:
        """Write the history as it stands, if it still tells of the peak, and record no more."""
        if not self._open or os.getpid() != self._pid:
            return
        self._open = False
        if self._written < self._peak or not self._written:
            self._write(PEAK)
        try:
            self._memory._record_memory_history(enabled=None)
        except Exception as error:
            self._session.missing(f"torch goes on recording its history: {error!r}")

    def _failed(self, device: int, wanted: int, *rest: int) -> None:
        """Called by torch when an allocation has failed, before it raises."""
        # It cannot be told to call no more.
        if self._open and os.getpid() == self._pid and self._failures < MOST_FAILURES:
            self._failures += 1
            self._write(FAILURE)

    def _write(self, name: str) -> None:
        path = os.path.join(self._session.directory, name)
        try:
            begun = time.monotonic()
            self._memory._dump_snapshot(f"{path}.new")
            os.replace(f"{path}.new", path)
            took = time.monotonic() - begun
            self._session.fact(name, f"written in {took:.2f} s, {os.path.getsize(path)} bytes")
        except Exception as error:
            self._session.missing(f"no {name}: {error!r}")
            try:
                os.unlink(f"{path}.new")
            except OSError:
                pass
