"""One process of the target's family, as the kernel shows it to another."""

from __future__ import annotations

import os
import time

from timeline.recorder.reading import out_of_the_way
from timeline.recording.alive import stat_fields

LONGEST_COMMAND = 400
"""Characters of a command line that are kept."""

_FORKED_NOT_EXECUTED = 0x40
"""``PF_FORKNOEXEC`` in the kernel's include/linux/sched.h."""

_LIST_BYTES = 1 << 16


class Member:
    """A process, from when it was found to its end.

    Its ``status`` and ``children`` are held open: they go on meaning this process, and read as
    gone once its pid is another's.

    Attributes:
        pid: its number in the kernel.
        number: its number in this recording.
        up: the number of the process that it was found under.
        name: what the kernel calls it: its program, or what it calls itself.
        command: its command line, short.
        forked: whether it runs its parent's program, as a forked worker does.
        began_ns: when it began by the kernel's word, to 10 ms; monotonic.
        rss, mark: in bytes, of the last reading; the kernel's high-water mark speaks of all the
            time since it began, or became the program that it is. 0 while ``borrowed``.
        t_ns: when that reading had ended; 0 before the first.
        threads: how many it has.
        bears: whether it has had a child.
        asked: whether it was asked for children yet.
        borrowed: whether its memory is still its parent's, as between a vfork and an exec.
    """

    __slots__ = (
        "_children",
        "_glanced",
        "_last_list",
        "_status",
        "asked",
        "bears",
        "began_ns",
        "borrowed",
        "command",
        "forked",
        "mark",
        "name",
        "number",
        "pid",
        "rss",
        "t_ns",
        "threads",
        "up",
    )

    def __init__(self, pid: int, number: int, up: int, *, lists: bool = True) -> None:
        """Open its files and see what it is.

        Args:
            pid: of the process.
            number: its number in this recording.
            up: its parent's.
            lists: whether the kernel keeps lists of children.

        Raises:
            OSError: it is gone, or cannot be read.
        """
        self.pid = pid
        self.number = number
        self.up = up
        self.rss = self.mark = self.t_ns = 0
        self.threads = 1
        self.borrowed = self.forked = self.bears = self.asked = False
        self.name = self.command = ""
        self._glanced = b""
        self._last_list: tuple[bytes, tuple[int, ...]] = b"", ()
        self._children = -1
        self._status = _held(f"/proc/{pid}/status")
        try:
            if lists:
                self._children = _held(f"/proc/{pid}/task/{pid}/children")
            self.look_again()
        except BaseException:
            self.close()
            raise

    def look_again(self) -> bool:
        """Read what it runs. Returns whether that is another program than before.

        Raises:
            OSError: it is gone.
        """
        fields = stat_fields(_read(f"/proc/{self.pid}/stat"))
        self.began_ns = _monotonic(int(fields[19]))
        before = self.forked, self.command
        self.forked = bool(int(fields[6]) & _FORKED_NOT_EXECUTED)
        words = _read(f"/proc/{self.pid}/cmdline").rstrip(b"\0").split(b"\0")
        text = b" ".join(words).decode("utf-8", "replace")
        self.command = text if len(text) <= LONGEST_COMMAND else text[: LONGEST_COMMAND - 1] + "…"
        # A command line alone tells nothing: a program may write over its own. But in the middle of
        # an exec there is none.
        return (before[0] and not self.forked) or (not before[1] and bool(self.command))

    def read(self, parent: Member | None) -> bool:
        """Read its memory. Returns False once it has none any more: it has ended.

        Args:
            parent: compared with, as long as the two may be sharing one memory.
        """
        try:
            status = os.pread(self._status, 4096, 0)
        except OSError:  # ESRCH: it was waited for
            return False
        self.t_ns = time.monotonic_ns()
        rss = _number(status, b"\nVmRSS:") << 10
        if not rss:  # of a zombie
            return False
        self.name = status[6 : status.index(b"\n")].decode("utf-8", "replace")
        self.threads = _number(status, b"\nThreads:")
        if self.borrowed or not self.mark:
            # A subprocess begins in its parent's memory, which it leaves by an exec a millisecond
            # later: it would count twice.
            self.borrowed = parent is not None and _shape(status) == parent.shape()
        if not self.borrowed:
            self.rss, self.mark = rss, max(_number(status, b"\nVmHWM:") << 10, rss)
        return True

    def shape(self) -> tuple[bytes, ...]:
        """What two processes that share one memory have in common, and no others."""
        try:
            return _shape(os.pread(self._status, 4096, 0))
        except OSError:
            return ()

    def virtual_peak(self) -> int:
        """The most address space that it had, in bytes; 0 once it has ended."""
        try:
            return _number(os.pread(self._status, 4096, 0), b"\nVmPeak:") << 10
        except OSError:
            return 0

    def find(self) -> tuple[int, ...]:
        """The children of its main thread.

        Raises:
            OSError: it is gone.
        """
        text = os.pread(self._children, _LIST_BYTES, 0)
        if text != self._last_list[0]:
            self._last_list = text, _pids(text)
        return self._last_list[1]

    def has_others(self) -> bool:
        """Whether its main thread's children are others than when this was last asked."""
        try:
            text = os.pread(self._children, _LIST_BYTES, 0)
        except OSError:  # gone, closed, or no list
            return False
        before, self._glanced = self._glanced, text
        return text != before

    def find_of_threads(self) -> tuple[int, ...]:
        """The children of its other threads: 10 µs each.

        Raises:
            OSError: it is gone.
        """
        found: list[int] = []
        for thread in os.listdir(f"/proc/{self.pid}/task"):
            if thread != str(self.pid):
                try:
                    found += _pids(_read(f"/proc/{self.pid}/task/{thread}/children"))
                except OSError:  # the thread ended
                    continue
        return tuple(found)

    def close(self) -> None:
        """Close the files."""
        for fd in (self._status, self._children):
            if fd >= 0:
                try:
                    os.close(fd)
                except OSError:
                    pass
        self._status = self._children = -1


def _shape(status: bytes) -> tuple[bytes, ...]:
    """What two processes in one memory have in common; a fork's peak and file pages are its own."""
    return tuple(_line(status, key) for key in (b"\nVmPeak:", b"\nVmSize:", b"\nRssFile:"))


def _line(status: bytes, key: bytes) -> bytes:
    at = status.find(key)
    return status[at + len(key) : status.index(b"\n", at + 1)] if at >= 0 else b""


def _number(status: bytes, key: bytes) -> int:
    at = status.find(key)
    return int(status[at + len(key) :].split(None, 1)[0]) if at >= 0 else 0


def _pids(text: bytes) -> tuple[int, ...]:
    # A list that is longer than what was read is cut in a number.
    if len(text) >= _LIST_BYTES:
        text = text[: text.rindex(b" ") + 1]
    return tuple(map(int, text.split()))


def _held(path: str) -> int:
    return out_of_the_way(os.open(path, os.O_RDONLY | os.O_CLOEXEC))


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, _LIST_BYTES)
    finally:
        os.close(fd)


def _monotonic(ticks: int) -> int:
    """What /proc counts from the boot, with the time asleep, on the clock of a recording."""
    asleep = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
    return ticks * 10**9 // os.sysconf("SC_CLK_TCK") - asleep
