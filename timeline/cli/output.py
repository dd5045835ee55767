"""What every verb does with what it made: print it, or put it in a file, whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from timeline.errors import TimelineError


def show(text: str) -> None:
    """Write text to stdout; what its encoding does not know is written out as escapes.

    A reader that leaves early, such as ``head``, ends the writing quietly.

    Raises:
        TimelineError: stdout cannot be written to, such as a file on a full disk.
    """
    stream = sys.stdout
    if stream is None:  # closed by the shell: then there is nobody to show it to
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except OSError as error:
        # Else the interpreter flushes the rest at its end, fails again and says so.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if not isinstance(error, BrokenPipeError):
            raise TimelineError(f"stdout cannot be written: {error.strerror or error}") from error


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make a file beside `path`, then put it in its place.

    A link is followed, and what was at the path stays until the new file is complete. Into what is
    no file, such as a FIFO or a device, it is copied once it is complete.

    Args:
        path: where the file goes; what is there is replaced.
        write: makes the file at the path that it is given, which has the same suffix.

    Raises:
        TimelineError: the file cannot be written there.
    """
    place = Path(os.path.realpath(path))
    scratch = place.with_name(f".{os.getpid()}.{place.name}")
    try:
        if place.is_dir():
            raise TimelineError(f"{path} is a directory; give the name of a file")
        if not place.parent.is_dir():
            raise TimelineError(f"{path} cannot be written: there is no directory {place.parent}")
        if place.exists() and not os.access(place, os.W_OK):
            raise TimelineError(f"{path} cannot be written: it is write-protected")
        if place.exists() and not place.is_file():
            with tempfile.TemporaryDirectory() as apart:
                made = Path(apart, place.name)
                write(made)
                with place.open("wb") as there:
                    there.write(made.read_bytes())
            return
        try:
            write(scratch)
            scratch.replace(place)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise TimelineError(f"{path} cannot be written: {error.strerror or error}") from error
