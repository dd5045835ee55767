"""Starts the process beside and speaks with it, from the process that is recorded."""

from __future__ import annotations

import os
import select
import sys
import time

from timeline.recorder.reading import out_of_the_way

TYPE_CHECKING = False
if TYPE_CHECKING:
    from subprocess import Popen

START_S = 5.0
"""An interpreter starts in 15 ms; what takes this long is not one, or will be no help."""

BEGIN_S = 20.0
"""From its start to its first sample. A backend that is imported for the first time, from a slow
disk, takes seconds; the program waits for them only where it ends before."""

STOP_S = 2.0
"""The last reading and two small files take milliseconds."""

# It leaves its parent at once, so that the program which is recorded has no child that it did not
# start: os.wait() must not find one. That it could leave also tells that it is a working Python.
_BOOTSTRAP = """\
import os, sys
if hasattr(os, "fork") and os.fork():
    os._exit(0)
sys.path.append(sys.argv[1])
from timeline.recorder.worker import main
main()
"""


class WorkerError(Exception):
    """There is no process beside, and the message says why."""


class Worker:
    """The process beside, from its start to its end. Nothing here waits without a bound."""

    def __init__(self, task: dict[str, object], keep: tuple[int, ...] = ()) -> None:
        """Start it.

        Args:
            task: what it shall do, as `timeline.recorder.worker.main` reads it.
            keep: descriptors that it inherits under the same numbers.

        Raises:
            WorkerError: it cannot be started here.
        """
        import json

        python = interpreter()

        self._heard = b""
        listen, talk = os.pipe()
        hear, answer = os.pipe()
        self._talk, self._hear = out_of_the_way(talk), out_of_the_way(hear)
        try:
            self._process = _spawn(python, listen, answer, keep)
        except BaseException:
            self.abandon()
            raise
        finally:
            os.close(listen)
            os.close(answer)
        line = json.dumps(task).encode("ascii") + b"\n"
        if not self._write(line, START_S):
            self.abandon()
            raise WorkerError("the sampling process does not listen")

    def stop(self, words: dict[str, object]) -> str:
        """Tell it how the recording ended and wait until it has written that down.

        Returns:
            A sentence about what went wrong; empty if nothing did.
        """
        import json

        told = self._write(json.dumps(words).encode("ascii") + b"\n", STOP_S)
        # One that does not sample yet is still starting, after a short recording.
        self._read(0)
        ended = self._read(STOP_S if b"samples\n" in self._heard else BEGIN_S)
        if not ended:
            self._kill()
        self._reap()
        self.abandon()
        if not ended:
            return "the sampling process did not end in time and was killed"
        if self._heard.endswith(b"done\n"):
            return ""
        if not told and not self._heard:
            return "the sampling process cannot be reached: its pipes were closed"
        said_well = (b"%d" % self._pid(), b"samples")
        why = b" ".join(line for line in self._heard.splitlines() if line not in said_well)
        said = f": {why.decode('utf-8', 'replace')}" if why else ""
        return f"the sampling process ended before the recording{said}"

    def abandon(self) -> None:
        """Close this side of the pipes. In a forked child they belong to the parent."""
        talk, self._talk = self._talk, -1
        hear, self._hear = self._hear, -1
        for fd in (talk, hear):
            if fd >= 0:
                try:
                    os.close(fd)
                except OSError:
                    pass

    def _write(self, line: bytes, within_s: float) -> bool:
        # A pipe takes 64 KiB and then makes its writer wait, for a reader that may be stopped.
        end = time.monotonic() + within_s
        try:
            if hasattr(select, "poll"):
                os.set_blocking(self._talk, False)
            while line:
                try:
                    line = line[os.write(self._talk, line) :]
                except BlockingIOError:
                    if time.monotonic() > end:
                        return False
                    time.sleep(0.005)
        except OSError:
            return False
        return True

    def _read(self, within_s: float) -> bool:
        """Listen until it has ended or the time is over. Returns whether it has ended."""
        if not hasattr(select, "poll"):  # Windows: no poll on pipes, and no fork: it is our child
            return self._read_when_ended(within_s)
        end = time.monotonic() + within_s
        poll = select.poll()
        poll.register(self._hear, select.POLLIN)
        while True:
            left_ms = max(0, int(1000 * (end - time.monotonic())))
            if not poll.poll(left_ms):
                return False
            try:
                said = os.read(self._hear, 4096)
            except OSError:
                return True
            if not said:
                return True
            self._heard += said

    def _read_when_ended(self, within_s: float) -> bool:
        from subprocess import TimeoutExpired

        try:
            self._process.wait(within_s)
        except TimeoutExpired:
            return False
        while said := os.read(self._hear, 4096):
            self._heard += said
        return True

    def _kill(self) -> None:
        import signal

        pid = self._pid()
        if not hasattr(os, "fork"):
            self._process.kill()
        elif pid:  # it holds the other end of the pipe, so the number is still its own
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass

    def _pid(self) -> int:
        """Its pid, which is the first that it says; 0 if it has said nothing."""
        first = self._heard.partition(b"\n")[0]
        return int(first) if first.isdigit() else 0

    def _reap(self) -> None:
        """Process 1 of a container inherits what leaves its parent, and would keep a zombie."""
        pid = self._pid()
        if os.getpid() != 1 or not pid:
            return
        for _ in range(20):
            try:
                if os.waitpid(pid, os.WNOHANG)[0]:
                    return
            except OSError:
                return
            time.sleep(0.005)


def interpreter() -> str:
    """The Python that runs this.

    Raises:
        WorkerError: there is none apart from this program; starting a frozen one starts it again.
    """
    if getattr(sys, "frozen", False) or not sys.executable:
        raise WorkerError("this program has no Python interpreter of its own")
    return sys.executable


def python_path() -> list[str]:
    """Where this process finds modules, for a process that shall find the same."""
    return [os.path.abspath(entry) for entry in sys.path if isinstance(entry, str)]


def library_root() -> str:
    """The directory, or the zip file, that holds this package."""
    here = os.path.abspath(__file__)
    return os.path.dirname(os.path.dirname(os.path.dirname(here)))


def _spawn(python: str, stdin: int, stdout: int, keep: tuple[int, ...]) -> Popen[bytes]:
    import subprocess

    try:
        process = subprocess.Popen(
            [python, "-I", "-S", "-c", _BOOTSTRAP, library_root()],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.DEVNULL,
            pass_fds=keep,
            # A session of its own: Ctrl-C and the end of the terminal are for the program.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except (OSError, ValueError) as error:
        raise WorkerError(f"{python} cannot be started ({error})") from None
    if hasattr(os, "fork"):
        try:
            code = process.wait(START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise WorkerError(f"{python} did not start a Python within {START_S:g} s") from None
        if code:
            raise WorkerError(f"{python} is not a working Python (exit code {code})")
    return process
