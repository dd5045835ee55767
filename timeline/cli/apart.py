"""Showing a recording in a process apart, whose end is not that of the program."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable

from timeline.recorder.say import say

_shows = -1

_AT_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG


def apart(show: Callable[[], None], directory: str) -> None:
    """Call `show` in a forked child and wait for it; in this process where there is none to be had.

    What it imports may end the process that it is in: OpenBLAS calls ``exit(1)`` where the program
    was given too little address space for its threads (``ulimit -v``), and the OOM killer takes
    whoever asked last. The exit code is the program's all the same.

    Args:
        show: prints and writes, and says itself what it cannot.
        directory: of the recording, for the sentence where the child did not come to its end.
    """
    global _shows
    if sys.platform != "linux":  # elsewhere a fork may break what the system's libraries hold
        show()
        return
    # Ctrl-C is for one of the two, and not for the child before it knows that it is not.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        parent = os.getpid()
        _shows = os.fork()
        if _shows == 0:
            _child(show, parent)
    except OSError:
        _shows = -1
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if _shows < 0:
        show()
        return
    try:
        _, status = os.waitpid(_shows, 0)
    except ChildProcessError:  # something else in this process took it
        status = 0
    _shows = -1
    code = os.waitstatus_to_exitcode(status)
    if code:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        say(f"not all could be shown: the process that makes table and charts ended by {how}")
        say(f"recorded in {directory}; timeline report {directory} tries again")


def end_at_once() -> None:
    """End the child, where there is one that shows."""
    if _shows > 0:
        try:
            os.kill(_shows, signal.SIGKILL)
        except OSError:
            pass


def _child(show: Callable[[], None], parent: int) -> None:
    """Show, and end without what the process before has registered for its own end."""
    code = 1
    try:
        _end_with(parent)
        # The one that waits answers Ctrl-C, ends this process and says so.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        atexit._clear()
        # Its threads' buffers are address space, and nothing shown multiplies matrices.
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        show()
        code = 0
        atexit._run_exitfuncs()  # matplotlib's removes a directory
        if sys.stderr is not None:
            sys.stderr.flush()
    except OSError:
        pass  # nobody reads it any more
    finally:
        os._exit(code)


def _end_with(parent: int) -> None:
    """Be killed when the parent ends: its pipes are not to stay open, and its directory may be
    another's by then."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(_AT_PARENTS_DEATH, signal.SIGKILL)
    except (ImportError, OSError, AttributeError):
        return
    if os.getppid() != parent:  # it was too late
        os._exit(1)
