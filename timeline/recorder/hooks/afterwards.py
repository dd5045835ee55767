"""The heap in the steps after the weighed one, now and then: how much of it malloc keeps by then.

A later step may go higher than the weighed one with the same in use, because by then malloc keeps
more. Only a look at the heap can tell that, and one costs as much as a mark. So there is one where
a phase begins and one where it ends, for a thousandth of the time at the most, and both are written
where the heap has become larger than in every earlier instance of that phase.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from timeline.recorder.hooks.nesting import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from timeline.recorder.session import Open, Session

State = tuple[int, int, int]
"""Bytes in use and free of the heap, and mapped from files or shared."""

SHARE = 1000
"""One part of so many is the most of the time that it takes."""

AT_ONCE_NS = 2_000_000
"""It may take so long before any time has gone by."""

LARGER = 256 << 10
"""By so much a heap must have grown to be written again."""


class Afterwards:
    """Knows what it has spent, and how large the heap was at most by phase."""

    def __init__(self, session: Session, paths: set[str], state: Callable[[], State]) -> None:
        """``state`` gives the heap's now; ``paths`` are the phases that were weighed."""
        self.paths = paths
        self._session = session
        self._state = state
        self._since_ns = time.monotonic_ns()
        self._spent_ns = 0
        self._largest: dict[str, int] = {}

    def look(self) -> State | None:
        """The heap now; None where enough was spent, or where it cannot be read."""
        since = time.monotonic_ns() - self._since_ns
        if self._spent_ns > AT_ONCE_NS + since // SHARE:
            return None
        # By the thread's own time: on a busy machine another process may run in the midst of it.
        began = time.thread_time_ns()
        try:
            state = self._state()
        except (OSError, ValueError, IndexError):  # a program that closes every descriptor
            self.paths.clear()
            return None
        self._spent_ns += time.thread_time_ns() - began
        return state

    def ends(self, path: str, number: int, begin: State) -> None:
        """A phase ends that began with the heap so."""
        end = self.look()
        if end is None:
            return
        size = max(begin[0] + begin[1], end[0] + end[1])
        if size >= self._largest.get(path, 0) + LARGER:
            self._largest[path] = size
            self._session.heap(number, begin, end)


class Looking(Watch):
    """Looks at the heap where a phase begins and ends."""

    __slots__ = ("_afterwards", "_begin", "_number", "_path")

    def __init__(self, afterwards: Afterwards) -> None:
        self._afterwards = afterwards
        self._begin: Any = None

    def begin(self, path: str, detail: str, opened: Open) -> bool:
        """The phase has begun."""
        if path in self._afterwards.paths:
            self._path, self._number = path, opened.number
            self._begin = self._afterwards.look()
        return False

    def end(self) -> None:
        """The phase is about to end."""
        if self._begin is not None:
            self._afterwards.ends(self._path, self._number, self._begin)
