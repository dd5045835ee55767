"""The kernel's own figures: ``VmRSS`` and ``VmHWM``, and the reset of the latter."""

from __future__ import annotations

import os
import time

from timeline.recorder.reading import out_of_the_way
from timeline.recording.alive import stat_fields
from timeline.recording.format import (
    BLIND,
    HIGH_IS_KNOWN,
    UNSEEN_MOST,
    UNSEEN_SHIFT,
    UNSEEN_UNIT,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from timeline.recorder.overall import Overall
    from timeline.recorder.probes import Sample

RESET_OVER_KIB = 64
"""The mark is reset only where it stands this far above the RSS of the same read. As long as memory
has only grown, mark and RSS are one number and a reset would change nothing; so nothing is lost but
64 KiB of sharpness, and much is won: a reset takes the target's mmap lock, and what happens between
a read and its reset is lost, which while memory grows is where it hurts. Marks of the target itself
always reset, so a phase's border stays exact to the byte."""

LATE_NS = 200_000
"""A read and its reset lie 10 µs apart, unless the reset has to wait for the target's mmap lock:
beside a training 1 in 6 took 0.9 to 2.5 ms, the time that the target took to unmap a tensor."""

STATUS_BYTES, TWO_LINES = 4096, 80
"""More than ``status`` has, and than two of its lines have."""

SMALL_FAULT_KIB, HUGE_FAULT_KIB = 64, 2048
"""The most that a page fault adds to RSS: 16 pages of a file that is in memory, or a huge page."""


class LinuxProbe:
    """Reads ``/proc/<pid>/status`` and writes ``/proc/<pid>/clear_refs``, both held open.

    Held open, they go on meaning the same process: a pid that is given to another reads as gone.
    """

    def __init__(
        self,
        pid: int,
        *,
        exact: bool = True,
        overall: Overall | None = None,
        now: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Open the files of one process.

        Args:
            pid: the process to read.
            exact: whether to reset the mark, which alone makes it the maximum since the last read.
            overall: keeps the largest mark for the process itself to see.
            now: the monotonic clock, in nanoseconds.

        Raises:
            OSError: the process cannot be read, or is gone.
        """
        self._now = now
        self._overall = overall
        self._open: list[int] = []
        self._status = self._descriptor(f"/proc/{pid}/status", os.O_RDONLY)
        self._stat = self._descriptor(f"/proc/{pid}/stat", os.O_RDONLY)
        self._huge_faults = _huge_faults()
        self._resets = False
        self._each = self.readings()
        self.exact = False
        self.reason = "the kernel's high-water mark was left alone, as asked"
        if exact:
            try:
                self._clear_refs = self._descriptor(f"/proc/{pid}/clear_refs", os.O_WRONLY)
                # No reset yet: what the target has reached since its own first reading, while this
                # process was starting, belongs to the recording.
                self.exact, self.reason = True, ""
            except OSError as error:
                self.reason = (
                    "the kernel's high-water mark cannot be reset: "
                    f"/proc/PID/clear_refs cannot be written ({error.strerror})"
                )

    def read(self) -> Sample | None:
        """One sample, and a reset of the mark where it stands above the RSS; None if it is gone."""
        return next(self._each, None)

    def readings(self) -> Iterator[Sample]:
        """What `read` gives, one sample after the other until the process is gone.

        To go on with a frame costs less than to begin one: beside a program that keeps the caches
        to itself, its names are where they were.
        """
        now, pread, status, noted = self._now, os.pread, self._status, 0
        at, size = 0, STATUS_BYTES
        try:
            while True:
                if not self._resets:
                    begun = now()
                    text = pread(status, size, 0)
                    t = now()
                    # Where both stood before they mostly stand again; nothing is searched for.
                    both = text[at : at + TWO_LINES].split(None, 5)
                    if len(both) > 4 and both[0] == b"VmHWM:" and both[3] == b"VmRSS:":
                        rss, high = int(both[4]), int(both[1])
                    else:
                        text = pread(status, STATUS_BYTES, 0)
                        t = now()
                        rss, high = _rss_and_high(text)
                        # What stands before them is a name and some numbers, each of which can
                        # grow.
                        at = max(text.find(b"VmHWM:"), 0)
                        size = at + TWO_LINES if at else STATUS_BYTES
                    if rss == 0:
                        return
                    if not self.exact:
                        yield t, t - begun, 0, rss << 10, -1
                        continue
                    if high <= rss + RESET_OVER_KIB:
                        most = (high if high > rss else rss) << 10
                        # It looks by itself, too: this saves the call, which costs more than it.
                        if most > noted and self._overall is not None:
                            noted = most
                            self._overall.note(most)
                        yield t, t - begun, HIGH_IS_KNOWN, rss << 10, most
                        continue
                sample = self._read_and_reset()
                if sample is None:
                    return
                yield sample
        except OSError:
            # ESRCH. A process that has ended but was not waited for has no VmRSS line, which is 0.
            return

    def _read_and_reset(self) -> Sample | None:
        # What page faults there were before the read is asked first; understood only if it matters.
        stat = os.pread(self._stat, 1024, 0)
        begun = self._now()
        rss, high = _rss_and_high(os.pread(self._status, 4096, 0))
        t = self._now()
        if rss == 0:
            return None
        most = (high if high > rss else rss) << 10
        if self._overall is not None:
            # Before a reset: between the two the program must not see a smaller peak.
            self._overall.note(most)
        # A reset is mostly followed by another: then a sample reads once. Beside a program that
        # keeps the caches to itself each read of these files takes 40 us.
        self._resets = high > rss + RESET_OVER_KIB
        flags = HIGH_IS_KNOWN
        if self._resets:
            os.write(self._clear_refs, b"5")
            if self._now() - t > LATE_NS:
                # What was higher meanwhile came by page faults. Mostly there are none: who holds
                # the lock is the target, and it waits in the kernel like us.
                before, self._huge_faults = self._huge_faults, _huge_faults()
                small = before == self._huge_faults is not None
                most_kib = SMALL_FAULT_KIB if small else HUGE_FAULT_KIB
                faults = _faults(os.pread(self._stat, 1024, 0)) - _faults(stat)
                unseen = -(-faults * most_kib * 1024 // UNSEEN_UNIT)
                if unseen:
                    flags |= BLIND | min(unseen, UNSEEN_MOST) << UNSEEN_SHIFT
        return t, t - begun, flags, rss << 10, most

    def _descriptor(self, path: str, flags: int) -> int:
        # In the thread of somebody's program, which may close and open what it likes.
        fd = out_of_the_way(os.open(path, flags | os.O_CLOEXEC))
        self._open.append(fd)
        return fd

    def close(self) -> None:
        """Close the files."""
        while self._open:
            os.close(self._open.pop())


def _rss_and_high(status: bytes) -> tuple[int, int]:
    """In KiB, as the kernel writes them; 0 for a process that has no memory any more."""
    # On Linux itself the two stand side by side; where something else plays Linux they may not.
    at = status.find(b"VmHWM:")
    both = status[at : at + 80].split(None, 5) if at >= 0 else ()
    if len(both) > 4 and both[0] == b"VmHWM:" and both[3] == b"VmRSS:":
        return int(both[4]), int(both[1])
    return _kib(status, b"VmRSS:"), _kib(status, b"VmHWM:")


def _kib(status: bytes, key: bytes) -> int:
    at = status.find(key)
    return int(status[at + len(key) :].split(None, 1)[0]) if at >= 0 else 0


def _faults(stat: bytes) -> int:
    fields = stat_fields(stat)
    return int(fields[7]) + int(fields[9])


def _huge_faults() -> int | None:
    """How many huge pages were given by faults, to anyone, since the boot; None if not known."""
    try:
        with open("/proc/vmstat", "rb") as file:
            return int(file.read().split(b"thp_fault_alloc ", 1)[1].split(None, 1)[0])
    except IndexError:
        return 0  # this kernel gives none
    except (OSError, ValueError):
        return None
