"""Which processes belong to the target: itself and all that came from it."""

from __future__ import annotations

import os

from timeline.recording.alive import stat_fields

INITIAL_PIDS = "pid:[4026531836]"
"""The kernel's number of the first pid namespace (PROC_PID_INIT_INO)."""

_DEEPEST = 64


class Descent:
    """Answers whether a process is the target or comes from it, by the parents in ``/proc``.

    Attributes:
        foreign: whether processes may have other numbers outside: this is a container.
    """

    def __init__(self, pid: int) -> None:
        """Of the target ``pid``."""
        self._pid = pid
        self._known: dict[int, tuple[str, bool]] = {}
        try:
            self.foreign = os.readlink("/proc/self/ns/pid") != INITIAL_PIDS
        except OSError:
            self.foreign = False

    def holds(self, pid: int) -> bool:
        """Whether that process is the target or a descendant of it; not, where it has ended."""
        if pid == self._pid:
            return True
        parent, born = _parent(pid)
        if not parent:
            return False
        # One whose parent has ended becomes another's child: what it was first counts.
        known = self._known.get(pid)
        if known is not None and known[0] == born:
            return known[1]
        found = False
        for _ in range(_DEEPEST):
            if parent == self._pid or parent <= 1:
                found = parent == self._pid
                break
            parent, _ = _parent(parent)
        self._known[pid] = born, found
        return found


def _parent(pid: int) -> tuple[int, str]:
    """A process's parent and when it was born; 0 for one that is not there."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = stat_fields(file.read())
        return int(fields[1]), fields[19].decode("ascii")
    except (OSError, ValueError, IndexError):
        return 0, ""
