"""How the children of a process are found, without root and without a hand in the target.

The kernel keeps a list of each thread's children (``/proc/PID/task/TID/children``, where it was
built with CONFIG_PROC_CHILDREN): half a microsecond to read. Elsewhere the parents of all processes
are looked through. Whoever was found once stays known when its parent ends and another adopts it.
"""

from __future__ import annotations

import os
import time

from timeline.recording.alive import stat_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Protocol

    from timeline.recorder.processes.member import Member

    class Finder(Protocol):
        """One way of finding children.

        Attributes:
            whole: whether a child that the last `find` did not give is gone, or will not be given
                again.
        """

        whole: bool

        def find(self, members: Mapping[int, Member], *, all: bool) -> Iterator[tuple[int, int]]:
            """Children of these processes, each new one at least, as ``parent, child``.

            Members that are added for what comes out, while it does, are looked at as well.

            Args:
                members: by pid.
                all: whether to ask those too that never had a child.
            """


THREADS_SHARE = 0.002
"""Of a CPU, for the children of threads other than the main one: a process that computes has one
thread a core, 10 µs each, and seldom any of these has a child."""

SAVED_S = 5
"""What a share earns in so many seconds may be saved for when something happens."""

SCAN_SHARE = 0.005
"""Of a CPU, for looking through all processes, 15 µs each that is new."""


def best_finder() -> Finder:
    """The one for this kernel."""
    pid = os.getpid()
    return ByLists() if os.path.exists(f"/proc/{pid}/task/{pid}/children") else ByParents()


class Paced:
    """Says when something dear may be done again, so that it keeps to its share of a CPU."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._most = self._left = share * SAVED_S * 1e9
        self._looked_ns = time.monotonic_ns()
        self._began_ns = 0

    def begins(self) -> bool:
        """Whether it may be done now."""
        now = time.monotonic_ns()
        self._left = min(self._left + self._share * (now - self._looked_ns), self._most)
        self._looked_ns = now
        self._began_ns = time.thread_time_ns()
        return self._left >= 0

    def earned_in(self) -> int:
        """How long until it may be done, in nanoseconds; 0 where it may now."""
        return max(int(-self._left / self._share), 0)

    def ended(self) -> None:
        """It was done."""
        self._left -= time.thread_time_ns() - self._began_ns


class ByLists:
    """By the kernel's lists of children."""

    def __init__(self) -> None:
        self.whole = False
        self._paced = Paced(THREADS_SHARE)

    def find(self, members: Mapping[int, Member], *, all: bool) -> Iterator[tuple[int, int]]:
        """See `Finder`."""
        self.whole = all and self._paced.begins()
        done = 0
        while done < len(members):
            # Those that were added meanwhile stand at the end.
            new = list(members.values())[done:]
            done += len(new)
            for member in new:
                if all or member.bears or not member.asked:
                    for child in _listed(member, self.whole):
                        yield member.pid, child
        if self.whole:
            self._paced.ended()


def _listed(member: Member, threads: bool) -> Iterable[int]:
    member.asked = True
    try:
        found = member.find()
        return (*found, *member.find_of_threads()) if threads and member.threads > 1 else found
    except OSError:  # it has ended
        return ()


class ByParents:
    """By asking each process for its parent; each once, since a stranger stays one."""

    def __init__(self) -> None:
        self.whole = True
        self._paced = Paced(SCAN_SHARE)
        self._asked: set[int] = set()

    def find(self, members: Mapping[int, Member], *, all: bool) -> Iterator[tuple[int, int]]:
        """See `Finder`."""
        if not self._paced.begins():
            return
        there = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        parents = {pid: _parent(pid) for pid in there - self._asked}
        self._asked = there
        family = set(members)
        for pid in parents:
            # Up to somebody known: a whole branch may have come since the last look.
            branch = []
            while pid in parents and pid not in family:
                branch.append(pid)
                pid = parents[pid]
            if pid in family:
                family.update(branch)
                yield from ((parents[child], child) for child in reversed(branch))
        self._paced.ended()


def _parent(pid: int) -> int:
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return int(stat_fields(os.read(fd, 1024))[1])
        finally:
            os.close(fd)
    except (OSError, ValueError, IndexError):
        return 0
