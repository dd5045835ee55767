"""The one way in which the recorder speaks: a line on stderr, which never fails."""

from __future__ import annotations

import sys


def say(sentence: str) -> None:
    """Write one line on stderr, as notebooks, loggers and test runners have replaced it.

    Not `warnings.warn`: under ``-W error`` that would raise into the program that is recorded.
    """
    try:
        sys.stderr.write(f"timeline: {sentence}\n")
    except Exception:
        # None under pythonw, closed or broken elsewhere: then there is nobody to tell.
        pass
