"""Signals that would end this process while it has another at work, and files that are to go."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import suppress
from types import FrameType, TracebackType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class Ends:
    """While open, a signal ends the process that was started, and nothing else.

    What waits for that process then goes on as after any end of its, and puts away what it made.
    The signal is delivered once more as the context closes, to whoever would have had it. So no
    exception comes from anywhere, and a second signal cannot stop the putting away. One that is
    ignored, as ``nohup`` has it, stays ignored. Only the main thread can be told of signals: in
    another nothing changes.

    Attributes:
        came: the first signal, while it waits to be delivered; None if there was none.
    """

    def __init__(self) -> None:
        self.came: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Ends:
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, each, None) for each in _NAMES):
                # None: it was set by other code than Python's, and could not be set back.
                if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]
        if self.came is not None:
            signal.raise_signal(self.came)

    def started(self, process: subprocess.Popen[bytes]) -> None:
        """This one, which leads a process group, is to end at a signal; at once if one came."""
        self._process = process
        if self.came is not None:
            self.end()

    def end(self) -> None:
        """Kill the process and its group, unless it has ended."""
        if self._process is not None and self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.came is None:
            self.came = number
        self.end()
