"""The process that is sampled, seen by one that did not start it: whether it lives, how it ended.

How a process ended is told to its parent. To others the kernel tells it by a pidfd, since Linux
6.15 and without any privilege; by the stat of a zombie, as long as its parent has not waited for
it; and by its notices (`timeline.recorder.processes.notices`), where there are any.
"""

from __future__ import annotations

import os
import select
import signal
import time

from timeline.recording.alive import stat_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TELLS_WITHIN_S = 0.5
"""The kernel tells once the parent has waited for it, which takes a shell a millisecond. Some
programs never do, or not soon."""

_ASK_EVERY_S = 0.01

# PIDFD_GET_INFO, PIDFD_INFO_EXIT and the first struct pidfd_info of include/uapi/linux/pidfd.h: the
# mask stands in its first 64 bits, and in its last 32 what wait would give.
_GET_INFO, _INFO_BYTES, _EXIT = 0xC040FF0B, 64, 1 << 3


class Target:
    """The process. A pidfd cannot mean another one."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._pidfd = -1
        self._gone = False
        self._poll: select.poll | None = None
        if hasattr(os, "pidfd_open"):
            try:
                self._pidfd = os.pidfd_open(pid)
            except ProcessLookupError:
                self._gone = True
            except OSError:  # a kernel before 5.3
                pass
            else:
                self._poll = select.poll()
                self._poll.register(self._pidfd, select.POLLIN)

    def lives(self) -> bool:
        """Whether it runs; a zombie does not."""
        if self._gone:
            return False
        if self._poll is not None:
            return not self._poll.poll(0)
        if os.name == "nt":  # there os.kill(pid, 0) is Ctrl-C
            import psutil

            return bool(psutil.pid_exists(self._pid))
        try:
            os.kill(self._pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            pass
        return True

    def status(self) -> int | None:
        """What ``wait`` gave, or will give, to the parent of one that has ended; None if nobody
        tells. The kernel is asked for half a second at the most."""
        if self._pidfd < 0:
            return None
        until = time.monotonic() + TELLS_WITHIN_S
        while True:
            status = _told_by(self._pidfd)
            if status is None:
                status = _told_by_stat(self._pid)
            if status is not None or time.monotonic() > until:
                return status
            time.sleep(_ASK_EVERY_S)


def words_of(status: int | None) -> dict[str, Any]:
    """How a recording ends whose target ended so: ``end``, ``exit_code`` and ``signal`` of
    ``summary.json``. Who went without a word and of whom nobody tells counts as killed."""
    if status is None:
        return {"end": "killed"}
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return {"end": "killed", "signal": name_of(-code)}
    return {"end": "exited", "exit_code": code}


def name_of(number: int) -> str | None:
    """The name of a signal; None for 0."""
    if not number:
        return None
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals between the two that have a name
        return f"signal {number}"


def _told_by(pidfd: int) -> int | None:
    """What the kernel keeps with a pidfd of a process that was waited for."""
    import fcntl
    import struct

    text = bytearray(struct.pack("=Q", _EXIT).ljust(_INFO_BYTES, b"\0"))
    try:
        fcntl.ioctl(pidfd, _GET_INFO, text)
    except OSError:  # a kernel before 6.13, which does not know the question
        return None
    mask, status = struct.unpack("=Q52xi", text)
    return int(status) if mask & _EXIT else None


def _told_by_stat(pid: int) -> int | None:
    """What the stat of a zombie says. A 0 there says nothing: who may not know reads it as well."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = stat_fields(file.read())
        return (int(fields[49]) or None) if fields[0] in (b"Z", b"X") else None
    except (OSError, ValueError, IndexError):
        return None
