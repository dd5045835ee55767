"""Checks what a `Recorder` was asked for, before anything happens."""

from __future__ import annotations

import os

from timeline.errors import UsageError

LONGEST_INTERVAL_S = 3600.0

AUTO = -1
"""An early step is weighed, in no longer than it takes by itself: the second, since the first has
no optimizer state before it, and libraries make their code in it; or the third."""

DEFAULT_STEP = "auto"

_OFF = ("off", "0")


def checked_interval(interval_s: object) -> int:
    """The interval in nanoseconds.

    Raises:
        UsageError: it is no number of seconds over 0, or longer than an hour.
    """
    # Not isinstance of numbers.Real: numpy's floats convert, and text must not.
    seconds = -1.0
    if not isinstance(interval_s, (str, bytes, bool)):
        try:
            seconds = float(interval_s)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            pass
    nanoseconds = round(seconds * 1e9) if 0 < seconds <= LONGEST_INTERVAL_S else 0
    if nanoseconds < 1:
        raise UsageError(
            f"interval_s is {interval_s!r}: give seconds over 0 and up to an hour, such as 0.01"
        )
    return nanoseconds


def checked_step(step: object) -> int:
    """The number of the step to weigh; 0 for none, `AUTO` for whichever tells most for its time.

    Raises:
        UsageError: it is no number of a step.
    """
    if step == DEFAULT_STEP:
        return AUTO
    if step in _OFF or (step == 0 and not isinstance(step, bool)):
        return 0
    text = str(step)
    if isinstance(step, bool) or not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise UsageError(
            f"anatomy is {step!r}: give the number of a step, such as 2, 'auto' or 'off'"
        )
    return int(text)


def checked_directory(directory: object) -> str:
    """The path as text; empty for None.

    Raises:
        UsageError: it is no path.
    """
    if directory is None:
        return ""
    path = os.fspath(directory) if isinstance(directory, (str, os.PathLike)) else None
    if not isinstance(path, str) or not path or "\0" in path:
        raise UsageError(f"directory is {directory!r}: give the path of a directory to make")
    return path


def checked_name(name: object) -> str:
    """The name.

    Raises:
        UsageError: it is no text, or empty.
    """
    if not isinstance(name, str) or not name:
        raise UsageError(f"name is {name!r}: give a text, or leave it out")
    return name
