"""Writes down which processes there were, and what each had: see docs/format.md."""

from __future__ import annotations

import json
import os

from timeline.recorder.reading import out_of_the_way
from timeline.recording.format import PROCESS_FIELDS, PROCESSES, samples_name
from timeline.recording.writer import SampleWriter
from timeline.refused import why_cut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from timeline.recorder.processes.notices import Account

    class Written(Protocol):
        """What is written of a process; see `timeline.recorder.processes.member.Member`."""

        pid: int
        number: int
        up: int
        name: str
        command: str
        forked: bool
        borrowed: bool
        began_ns: int
        rss: int
        mark: int
        t_ns: int


MOST_WRITTEN = 5000
"""Processes that a recording speaks of one by one, some 400 bytes each; sums are of all."""

WORTH_A_ROW = 256
"""A reading is written once it is off the last written one by this part of it. Most workers keep
what they have: eight of them for a week would be gigabytes."""

LEAST_CHANGE = 64 << 10

NO_PEAK = -1
"""Nobody told what a process had at the most."""


class Ledger:
    """The file of processes and the rows of each. What a full disk ends, ends with a sentence.

    Attributes:
        lost: why writing ended early, as a sentence; empty while all is well.
        beyond: how many processes came after the most that are written.
    """

    def __init__(self, directory: str, *, guest: bool) -> None:
        """Nothing is written before the first process."""
        self._directory = directory
        self._guest = guest
        self._fd = -1
        self._identity: tuple[int, int] | None = None
        self._rows: SampleWriter | None = None
        self._written: dict[int, tuple[int, int]] = {}
        self.lost = ""
        self.beyond = 0

    def comes(self, member: Written) -> None:
        """A process was found."""
        if member.number > MOST_WRITTEN:
            self.beyond += 1
            return
        if self._rows is None and not self.lost:
            self._open()
        self._line("found", member, pid=member.pid, up=member.up, began=member.began_ns)

    def becomes(self, member: Written) -> None:
        """It runs another program now."""
        self._line("runs", member)

    def goes(
        self,
        member: Written,
        t_ns: int,
        peak: int = NO_PEAK,
        account: Account | None = None,
        signal: str | None = None,
    ) -> None:
        """It has ended; where the kernel told so, with the most that it had, and what it was last.

        Args:
            member: who.
            t_ns: when, monotonic.
            peak: in bytes.
            account: the kernel's; it ran another program by then than when it was read.
            signal: the name of the one that killed it.
        """
        told: dict[str, object] = {"peak": peak} if peak != NO_PEAK else {}
        if account is not None and account.name and account.name != member.name:
            told["name"] = account.name
        if account is not None and account.forked != member.forked:
            told["forked"] = account.forked
        if signal:
            told["signal"] = signal
        self._write(member, {"k": "gone", "i": member.number, "t": t_ns, **told})
        self._written.pop(member.number, None)

    def reads(self, member: Written) -> None:
        """It was read; a row is written where that says something new."""
        if member.number > MOST_WRITTEN or self._rows is None or member.borrowed:
            return
        rss, mark = self._written.get(member.number, (-1, -1))
        off = abs(member.rss - rss)
        if rss < 0 or mark != member.mark or off > max(LEAST_CHANGE, rss // WORTH_A_ROW):
            self._written[member.number] = member.rss, member.mark
            if not self._rows.append(member.t_ns, member.number, member.rss, member.mark):
                self.lost = self.lost or self._rows.lost

    def close(self) -> None:
        """Close the files."""
        if self._rows is not None:
            self._rows.close()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            try:
                os.close(fd)
            except OSError:
                pass

    def _open(self) -> None:
        path = os.path.join(self._directory, PROCESSES)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
        flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        try:
            self._fd = out_of_the_way(os.open(path, flags, 0o644))
            self._identity = _identity(self._fd)
            rows = os.path.join(self._directory, samples_name("processes"))
            self._rows = SampleWriter(rows, PROCESS_FIELDS, guest=self._guest)
        except Exception as error:
            self._end(str(error))

    def _line(self, kind: str, member: Written, **more: int) -> None:
        self._write(
            member,
            {
                "k": kind,
                "i": member.number,
                "t": member.t_ns,
                **more,
                "name": member.name,
                "command": member.command,
                "forked": member.forked,
            },
        )

    def _write(self, member: Written, line: dict[str, object]) -> None:
        if member.number > MOST_WRITTEN or self._fd < 0:
            return
        text = json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"
        try:
            # A program that closes all it finds, with us as its guest, may have another file there.
            if self._guest and _identity(self._fd) != self._identity:
                self._fd = -1
                self._end("the program closed the file")
            elif os.write(self._fd, text) < len(text):
                self._end(why_cut(self._fd))
        except OSError as error:
            self._end(str(error.strerror))

    def _end(self, why: str) -> None:
        self.lost = self.lost or f"{PROCESSES} ends early: {why.lower()}"
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino
