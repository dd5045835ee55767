"""What of this process is resident at a moment, and what the C library's heap holds."""

from __future__ import annotations

import os
import time

from timeline.recorder.hooks.heap import NO_HEAP, heap_reader, largest_reader
from timeline.recorder.reading import out_of_the_way

TYPE_CHECKING = False
if TYPE_CHECKING:
    from timeline.recorder.session import Session


class Resident:
    """Reads it.

    Attributes:
        heap: see `timeline.recorder.hooks.heap`.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.heap = heap_reader()
        self._largest = largest_reader()
        self._page = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
        try:
            self._statm = out_of_the_way(os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC))
        except (OSError, AttributeError):
            self._statm = -1

    def read(self) -> list[int]:
        """One moment, in the order of `timeline.recording.weighed.facts.MOMENT`.

        ``t`` ns, ``rss``, ``high`` since the reading before, ``file`` (mapped from files or
        shared), ``in_use`` and ``free`` of the heap, and how large that is; bytes, -1 for what is
        not known.
        """
        session = self._session
        read, own = session.reading_now(), session.own
        in_use, free, size = self.heap() if self.heap is not None else NO_HEAP
        if read is None or own is None:
            rss, file = self._mapped()
            return [time.monotonic_ns(), rss, -1, file, in_use, free, size]
        return [read[1], read[2], read[3], own.mapped(), in_use, free, size]

    def state(self) -> tuple[int, int, int]:
        """Of the same ``in_use``, ``free`` and ``file``; the high-water mark stays as it is."""
        in_use, free, _ = self.heap() if self.heap is not None else NO_HEAP
        return in_use, free, self._mapped()[1]

    def private(self) -> tuple[int, int] | None:
        """What of the heap is in use, and what is resident that is neither heap nor file."""
        in_use, free, _ = self.heap() if self.heap is not None else NO_HEAP
        rss, file = self._mapped()
        if min(in_use, free, rss, file) < 0:
            return None
        return in_use, rss - file - in_use - free

    def largest(self) -> int:
        """How large the heap itself has been at most."""
        return self._largest() if self._largest is not None else -1

    def highest(self) -> int:
        """How high resident memory went since anybody's last reading, which this is none of."""
        own = self._session.own
        return own.highest() if own is not None else self._mapped()[0]

    def _mapped(self) -> tuple[int, int]:
        if self._statm < 0:
            return -1, -1
        fields = os.pread(self._statm, 128, 0).split(None, 3)
        return int(fields[1]) * self._page, int(fields[2]) * self._page

    def close(self) -> None:
        """Close the descriptor."""
        if self._statm >= 0:
            os.close(self._statm)
            self._statm = -1
