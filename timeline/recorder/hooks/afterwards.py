"""The heap in the steps after the weighed one, now and then: how much of it malloc keeps by then.

A later step may go higher than the weighed one with the same in use, because by then malloc keeps
more. Only a look at the heap can tell that, and it takes some 100 us, since malloc goes through all
of its free blocks. So there is one where a forward or backward begins, for a 1500th of the time at
the most; and one where a phase ends that went higher than every earlier one of its path, for a
3000th. That look also asks how large the heap has ever been: what a phase took of it for a moment
and gave back to the system before its end is in no other figure.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from timeline.recorder.hooks.nesting import Watch
from timeline.recorder.hooks.sampled import Sampled

if TYPE_CHECKING:
    from collections.abc import Callable

    from timeline.recorder.hooks.resident import Resident
    from timeline.recorder.session import Open, Session

Read = TypeVar("Read")

State = tuple[int, int, int]
"""Bytes in use and free of the heap, and mapped from files or shared."""

UNKNOWN = (-1, -1, -1)

FOR_BEGINS, FOR_RECORDS = 1500, 3000
"""One part of so many is the most of the time that looks take, as phases begin and at records."""

AT_ONCE_NS = 1_000_000
"""Each may take so long before any time has gone by."""

ASKING_NS = 10_000
"""How high a phase went is asked for in about that time; to measure it would take as long."""

LARGER = 256 << 10
"""By so much a phase must have gone higher to be looked at again."""


class Purse:
    """Time that may be spent, and was."""

    __slots__ = ("_share", "_since_ns", "spent_ns")

    def __init__(self, share: int) -> None:
        """One part of ``share`` parts of all time from now on."""
        self._share = share
        self._since_ns = time.monotonic_ns()
        self.spent_ns = 0

    def is_empty(self) -> bool:
        """Whether enough was spent."""
        return time.monotonic_ns() < self.empty_until_ns()

    def empty_until_ns(self) -> int:
        """The time from which there is something in it."""
        return self._since_ns + (self.spent_ns - AT_ONCE_NS) * self._share


class Afterwards:
    """Knows what it has spent, and how high each phase went at most."""

    def __init__(
        self,
        session: Session,
        highest: dict[str, int],
        resident: Resident,
    ) -> None:
        """Begin.

        Args:
            session: to be written to.
            highest: of the phases that were weighed, how high each went.
            resident: is read.
        """
        self.highest = highest
        self._session = session
        self._resident = resident
        self._sampled = Sampled(session.directory)
        self._for_begins, self._for_records = Purse(FOR_BEGINS), Purse(FOR_RECORDS)
        self._idle_until_ns = 0

    def is_idle(self) -> bool:
        """Whether there is no time left for a look at a phase that begins now."""
        return time.monotonic_ns() < self._idle_until_ns

    def begins(self, path: str) -> State | None:
        """A phase begins; the heap of now where that is wanted and there is time left for it."""
        if path not in self.highest:
            return None
        if not self._for_records.is_empty():
            self._sampled.begin()
        # An optimizer's step leaves all as it was, and a loss is brief.
        if not path.endswith(("forward", "backward")) or self._for_begins.is_empty():
            return None
        return self._paid(self._for_begins, self._resident.state)

    def ends(self, path: str, number: int, begin: State | None) -> None:
        """A phase ends, and is looked at if it went higher than all before it."""
        records = self._for_records
        known = self.highest.get(path)
        if known is None or records.is_empty():
            self._idle_until_ns = min(records.empty_until_ns(), self._for_begins.empty_until_ns())
            return
        records.spent_ns += ASKING_NS
        try:
            high = max(self._resident.highest(), self._sampled.highest())
        except (OSError, ValueError, IndexError):
            self.close()
            return
        if high < known + LARGER:
            return
        self.highest[path] = high
        seen = self._paid(self._for_records, self._record)
        if seen is not None:
            self._session.heap(number, begin or UNKNOWN, *seen)

    def close(self) -> None:
        """Look no more."""
        self.highest.clear()
        self._sampled.close()

    def _paid(self, purse: Purse, read: Callable[[], Read]) -> Read | None:
        began = time.thread_time_ns()
        try:
            return read()
        except (OSError, ValueError, IndexError):  # a program that closes every descriptor
            self.close()
            return None
        finally:
            # By the thread's own time: on a busy machine another process may run meanwhile.
            purse.spent_ns += time.thread_time_ns() - began

    def _record(self) -> tuple[State, int]:
        return self._resident.state(), self._resident.largest()


class Looking(Watch):
    """Has the heap looked at where a phase begins and ends."""

    __slots__ = ("_afterwards", "_begin", "_number", "_path")

    def __init__(self, afterwards: Afterwards) -> None:
        self._afterwards = afterwards
        self._begin: Any = None

    def begin(self, path: str, detail: str, opened: Open) -> bool:
        """The phase has begun."""
        self._path, self._number = path, opened.number
        self._begin = self._afterwards.begins(path)
        return False

    def end(self) -> None:
        """The phase is about to end."""
        self._afterwards.ends(self._path, self._number, self._begin)
