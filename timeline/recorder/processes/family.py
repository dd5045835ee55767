"""The target with its children and theirs, as they come and go."""

from __future__ import annotations

import os
import time

from timeline.recorder.processes.finding import ByLists, best_finder
from timeline.recorder.processes.member import Member

TYPE_CHECKING = False
if TYPE_CHECKING:
    from timeline.recorder.processes.ledger import Ledger

MOST_AT_ONCE = 400
"""Processes that are read at once: two descriptors each, of the 1024 that a process usually may
have, and 10 µs a reading. A fork bomb is not followed further, and a sentence says so."""

YOUNG_NS = 200_000_000

MOST_OF_A_GUEST = 100
"""In a thread of the target, whose descriptors these are."""


class Family:
    """Finds and reads the processes. It belongs to one thread; ``living`` may be read by any.

    Attributes:
        lists: whether the kernel keeps lists of children, so that `stirs` tells something.
        living: the children, each with its last reading, oldest first.
        most: how many lived at once.
        unread: how many were gone before they could be read.
        hidden: how many processes of others may not be looked at.
        capped: whether there were more at once than are read.
    """

    def __init__(self, pid: int, ledger: Ledger, *, guest: bool = False) -> None:
        """Find the target; no child yet.

        Raises:
            OSError: it is gone, or cannot be read.
        """
        self._finder = best_finder()
        self.lists = isinstance(self._finder, ByLists)
        self._ledger = ledger
        self._cap = MOST_OF_A_GUEST if guest else MOST_AT_ONCE
        self.target = Member(pid, 0, 0, lists=self.lists)
        self.target.bears = True
        self.target.read(None)  # how many threads it has
        self._members = {pid: self.target}
        # Zombies, and what is hidden from us: listed again and again.
        self._passed: set[int] = set()
        self._numbers = 0
        self.living: tuple[Member, ...] = ()
        self.most = 0
        self.unread = 0
        self.hidden = 0
        self.capped = False

    def look(self, *, all: bool) -> bool:
        """Find new children, and read these. Returns whether there are any.

        Args:
            all: whether to ask those too that never had a child.
        """
        seen: set[int] = set()
        before = self._numbers
        for parent, pid in self._finder.find(self._members, all=all):
            seen.add(pid)
            if pid not in self._members and pid not in self._passed:
                self._add(parent, pid)
        if self._finder.whole:
            self._passed &= seen
        return self._numbers > before

    def stirs(self) -> bool:
        """Whether the target's own children are others than when this was last asked, or a child
        has some, which may be. Never raises; one thread may ask while another looks.
        """
        if self.living and any(member.bears for member in self.living):
            return True
        return self.target.has_others()

    def alive(self) -> bool:
        """Whether the target is; it is read."""
        return self.target.read(None)

    def read(self) -> int | None:
        """Read the target and all children. Returns the target's RSS; None once it has ended."""
        if not self.target.read(None):
            return None
        for member in self.living:
            if not self._read(member):
                self._drop(member)
        return self.target.rss

    def close(self) -> None:
        """Close the files of all."""
        for member in self._members.values():
            member.close()
        self._members = {}
        self.living = ()

    def _add(self, parent: int, pid: int) -> None:
        if len(self._members) > self._cap:
            self.capped = True
            return
        above = self._members.get(parent, self.target)
        above.bears = True
        try:
            member = Member(pid, self._numbers + 1, above.number, lists=self.lists)
        except (FileNotFoundError, ProcessLookupError):
            self._not_there(pid)
            return
        except OSError as error:
            if isinstance(error, PermissionError):
                self._hide(pid)
            else:  # no descriptors left
                self.capped = True
            return
        if not member.read(above):
            # A zombie: it came and went since the last look.
            member.close()
            self._passed.add(pid)
            self.unread += 1
            return
        self._numbers += 1
        self._members[pid] = member
        self.living = (*self.living, member)
        self.most = max(self.most, len(self.living))
        if not member.borrowed:
            self._ledger.comes(member)
            self._ledger.reads(member)

    def _not_there(self, pid: int) -> None:
        """Gone since it was listed; or hidden from us, where /proc shows everyone only his own."""
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            self.unread += 1
        except OSError:
            self._hide(pid)
        else:
            self._hide(pid)

    def _hide(self, pid: int) -> None:
        self._passed.add(pid)
        self.hidden += 1

    def _read(self, member: Member) -> bool:
        mark, name, borrowed = member.mark, member.name, member.borrowed
        if not member.read(self._above(member)):
            return False
        if member.borrowed:
            return True
        # A fork becomes another program by exec, mostly at once; a mark that falls tells of new
        # memory, which later only a new program has.
        young = member.forked and member.t_ns - member.began_ns < YOUNG_NS
        if young or borrowed or member.mark < mark or member.name != name:
            self._look_again(member, name, new=borrowed)
        self._ledger.reads(member)
        return True

    def _look_again(self, member: Member, name: str, *, new: bool) -> None:
        try:
            another = member.look_again() or member.name != name
        except OSError:  # it ends with the next reading
            another = False
        if new:
            self._ledger.comes(member)
        elif another:
            self._ledger.becomes(member)

    def _above(self, member: Member) -> Member | None:
        if not member.borrowed:
            return None
        above = (each for each in self._members.values() if each.number == member.up)
        return next(above, None)

    def _drop(self, member: Member) -> None:
        if member.borrowed:
            self.unread += 1
        else:
            self._ledger.goes(member, time.monotonic_ns())
        member.close()
        self._members.pop(member.pid, None)
        self._passed.add(member.pid)
        self.living = tuple(each for each in self.living if each is not member)
