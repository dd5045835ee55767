"""Signals for the launcher that are meant for the program, each passed on once.

A signal may be sent to the launcher alone (``kill PID``, a supervisor) or to all processes of its
group (Ctrl-C, ``kill %1``, ``timeout``, systemd, Slurm): then the program has it already, and a
second one would interrupt its clean-up. Nothing in a signal tells the two apart. So a second child,
the witness, sits in the same group and does nothing; what it has got too went to all.
"""

from __future__ import annotations

import os
import select
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType

FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM")
"""What ends a process if it does nothing, and others send on purpose."""

TOLD_WITHIN_MS = 100
"""How long the witness may take to be told what the launcher was. It takes microseconds, but on a
loaded machine it has to get a processor first."""

FORGOTTEN_NS = 1_000_000_000
"""What the witness got this long ago was no part of a signal that the launcher gets now. Two of a
kind in a row may come to the launcher as one, and what is left of them must not stand for a later
one."""

_STRUCK_BYTES = 9
"""A signal's number in one byte, and when it came in eight."""

GONE = -1


class Forwarding:
    """Inside of a ``with``, signals go to the process that `to` names, and not to this one.

    Those that this process ignores when it begins are left ignored, here and in what it starts.
    """

    def __init__(self) -> None:
        self._pid = 0
        self._early: list[int] = []
        self._before: list[tuple[int, object]] = []
        self._witness = Witness()

    def to(self, pid: int) -> None:
        """Send signals there from now on, those that came before it was known included.

        The process must stay unreaped as long as signals go to it: its number is its own till then.
        """
        self._pid = pid
        for number in self._early:
            _send(pid, number)

    def no_more(self) -> None:
        """The process has ended: what still comes is dropped, and ends nothing of ours."""
        self._pid = GONE

    def __enter__(self) -> Forwarding:
        numbers = [getattr(signal, name) for name in FORWARDED if hasattr(signal, name)]
        numbers = [each for each in numbers if signal.getsignal(each) != signal.SIG_IGN]
        self._before = [(each, signal.getsignal(each)) for each in numbers]
        for number in numbers:
            signal.signal(number, self._forward)
        self._witness.start(numbers)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # First, as it takes a while: a signal meanwhile is still not one for this process.
        self._witness.end()
        for number, handler in self._before:
            # None: it was not set from Python; what ends a process by default does so again.
            signal.signal(number, handler or signal.SIG_DFL)  # type: ignore[arg-type]

    def _forward(self, number: int, frame: FrameType | None) -> None:
        # On Windows Ctrl-C goes to all, and os.kill would end the program without asking it.
        if self._pid == GONE or os.name == "nt" or self._witness.has_got(number):
            return
        if self._pid:
            _send(self._pid, number)
        else:
            self._early.append(number)


class Witness:
    """A child that tells which signals it got. Where none can be had, it never got any."""

    def __init__(self) -> None:
        self._pid = 0
        self._told = self._alive = -1
        self._got: list[tuple[int, int]] = []

    def start(self, numbers: list[int]) -> None:
        """Fork it; no thread of this process may run yet."""
        if not hasattr(os, "fork"):
            return
        ours: list[int] = []
        try:
            self._told, tell = os.pipe()
            ours.append(tell)
            lives, self._alive = os.pipe()
            ours.append(lives)
            self._pid = os.fork()
        except OSError:
            # No more files or processes are allowed here: the program runs all the same.
            self._pid = -1
        if self._pid == 0:
            _witness(numbers, tell, lives, (self._told, self._alive))
        for fd in ours:
            os.close(fd)
        if self._pid < 0:
            self._close()

    def has_got(self, number: int) -> bool:
        """Whether one signal of that number, not asked for before, went to it as well."""
        if self._told < 0:
            return False
        poll = select.poll()
        poll.register(self._told, select.POLLIN)
        try:
            while not self._take(number):
                if not poll.poll(TOLD_WITHIN_MS):
                    return False
                told = os.read(self._told, 7 * _STRUCK_BYTES)
                if not told:
                    # It is gone: from here on all is passed on.
                    self._close()
                    return False
                for at in range(0, len(told), _STRUCK_BYTES):
                    when = int.from_bytes(told[at + 1 : at + _STRUCK_BYTES], "little")
                    self._got.append((told[at], when))
        except (OSError, ValueError):
            # Another signal's handler ran meanwhile, and found it gone, or took what was here.
            return False
        return True

    def _take(self, number: int) -> bool:
        since = time.monotonic_ns() - FORGOTTEN_NS
        self._got = [each for each in self._got if each[1] >= since]
        for each in self._got:
            if each[0] == number:
                self._got.remove(each)
                return True
        return False

    def end(self) -> None:
        """Let it end."""
        self._close()
        if self._pid > 0:
            try:
                os.waitpid(self._pid, 0)
            except ChildProcessError:
                pass

    def _close(self) -> None:
        fds, self._told, self._alive = (self._told, self._alive), -1, -1
        for fd in fds:
            if fd >= 0:
                os.close(fd)


def _witness(numbers: list[int], tell: int, lives: int, others: tuple[int, ...]) -> None:
    """In the child: tell of each signal, until the launcher ends, in whatever way."""
    try:
        # The program's pipes shall end with the program.
        for fd in (0, 1, 2, *others):
            try:
                os.close(fd)
            except OSError:
                pass
        os.set_blocking(tell, False)

        def struck(number: int, frame: FrameType | None) -> None:
            try:
                os.write(tell, bytes([number]) + time.monotonic_ns().to_bytes(8, "little"))
            except OSError:
                pass  # nobody has read for a long time

        for number in numbers:
            signal.signal(number, struck)
        os.read(lives, 1)
    finally:
        os._exit(0)


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        # It has ended, or runs as another user by now.
        pass
