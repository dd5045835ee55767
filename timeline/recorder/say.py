"""The one way in which the recorder speaks: a line on stderr, which never fails."""

from __future__ import annotations

import os
import sys


def say(sentence: str) -> None:
    """Write one line on stderr, as notebooks, loggers and test runners have replaced it.

    Not `warnings.warn`: under ``-W error`` that would raise into the program that is recorded.
    """
    stream = sys.stderr
    try:
        if hasattr(stream, "fileno") and not _is_open(stream.fileno()):
            return
    except Exception:
        pass  # one that is no file, as in a notebook
    try:
        stream.write(f"timeline: {sentence}\n")
    except Exception:
        # None under pythonw, closed or broken elsewhere: then there is nobody to tell.
        pass


def _is_open(fd: int) -> bool:
    # What was written to a closed one stays in the stream's buffer, and when the interpreter
    # fails to write it at its end the exit code becomes 120.
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
