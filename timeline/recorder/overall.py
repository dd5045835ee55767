"""The true peak of a program whose high-water mark is reset while it runs.

`resource.getrusage` would show a program only what it reached since the last reset. So the sampler
keeps the largest mark that it took in a few bytes of memory that the program can read, and there
`resource.getrusage` is replaced by a function that knows them.
"""

from __future__ import annotations

import os

from timeline.recorder.reading import out_of_the_way

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from timeline.recorder.reading import OwnMemory

_MAGIC = b"timeline"
_BYTES = len(_MAGIC) + 8


class Overall:
    """The largest high-water mark so far, in a file in memory that two processes share.

    Not mapped: Python's mmap keeps a descriptor with a low number, and closes that number at the
    end, whoever has it by then.

    Attributes:
        fd: by which another process that inherits it can open the same; -1 once closed.
    """

    def __init__(self, fd: int) -> None:
        """Take over a descriptor from `make_overall`, which an exec will close."""
        os.set_inheritable(fd, False)
        self.fd = out_of_the_way(fd)
        self._noted = 0

    @property
    def bytes(self) -> int:
        """The largest noted so far; 0 before the first, and where it cannot be read any more."""
        try:
            held = os.pread(self.fd, _BYTES, 0)
        except OSError:
            return 0
        # A program that closed all it found may have a file of its own under the number.
        return int.from_bytes(held[len(_MAGIC) :], "little") if held.startswith(_MAGIC) else 0

    def note(self, high: int) -> None:
        """Keep a high-water mark, in bytes, if it is the largest."""
        if high <= self._noted:  # mostly, and a look at the file would cost 8 µs
            return
        self._noted = high
        if high > self.bytes:
            try:
                os.pwrite(self.fd, _MAGIC + high.to_bytes(8, "little"), 0)
            except OSError:
                pass

    def close(self) -> None:
        """Close the descriptor. Later calls of any method do nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            try:
                os.close(fd)
            except OSError:  # by a program that closes all it finds
                pass


def make_overall() -> Overall | None:
    """A new one at 0; None where the system has no such files, which is off Linux."""
    if not hasattr(os, "memfd_create"):
        return None
    try:
        return Overall(os.memfd_create("timeline"))
    except OSError:
        return None


def replace_getrusage(
    own: OwnMemory, overall: Overall | None, *, launched: bool = False
) -> Callable[[], None]:
    """Make `resource.getrusage` tell this process's true peak, here and not in forked children.

    Args:
        own: the marks' readings.
        overall: the sampler's, where there is one.
        launched: whether this process was started by our launcher. It then has inherited the
            launcher's ru_maxrss, which under plain Python it would not have.

    Returns:
        What ends it. Where the kernel's own figure has become too small by then, the function
        stays: it knows what was reached, and reads no recording any more.
    """
    import resource

    # After an earlier recording: its function gives way to this one, which knows what that knew.
    real = getattr(resource.getrusage, "real", resource.getrusage)
    reached_kib = getattr(resource.getrusage, "reached_kib", int)()
    pid = os.getpid()
    whole = {resource.RUSAGE_SELF, getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)}
    inherited_kib = real(resource.RUSAGE_SELF).ru_maxrss if launched else 0
    recording = True

    def reached() -> int:
        if not recording:
            return int(reached_kib)
        noted = max(own.overall, overall.bytes if overall is not None else 0)
        return int(max(reached_kib, noted >> 10))

    def getrusage(who: int, /) -> resource.struct_rusage:
        usage = real(who)
        if who not in whole or os.getpid() != pid:
            return usage
        peak_kib = usage.ru_maxrss
        if peak_kib <= inherited_kib:
            peak_kib = high_water_kib() or peak_kib
        return resource.struct_rusage((*usage[:2], max(peak_kib, reached()), *usage[3:]))

    described: Any = getrusage
    described.__qualname__, described.__module__ = real.__qualname__, real.__module__
    described.__doc__ = real.__doc__
    described.real, described.reached_kib = real, reached
    resource.getrusage = getrusage

    def end() -> None:
        nonlocal reached_kib, recording
        reached_kib, recording = reached(), False
        if resource.getrusage is getrusage and real(resource.RUSAGE_SELF).ru_maxrss >= reached_kib:
            resource.getrusage = real

    return end


def high_water_kib() -> int:
    """This process's ``VmHWM`` in KiB, without what ``ru_maxrss`` inherits; 0 where not known."""
    try:
        fd = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
        try:
            status = os.read(fd, 4096)
        finally:
            os.close(fd)
        return int(status.split(b"VmHWM:", 1)[1].split(None, 1)[0])
    except (OSError, ValueError, IndexError):
        return 0
