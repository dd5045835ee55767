"""The exact reading that a mark takes of its own process: RSS and the kernel's high-water mark.

The kernel keeps the largest RSS that a process ever had (``VmHWM``). Writing 5 to
``/proc/self/clear_refs`` sets it back to the RSS of that moment, so a reading that takes the mark
and resets it tells the maximum since the reading before, however short the spike was
(Documentation/filesystems/proc.rst). On other systems, or where the file may not be written, there
is no such reading and marks carry time alone.
"""

from __future__ import annotations

import os
import time
from _thread import RLock
from os import write

try:
    from os import pread
except ImportError:  # Windows, where there is nothing to be read with it
    pass

TYPE_CHECKING = False  # typing costs 1 MiB and 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_getrusage: Any = None
"""`resource.getrusage` as it was before anybody replaced it, once a reader was opened."""

Reading = tuple[int, int, int, int, int]
"""begun_ns, t_ns, rss, high, and by how much memory can have grown unseen between read and reset.

The last three in bytes."""

_INTERRUPTED_NS = 200_000
"""A read and its reset take 2 µs; past this the thread was interrupted between the two, and the
reading is not relied on if there were page faults meanwhile."""

_FAULT_BYTES = 2 << 20
"""The most that a page fault adds to RSS: a huge page."""

SLACK_LIMIT = 1 << 20
"""Past this many bytes the quick counters are too coarse: see `counter_slack`."""


class OwnMemory:
    """Reads and resets the high-water mark of the process that it was made in.

    Use `open_own_memory`, which says why there is none where there is none.

    Attributes:
        overall: the largest high-water mark that any reading of this object took, in bytes.
    """

    __slots__ = (
        "_clear_refs",
        "_floor_kib",
        "_one_at_a_time",
        "_page",
        "_statm",
        "_status",
        "_text",
        "overall",
    )

    def __init__(self, statm: int, status: int, clear_refs: int) -> None:
        self._statm = statm
        self._status = status
        self._clear_refs = clear_refs
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._text = b""
        # A signal handler may take a mark too, in the midst of another.
        self._one_at_a_time = RLock()
        self.overall = 0
        # ru_maxrss never falls under what the process was before its exec: one started by a fat
        # parent reads the parent's peak until its own is larger. Up to there /proc/self/status is
        # read, which has no such memory, and sums the counters of all CPUs, but takes 7 us.
        self._floor_kib = 1 << 62
        _, _, rss, high, _ = self.read()
        first = _getrusage(0).ru_maxrss
        if counter_slack(os.cpu_count() or 1) <= SLACK_LIMIT:
            self._floor_kib = first if (first << 10) > rss + (1 << 20) else 0
        self.overall = max(high, rss)

    def read(self, now: Callable[[], int] = time.monotonic_ns) -> Reading:
        """One reading, and the reset.

        Raises:
            OSError: a descriptor was closed under us, by a program that closes all it finds.
        """
        # One thread after the other: what one has taken from the mark must not get its time after
        # another's reading, which would no longer see it.
        with self._one_at_a_time:
            begun = now()
            # RSS first: pread lets go of the GIL, and what comes after it is short. Another thread
            # of this program may still run for a moment before the reset, since write lets go of
            # the GIL too (and under the floor one more pread): what it takes and gives back there
            # is lost.
            self._text = text = pread(self._statm, 64, 0)
            rss = int(text.split(None, 2)[1]) * self._page
            asked = now()
            before = _getrusage(0)
            high_kib = before.ru_maxrss
            if high_kib <= self._floor_kib:
                status = pread(self._status, 4096, 0)
                high_kib = _status_kib(status, b"VmHWM:")
                rss = _status_kib(status, b"VmRSS:") << 10
            write(self._clear_refs, b"5")
            t = now()
            unseen = 0
            if t - begun > _INTERRUPTED_NS:
                after = _getrusage(0)
                if t - asked > _INTERRUPTED_NS:
                    # RSS cannot have grown without a page fault, by whichever thread.
                    faults = after.ru_minflt + after.ru_majflt
                    unseen = (faults - before.ru_minflt - before.ru_majflt) * _FAULT_BYTES
                if after.ru_maxrss > self._floor_kib:
                    # Whoever waits for the GIL after pread holds the RSS of long ago: among many
                    # threads of half a second. The mark that was just reset is that of now, and
                    # getrusage keeps the GIL.
                    rss, t = after.ru_maxrss << 10, now()
            # The two counters are read by different kernel paths, up to some hundred KiB apart.
            high = high_kib << 10
            if high < rss:
                high = rss
            if high > self.overall:
                self.overall = high
            return begun, t, rss, high, unseen

    def mapped(self) -> int:
        """Bytes that were mapped from files or shared at the last reading, by any thread."""
        return int(self._text.split(None, 3)[2]) * self._page

    def highest(self) -> int:
        """The high-water mark of now in bytes; it is left as it is.

        Raises:
            OSError: a descriptor was closed under us.
        """
        high_kib = _getrusage(0).ru_maxrss
        if high_kib <= self._floor_kib:
            high_kib = _status_kib(pread(self._status, 4096, 0), b"VmHWM:")
        return int(high_kib) << 10

    def close(self) -> None:
        """Close the descriptors."""
        for fd in (self._statm, self._status, self._clear_refs):
            try:
                os.close(fd)
            except OSError:
                pass


def open_own_memory() -> tuple[OwnMemory | None, str]:
    """The reader of this process, or None and a sentence that says why there is none."""
    global _getrusage
    if not os.path.exists("/proc/self/statm"):
        return None, "marks carry time alone: this system has no /proc/self/statm"
    if _getrusage is None:
        try:
            # Not as timeline is imported: a program may have a resource.py of its own.
            from resource import getrusage
        except ImportError:
            return None, "marks carry time alone: the program's own resource hides Python's"
        _getrusage = getattr(getrusage, "real", getrusage)
    opened: list[int] = []
    try:
        for name, flags in (
            ("statm", os.O_RDONLY),
            ("status", os.O_RDONLY),
            ("clear_refs", os.O_WRONLY),
        ):
            opened.append(out_of_the_way(os.open("/proc/self/" + name, flags | os.O_CLOEXEC)))
        return OwnMemory(*opened), ""
    except (OSError, ValueError) as error:
        for fd in opened:
            os.close(fd)
        return None, f"marks carry time alone: /proc/self/clear_refs cannot be used ({error})"


def counter_slack(cpus: int) -> int:
    """How many bytes statm and getrusage may be off on a machine with so many CPUs.

    Linux 6.2 and later keep each counter of resident pages per CPU and add one CPU's share to the
    sum when it reaches a batch of ``max(32, 2 * cpus)`` pages (lib/percpu_counter.c). A process
    grows on few CPUs at a time, so the error seen is far under this. VmRSS in ``status`` is summed
    over all CPUs at each read.
    """
    return cpus * max(32, 2 * cpus) * 4096


def out_of_the_way(fd: int) -> int:
    """The same open file under a high number, where one can be had.

    A program that makes itself a daemon closes every low descriptor and then opens its own files:
    with a low number they would get ours, and what we write.
    """
    try:
        import fcntl

        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 500)
    except (ImportError, OSError):  # Windows; a limit of fewer descriptors
        return fd
    os.close(fd)
    return high


def _status_kib(status: bytes, key: bytes) -> int:
    return int(status[status.index(key) + len(key) :].split(None, 1)[0])
