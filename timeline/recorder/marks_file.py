"""The file that a process writes its marks to: each line by one write, so that none is lost."""

from __future__ import annotations

import os
import time
from errno import EBADF

from timeline.recorder.reading import out_of_the_way
from timeline.recorder.say import say
from timeline.refused import why_cut


class MarksFile:
    """One ``events.<pid>.jsonl``.

    A disk that is full or a descriptor that the program closed ends the writing, not the program.

    Attributes:
        lost: a sentence why writing ended early; empty while all is well.
    """

    # Held here, and not looked up: a test that freezes its clock must not freeze this one.
    _now = staticmethod(time.monotonic_ns)

    def __init__(self, directory: str, pid: int) -> None:
        """Make the file.

        Raises:
            OSError: it cannot be made.
        """
        self.lost = ""
        # As timeline.recording.format.events_name: not imported, two modules into every program.
        # Absolute: the program may go to another directory before it has to be opened again.
        self._path = os.path.abspath(os.path.join(directory, f"events.{pid}.jsonl"))
        self._flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        self._flags |= getattr(os, "O_BINARY", 0)
        self._fd = out_of_the_way(os.open(self._path, self._flags | os.O_CREAT, 0o644))

    def _write_again(self, error: OSError, data: bytes) -> None:
        """Once, where a program closed every descriptor it has, as a daemon does."""
        try:
            if error.errno != EBADF:
                raise error
            # Not made anew: a run directory that was deleted stays so.
            self._fd = out_of_the_way(os.open(self._path, self._flags))
            written = os.write(self._fd, data)
        except OSError as last:
            self._write_no_more(str(last.strerror), 0)
        else:
            if written < len(data):
                self._cut(written)

    def _cut(self, written: int) -> None:
        self._write_no_more(why_cut(self._fd), written)

    def _write_no_more(self, why: str, written: int) -> None:
        """Say what was lost, in the file too if there is room, and close it."""
        self.lost = f"marks end here: {why}"
        self._leave_a_cut(written)
        self.abandon()
        say(self.lost)

    def abandon(self) -> None:
        """Close the file and write nothing. Later calls of any method do nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            try:
                os.close(fd)
            except OSError:
                pass

    def _leave_a_cut(self, written: int) -> None:
        """Say in the file that a line is lost, and its reading with it.

        A full disk takes a part of the line before it refuses, and no sentence. So the line before
        loses its end of line: a reader knows a cut by that.
        """
        sentence = f'{{"k":"missing","t":{self._now()},"p":{quote(self.lost)}}}\n'.encode("ascii")
        try:
            # Only ours: the program may have closed it, and its own file have the number.
            there = os.fstat(self._fd)
            if not os.path.samestat(there, os.stat(self._path)):
                return
            size = there.st_size - written
            os.ftruncate(self._fd, size)
            try:
                kept = os.write(self._fd, sentence) == len(sentence)
            except OSError:
                kept = False
            if not kept:
                os.ftruncate(self._fd, max(size - 1, 0))
        except OSError:
            pass


def quote(text: str) -> str:
    """The text as a JSON string in ASCII."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    try:
        # What json itself uses; a program may have a json.py of its own beside its script.
        from _json import encode_basestring_ascii
    except ImportError:  # another Python than CPython
        from json.encoder import encode_basestring_ascii
    return encode_basestring_ascii(text)
