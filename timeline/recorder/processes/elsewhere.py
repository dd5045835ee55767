"""The target with its children by psutil, where the files of Linux are not."""

from __future__ import annotations

import time

import psutil

from timeline.recorder.processes.member import LONGEST_COMMAND

TYPE_CHECKING = False
if TYPE_CHECKING:
    from timeline.recorder.processes.ledger import Ledger


class PsutilMember:
    """A process by psutil, with the attributes of `timeline.recorder.processes.member.Member`."""

    forked = borrowed = False

    def __init__(self, process: psutil.Process, number: int, up: int) -> None:
        """Look it up.

        Raises:
            psutil.Error: it is gone, or cannot be read.
        """
        self.process = process
        self.pid = process.pid
        self.number = number
        self.up = up
        self.rss = self.mark = self.t_ns = 0
        with process.oneshot():
            self.name = process.name()
            ago_s = time.time() - process.create_time()
            try:
                text = " ".join(process.cmdline())
            except psutil.Error:  # another user's
                text = self.name
        self.command = text if len(text) <= LONGEST_COMMAND else text[: LONGEST_COMMAND - 1] + "…"
        self.began_ns = max(time.monotonic_ns() - int(ago_s * 1e9), 0)

    def read(self) -> bool:
        """Read its RSS. Returns False once it has ended."""
        try:
            rss = int(self.process.memory_info().rss)
        except (psutil.Error, OSError):
            return False
        self.t_ns = time.monotonic_ns()
        # The largest that was seen stands for the mark that psutil does not know.
        self.rss, self.mark = rss, max(self.mark, rss)
        return rss > 0


class PsutilFamily:
    """Finds and reads as `timeline.recorder.processes.family.Family` does, which see."""

    def __init__(self, pid: int, ledger: Ledger) -> None:
        """Find the target; no child yet.

        Raises:
            OSError: it is gone, or cannot be read.
        """
        try:
            self.target = PsutilMember(psutil.Process(pid), 0, 0)
        except psutil.Error as error:
            raise ProcessLookupError(str(error)) from None
        self.tells = self.told = False
        self._ledger = ledger
        self._members: dict[int, PsutilMember] = {}
        self.numbers = 0
        self.living: tuple[PsutilMember, ...] = ()
        self.most = self.unread = self.hidden = 0
        self.capped = ""

    def look(self, *, all: bool) -> bool:
        """Find new children where ``all`` is true, for it looks through all processes."""
        before = self.numbers
        if all:
            try:
                found = self.target.process.children(recursive=True)
            except (psutil.Error, OSError):
                return False
            for process in found:
                known = self._members.get(process.pid)
                # Equal processes have the same number and the same beginning.
                if known is None or known.process != process:
                    self._add(process)
        return self.numbers > before

    def stirs(self) -> bool:
        """Nothing tells."""
        return False

    def alive(self) -> bool:
        """Whether the target is; it is read."""
        return self.target.read()

    def read(self) -> int | None:
        """Read the target and all children. Returns the target's RSS; None once it has ended."""
        if not self.target.read():
            return None
        for member in self.living:
            if member.read():
                self._ledger.reads(member)
            else:
                self._ledger.goes(member, time.monotonic_ns())
                if self._members.get(member.pid) is member:
                    del self._members[member.pid]
        self.living = tuple(self._members.values())
        return self.target.rss

    def close(self) -> None:
        """Nothing is held open."""
        self.living = ()

    def _add(self, process: psutil.Process) -> None:
        try:
            parent = self._members.get(process.ppid())
            member = PsutilMember(process, self.numbers + 1, parent.number if parent else 0)
        except psutil.AccessDenied:
            self.hidden += 1
            return
        except (psutil.Error, OSError):
            self.unread += 1
            return
        if not member.read():
            return
        self.numbers += 1
        self._members[process.pid] = member
        self.living = tuple(self._members.values())
        self.most = max(self.most, len(self.living))
        self._ledger.comes(member)
        self._ledger.reads(member)
