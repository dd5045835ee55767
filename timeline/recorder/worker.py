"""The process beside: samples the process that started it, until that one says stop or is gone.

A thread in the user's process takes no sample while C code holds the GIL (0 to 1 during a
``json.loads`` of seconds); a process takes every one. It is started by `timeline.recorder.spawn`
and speaks with it by two pipes: in come a line of JSON with what to do and a line with how the
recording ended, out go its pid, ``samples`` once it does, and, last, ``done``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import Any

from timeline.recorder.target import Target, words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from timeline.recorder.beside import Beside

LOOK_EVERY_S = 0.1
"""How often to look whether the target lives. Its samples tell when it ended, not this."""

SAMPLES, DONE = b"samples\n", b"done\n"


def main() -> None:
    """Do what the first line on stdin says; what goes wrong is the last line on stdout."""
    _deaf()
    try:
        task = json.loads(_line())
        os.write(1, b"%d\n" % os.getpid())
        beside = _sample(task)
        os.write(1, DONE)
        if hasattr(os, "fork"):  # where there is none, the program waits until this process ends
            # The program waits for the end of this pipe, and not for what comes now.
            os.close(1)
            beside.settle()
    except Exception as error:
        try:
            os.write(1, f"{type(error).__name__}: {error}".encode("utf-8", "replace"))
        except OSError:  # nobody listens any more
            pass
        sys.exit(1)


def _sample(task: dict[str, Any]) -> Beside:
    # Behind our own: a file of the user's program must not stand for a module of the library.
    sys.path += [entry for entry in task.pop("path") if entry not in sys.path]
    target = Target(task["pid"])
    # Imported here, where what goes wrong is told.
    from timeline.recorder.beside import Beside
    from timeline.recorder.overall import Overall

    fd = task.pop("overall")
    beside = Beside(overall=None if fd is None else Overall(fd), **task)
    beside.start()
    try:
        os.write(1, SAMPLES)
    except OSError:  # the program is gone, or has closed every descriptor: record to its end
        pass
    words = _until_told(target)
    if words is None:
        words = {**words_of(target.status()), "waited": False}
    beside.stop(**words)
    return beside


def _until_told(target: Target) -> dict[str, Any] | None:
    """The words that the recording ended with; None if the target went without any."""
    heard: list[bytes] = []
    told = threading.Event()

    def listen() -> None:
        # An end of the pipe without a word says nothing: the program may have closed every
        # descriptor that it found, or have forked a child that holds the other end.
        line = _line()
        if line:
            heard.append(line)
            told.set()

    threading.Thread(target=listen, name="timeline-listen", daemon=True).start()
    while not told.wait(LOOK_EVERY_S):
        if not target.lives():
            # What it said just before it went counts.
            return json.loads(heard[0]) if told.wait(LOOK_EVERY_S) else None
    words: dict[str, Any] = json.loads(heard[0])
    return words


def _line() -> bytes:
    """The next line on stdin, whole; empty at the end of it."""
    line = sys.stdin.buffer.readline()
    return line if line.endswith(b"\n") else b""


def _deaf() -> None:
    """Let Ctrl-C, a closed terminal and a polite end of the job go by: only the target's counts."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"):
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, signal.SIG_IGN)
