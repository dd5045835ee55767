"""The target with its children and theirs, as they come and go."""

from __future__ import annotations

import os
import time

from timeline.recorder.processes.finding import ByLists, best_finder
from timeline.recorder.processes.kin import MOST_LOSSES, Brief, Kin
from timeline.recorder.processes.ledger import NO_PEAK
from timeline.recorder.processes.member import Member
from timeline.recorder.processes.notices import BEGAN, ENDED
from timeline.recorder.target import name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from timeline.recorder.processes.ledger import Ledger
    from timeline.recorder.processes.notices import Account

MOST_AT_ONCE = 400
"""Processes that are read at once: two descriptors each, of the 1024 that a process usually may
have, and 10 µs a reading. A fork bomb is not followed further, and a sentence says so."""

YOUNG_NS = 200_000_000

MOST_OF_A_GUEST = 100
"""In a thread of the target, whose descriptors these are."""


class Family:
    """Finds and reads the processes. It belongs to one thread; ``living`` may be read by any.

    Attributes:
        stirs: whether the target's own children are others than when this was last asked, or a
            child has some, which may be. Never raises; one thread may ask while another looks.
        tells: whether `stirs` tells something: the kernel keeps lists of children, or gives notice.
        told: whether the kernel gave notice of every beginning and end, so that ``unread`` is all.
        living: the children, each with its last reading, oldest first.
        most: how many lived at once.
        numbers: how many there were, each with its number from 1 on.
        unread: how many were gone before they could be read.
        hidden: how many processes of others may not be looked at.
        status: what ``wait`` gives of the target, by the kernel's notice; None where it gave none.
        capped: why not all that were there at once are read; empty where they are.
    """

    def __init__(self, pid: int, ledger: Ledger, *, guest: bool = False) -> None:
        """Find the target; no child yet.

        Raises:
            OSError: it is gone, or cannot be read.
        """
        # First: who comes while the others are looked for is not missed.
        self._kin = None if guest else _kin_of(pid)
        self.told = self._kin is not None
        self._heard_of_all = 0
        self._briefs: dict[int, Brief] = {}
        self._finder = best_finder()
        self._lists = isinstance(self._finder, ByLists)
        self.tells = self._lists or self.told
        # Not a method that asks another: it is called where nothing of Python is in the caches.
        self.stirs = self._kin.stirs if self._kin is not None else self._listed_anew
        self._ledger = ledger
        self._cap = MOST_OF_A_GUEST if guest else MOST_AT_ONCE
        try:
            self.target = Member(pid, 0, 0, lists=self._lists)
        except BaseException:
            if self._kin is not None:
                self._kin.close()
            raise
        self.target.bears = True
        self.target.read(None)  # how many threads it has
        self._members = {pid: self.target}
        # Zombies, and what is hidden from us: listed again and again.
        self._passed: set[int] = set()
        self.numbers = 0
        self._came = 0
        self.living: tuple[Member, ...] = ()
        self.most = 0
        self.unread = 0
        self.hidden = 0
        self.status: int | None = None
        self.capped = ""

    def look(self, *, all: bool) -> bool:
        """Find new children, and read these. Returns whether there are any.

        Args:
            all: whether to ask those too that never had a child.
        """
        before = self._came
        kin = self._kin
        if kin is not None:
            self._hear(kin)
            if self._heard_of_all > kin.lost:
                return self._came > before
            all = True
        seen: set[int] = set()
        for parent, pid in self._finder.find(self._members, all=all):
            seen.add(pid)
            if pid not in self._members and pid not in self._passed:
                self._add(parent, pid)
        if self._finder.whole:
            self._passed &= seen
            if kin is not None:
                self._has_heard_of_all(kin)
        return self._came > before

    def alive(self) -> bool:
        """Whether the target is; it is read."""
        return self.target.read(None)

    def read(self) -> int | None:
        """Read the target and all children. Returns the target's RSS; None once it has ended."""
        if not self.target.read(None):
            return None
        for member in self.living:
            if not self._read(member):
                self._leaves(member)
        return self.target.rss

    def close(self) -> None:
        """Close the files of all."""
        kin, self._kin = self._kin, None
        self.stirs = self._listed_anew
        if kin is not None:
            self._hear(kin)
            kin.close()
        for member in self.living:
            self._read(member)  # they live on, and were last read some looks ago
        self._drop_the_silent()
        for member in self._members.values():
            member.close()
        self._members = {}
        self.living = ()

    def _listed_anew(self) -> bool:
        if self.living and any(member.bears for member in self.living):
            return True
        return self.target.has_others()

    def _hear(self, kin: Kin) -> None:
        """Take the kernel's notices of who began, runs another program, or ended."""
        news = kin.news()
        last = {pid: what for what, _, pid, _ in news}
        for what, t, pid, more in news:
            if what == BEGAN and pid not in self._members:
                self._passed.discard(pid)
                if last[pid] == ENDED:  # by now: there is nothing left to open
                    self._too_late(pid, self._up(more), t)
                else:
                    self._add(more, pid, t)
            elif what == ENDED and pid == self.target.pid:
                self.status = more
            elif what == ENDED:
                self._ends(pid, t, kin.account(pid), more)
            elif pid in self._members:
                self._read(self._members[pid], runs=True)

    def _has_heard_of_all(self, kin: Kin) -> None:
        """Everybody who is there is known; from here on notices alone tell of others."""
        self.told = self.told and not kin.lost
        self._heard_of_all = kin.lost + 1
        self._drop_the_silent()
        for pid in self._members:
            kin.add(pid)
        if kin.lost > MOST_LOSSES:
            self._kin = None
            self.stirs = self._listed_anew
            kin.close()

    def _add(self, parent: int, pid: int, began_ns: int = 0) -> None:
        if len(self._members) > self._cap:
            self.capped = f"there were more than are read (at most {self._cap})"
            return
        up = self._up(parent)
        above = self._members.get(parent, self.target)
        above.bears = True
        try:
            member = Member(pid, self.numbers + 1, up, lists=self._lists)
        except (FileNotFoundError, ProcessLookupError):
            self._not_there(pid, up, began_ns)
            return
        except OSError as error:
            if isinstance(error, PermissionError):
                self._hide(pid)
            else:
                self.capped = f"their files cannot be opened ({error.strerror})"
            return
        if not member.read(above):
            # A zombie: it came and went since the last look.
            member.close()
            self._too_late(pid, up, began_ns)
            return
        self.numbers += 1
        self._came += 1
        self._members[pid] = member
        self.living = (*self.living, member)
        self.most = max(self.most, len(self.living))
        if not member.borrowed:
            self._ledger.comes(member)
            self._ledger.reads(member)

    def _up(self, parent: int) -> int:
        return (self._members.get(parent) or self._briefs.get(parent) or self.target).number

    def _not_there(self, pid: int, up: int, began_ns: int) -> None:
        """Gone since it was listed; or hidden from us, where /proc shows everyone only his own."""
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            self._too_late(pid, up, began_ns)
        except OSError:
            self._hide(pid)
        else:
            self._hide(pid)

    def _too_late(self, pid: int, up: int, began_ns: int) -> None:
        if began_ns:  # the notice of its end comes, too
            self.numbers += 1
            self._briefs[pid] = Brief(pid, self.numbers, up, began_ns)
        else:
            self._passed.add(pid)
            self.unread += 1

    def _ends(self, pid: int, t_ns: int, account: Account | None, status: int) -> None:
        """The kernel says that a process has ended, and how, and perhaps what it had."""
        member = self._members.get(pid)
        signal = name_of(status & 0x7F)
        if member is not None and member.number:
            self._drop(member, t_ns, account, signal)
            return
        brief = self._briefs.pop(pid, None)
        if brief is None:
            return
        if account is None:
            self.unread += 1
            return
        brief.told(account)
        self._ledger.comes(brief)
        self._ledger.goes(brief, t_ns, self._own_peak(brief.up, account), signal=signal)

    def _own_peak(self, up: int, account: Account) -> int:
        """The most that a process had which nobody saw; `NO_PEAK` where it may be its parent's."""
        if account.forked:
            # Of an address space that is larger than its parent's ever was it was the owner.
            above = self._numbered(up)
            most = above.virtual_peak() if above is not None else 0
            if not 0 < most < account.virtual:
                return NO_PEAK
        return account.peak

    def _hide(self, pid: int) -> None:
        self._passed.add(pid)
        self.hidden += 1

    def _read(self, member: Member, *, runs: bool = False) -> bool:
        mark, name, borrowed = member.mark, member.name, member.borrowed
        if not member.read(self._above(member)):
            return False
        if member.borrowed:
            return True
        # A fork becomes another program by exec, mostly at once; a mark that falls tells of new
        # memory, which later only a new program has.
        young = member.t_ns - member.began_ns < YOUNG_NS
        if young and (not member.command or (member.forked and self._kin is None)):
            runs = True
        if runs or borrowed or member.mark < mark or member.name != name:
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
        return self._numbered(member.up) if member.borrowed else None

    def _numbered(self, number: int) -> Member | None:
        return next((each for each in self._members.values() if each.number == number), None)

    def _leaves(self, member: Member) -> None:
        """It has no memory any more."""
        self.living = tuple(each for each in self.living if each is not member)
        if self._kin is None:
            self._drop(member, time.monotonic_ns())
        # Else the kernel gives notice, with the moment and the most that it had.

    def _drop_the_silent(self) -> None:
        """Of their ends notice was lost, or comes too late."""
        for member in list(self._members.values()):
            if member.number and member not in self.living:
                self._drop(member, time.monotonic_ns())
        self.unread += len(self._briefs)
        self._briefs.clear()

    def _drop(
        self,
        member: Member,
        t_ns: int,
        account: Account | None = None,
        signal: str | None = None,
    ) -> None:
        self.living = tuple(each for each in self.living if each is not member)
        t_ns = max(t_ns, member.t_ns)
        if not member.borrowed:
            peak = NO_PEAK if account is None else account.peak
            self._ledger.goes(member, t_ns, peak, account, signal)
        elif account is None:
            self.unread += 1
        else:
            # It lived in its parent's memory whenever it was looked at.
            member.name, member.forked, member.borrowed = account.name, account.forked, False
            self._ledger.comes(member)
            self._ledger.goes(member, t_ns, self._own_peak(member.up, account), signal=signal)
        member.close()
        self._members.pop(member.pid, None)
        if self._kin is None:
            self._passed.add(member.pid)


def _kin_of(pid: int) -> Kin | None:
    """The family by the kernel's notices; None where it gives none."""
    try:
        return Kin(pid)
    except (OSError, AttributeError):  # a Python built without that kind of socket
        return None
