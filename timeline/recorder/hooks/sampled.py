"""What the sampler has read of this process meanwhile, from its rows in the run directory.

Its readings take the kernel's high-water mark, as every reading does, so that the mark alone does
not tell this process how high a phase went: most of what there was may be in the sampler's rows.
"""

from __future__ import annotations

import os
import struct
from mmap import mmap

from timeline.recorder.reading import out_of_the_way
from timeline.recording.format import HEADER_BYTES, HOST_FIELDS, samples_name

_ROW = struct.calcsize("<" + "".join("q" if kind == "<i8" else "I" for _, kind in HOST_FIELDS))
_NUMBERS = _ROW // 8
"""A row is so many integers of 8 bytes, or of two in one."""

_MOST = 4096
"""Of a long phase the last so many rows are read: 40 s of them, at the densest that is usual."""


class Sampled:
    """The sampler's rows, from where `begin` was called on."""

    def __init__(self, directory: str) -> None:
        """``directory``: of the run. Where there are no rows, there is nothing to be read."""
        path = os.path.join(directory, samples_name("host"))
        # Not on the heap, where it would lie between the program's blocks.
        self._rows = mmap(-1, _MOST * _ROW)
        self._numbers = memoryview(self._rows).cast("q")
        self._from = HEADER_BYTES
        self._fd = -1
        try:
            fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError:
            return
        self._fd = out_of_the_way(fd)
        there = os.fstat(self._fd)
        self._file = there.st_dev, there.st_ino

    def begin(self) -> None:
        """Rows from here on count."""
        self._from = max(self._size(), HEADER_BYTES)

    def highest(self) -> int:
        """The largest high-water mark in the rows that have come since; 0 without any."""
        end = self._size()
        begin = max(self._from, end - _MOST * _ROW)
        begin += (HEADER_BYTES - begin) % _ROW
        if end <= begin:
            return 0
        read = os.preadv(self._fd, [self._rows], begin)
        return max(self._numbers[_NUMBERS - 1 : read // 8 : _NUMBERS], default=0)

    def _size(self) -> int:
        """Of the file; 0 where there is none, or a program has closed every descriptor."""
        if self._fd >= 0:
            try:
                there = os.fstat(self._fd)
            except OSError:
                self._fd = -1
            else:
                if (there.st_dev, there.st_ino) == self._file:
                    return there.st_size
                self._fd = -1  # by now the program has a file of that number
        return 0

    def close(self) -> None:
        """Close the descriptor."""
        if self._size():
            os.close(self._fd)
        self._fd = -1
