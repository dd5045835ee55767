"""What the host's sampler waits by: a timer of the kernel, or the clock."""

from __future__ import annotations

import functools
import os
import struct
import time

from timeline.recorder.told import Told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LEAST_NS = 1_000_000
"""Below this a reading may well last longer than its interval. By the clock the deadlines that it
misses are left out; by a timer the next reading would follow at once, for ever."""

_MONOTONIC, _CLOSE_ON_EXEC = 1, 0o2000000  # CLOCK_MONOTONIC, TFD_CLOEXEC
_SETTING = struct.Struct("@4l")  # struct itimerspec: the interval, the first expiry
_COUNT_BYTES = 8


class Pace:
    """The deadlines of a sampler, multiples of its interval, until it is told that it is the end.

    To wait for a timer's next expiry is one call of the kernel and nothing of Python: beside a
    training, which keeps the caches to itself, 49 µs of CPU where a lock with a time-out, and the
    sum that says for how long, take 70 to 78 (`benchmarks/README.md`).

    Attributes:
        is_set: whether it was told.
    """

    def __init__(
        self,
        interval_ns: int,
        *,
        timer: bool = True,
        now: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Nothing begins yet.

        Args:
            interval_ns: between two deadlines, over 0.
            timer: whether the kernel's may be used; it has a descriptor, which the program that
                this process belongs to must not close.
            now: the monotonic clock, in nanoseconds.
        """
        self.is_set = False
        self._interval = interval_ns
        self._timer = timer and interval_ns >= LEAST_NS
        self._now = now
        self._told = Told()
        self._fd = -1

    def begin(self) -> Callable[[], object]:
        """The first deadline lies one interval ahead.

        Returns:
            What waits for the next one, or until told. After a time in which nothing could wait
            (the process was stopped) that of the timer returns at once, and then keeps the pace.
        """
        if self._timer:
            self._fd = _started(self._interval)
        if self._fd >= 0:
            if self.is_set:  # before there was a timer to end
                _expire(self._fd)
            return functools.partial(os.read, self._fd, _COUNT_BYTES)
        start, interval, now, wait = self._now(), self._interval, self._now, self._told.wait
        return lambda: wait((interval - (now() - start) % interval) / 1e9)

    def set(self) -> None:
        """Tell that it is the end, from another thread; more than once is once."""
        self.is_set = True
        self._told.set()
        if self._fd >= 0:
            _expire(self._fd)

    def close(self) -> None:
        """Close the timer; nothing may be waiting."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _started(interval_ns: int) -> int:
    """A timer that expires at each interval; -1 where there are none."""
    # 5 ms of imports, in the sampler's thread and after its first row.
    try:
        import ctypes

        if _SETTING.size != 32:  # a system whose kernel may count in other words than its libc
            return -1
        libc = ctypes.CDLL(None)
        fd = int(libc.timerfd_create(_MONOTONIC, _CLOSE_ON_EXEC))
    except (ImportError, OSError, AttributeError):
        return -1
    if fd >= 0 and not _set(fd, interval_ns, interval_ns):
        os.close(fd)
        return -1
    return fd


def _expire(fd: int) -> None:
    """Whoever waits goes on, and nobody waits after."""
    _set(fd, 1, 1)


def _set(fd: int, first_ns: int, interval_ns: int) -> bool:
    import ctypes

    setting = _SETTING.pack(*divmod(interval_ns, 10**9), *divmod(first_ns, 10**9))
    return bool(ctypes.CDLL(None).timerfd_settime(fd, 0, setting, None) == 0)
