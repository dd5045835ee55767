"""Writes a run directory: the directory, its documents, and rows of samples as they come.

Standard library only, and light: the sampler's process and the launcher import it.
"""

from __future__ import annotations

import os
import struct

from timeline.errors import RecordingError, RecordingExistsError
from timeline.recording.format import (
    HEADER_BYTES,
    META,
    ROOM,
    ROOM_BYTES,
    SUMMARY,
    Fields,
    is_ours,
    pid_of,
    stream_of,
    temporary_name,
)
from timeline.refused import why_cut

TYPE_CHECKING = False
if TYPE_CHECKING:  # these cost milliseconds, and are needed for reading only
    from collections.abc import Mapping, Sequence

HEADER_EVERY = 100
"""Rows between two rewrites of the header's row count: plain numpy.load shows so many less."""

_CODES = {
    "<i8": "q", "<u8": "Q", "<i4": "i", "<u4": "I", "<i2": "h", "<u2": "H", "|i1": "b", "|u1": "B",
}  # fmt: skip


def new_run_directory(path: str, *, force: bool = False) -> None:
    """Make the directory of a new recording, with the directories above it.

    An empty directory is taken as it is. With ``force`` a recording that is there gives way: its
    own files are deleted, and nothing else is.

    Raises:
        RecordingExistsError: something is there, and ``force`` was not given or does not help.
        RecordingError: the directory cannot be made or written to.
    """
    try:
        os.makedirs(path)
        return
    except FileExistsError:
        pass
    except (OSError, ValueError) as error:
        raise not_made(path, error) from None
    if not os.path.isdir(path):
        raise RecordingExistsError(f"{path} exists and is no directory: choose another with -o")
    try:
        names = os.listdir(path)
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {_why(error)}") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise RecordingError(f"{path} cannot be written to: choose another with -o")
    if not names:
        return
    if not is_recording(path, names):
        raise RecordingExistsError(
            f"{path} exists and is not a recording: choose another with -o"
            + (", since --force replaces only recordings" if force else "")
        )
    if not force:
        raise RecordingExistsError(
            f"{path} exists: choose another with -o, or overwrite it with --force"
        )
    _delete_recording(path, names)


def not_made(path: str, error: OSError | ValueError) -> RecordingError:
    """What says that a run directory cannot be made."""
    return RecordingError(f"{path} cannot be made ({_why(error)}): choose another with -o")


def is_recording(path: str, names: list[str]) -> bool:
    """Whether one of these files in the directory has the contents of a recording.

    Names do not tell: a folder of data may well hold an ``events.2024.jsonl``.
    """
    for name in names:
        if stream_of(name) is not None:
            marks: tuple[bytes, ...] = (b"\x93NUMPY", b"'t_ns'")
        elif pid_of(name) is not None:
            marks = (b'{"k":"start"',)
        elif name == META:
            marks = (b'"timeline"',)
        else:
            continue
        try:
            with open(os.path.join(path, name), "rb") as file:
                start = file.read(1 << 16)
        except OSError:
            continue
        if all(mark in start for mark in marks):
            return True
    return False


def _delete_recording(path: str, names: list[str]) -> None:
    import json

    from timeline.recording.alive import writer_lives

    try:
        with open(os.path.join(path, META), encoding="utf-8") as file:
            meta = json.load(file)
    except (OSError, ValueError, RecursionError):
        meta = None
    if SUMMARY not in names and isinstance(meta, dict):
        # The program writes its marks though the sampler was killed.
        for key in ("sampler_pid", "pid"):
            if writer_lives(meta, key):
                raise RecordingExistsError(
                    f"{path} is being written by process {meta[key]}: "
                    "choose another with -o, or end that process first"
                )
    for name in names:
        if is_ours(name):
            try:
                os.unlink(os.path.join(path, name))
            except OSError as error:
                raise RecordingError(
                    f"{os.path.join(path, name)} cannot be overwritten: {_why(error)}"
                ) from None


def write_json(
    directory: str, name: str, document: Mapping[str, object], *, indent: int | None = 1
) -> None:
    """Write a document as a whole: whoever reads sees the one before or this one, never a part.

    Args:
        directory: of the run.
        name: of the file.
        document: what to write.
        indent: by level; None writes one line, ten times as fast (json's encoder in C).

    Raises:
        RecordingError: it cannot be written; a document before it stays.
    """
    import json

    path = os.path.join(directory, name)
    new = os.path.join(directory, temporary_name(name))
    try:
        # As bytes: to open a file for text in ASCII imports that codec, and a program waits.
        with open(new, "wb") as file:
            file.write((json.dumps(document, indent=indent) + "\n").encode())
        os.replace(new, path)
    except OSError as error:
        try:
            os.unlink(new)
        except OSError:
            pass
        raise RecordingError(f"{path} cannot be written: {_why(error)}") from None


def keep_room(directory: str) -> None:
    """Take up as much of the disk as the end will need; nothing happens where there is none."""
    try:
        with open(os.path.join(directory, ROOM), "wb") as file:
            file.write(b" " * ROOM_BYTES)
    except OSError:
        pass


def write_last_json(directory: str, name: str, document: Mapping[str, object]) -> None:
    """`write_json`, in the room that was kept if there is no other. The room is given up.

    Raises:
        RecordingError: it cannot be written.
    """
    room = os.path.join(directory, ROOM)
    try:
        write_json(directory, name, document)
    except RecordingError as error:
        try:
            os.unlink(room)
        except OSError:
            raise error from None
        write_json(directory, name, document)
    else:
        try:
            os.unlink(room)
        except OSError:
            pass


class SampleWriter:
    """Appends rows to one ``samples.<stream>.npy``; each call is one write, so that none is lost.

    A row that was written is in the kernel's hands and outlives this process. After opening,
    nothing raises for what the disk does: writing ends and ``lost`` says why.

    Attributes:
        rows: how many were written.
        lost: a sentence why writing ended early; empty while all is well.
    """

    __slots__ = ("_codes", "_fd", "_fields", "_file", "_guest", "_name", "_row", "lost", "rows")

    def __init__(self, path: str, fields: Fields, *, guest: bool = True) -> None:
        """Make the file and write its header.

        Args:
            path: must not exist.
            fields: the columns; of integers, such as ``("t_ns", "<i8")``.
            guest: whether others may close the file in this process, so that each row has to make
                sure of it.

        Raises:
            RecordingError: the file exists or cannot be made.
        """
        self._name = os.path.basename(path)
        self._fields = fields
        self._guest = guest
        self._codes = [_CODES[kind] for _, kind in fields]
        self._row = struct.Struct("<" + "".join(self._codes))
        self.rows = 0
        self.lost = ""
        header = self._header()
        # No O_APPEND: with it Linux would also append the header that is to be rewritten in place.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
        try:
            self._fd = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o644)
        except (OSError, ValueError) as error:
            raise RecordingError(f"{path} cannot be made: {_why(error)}") from None
        self._file = _identity(self._fd)
        try:
            written = os.write(self._fd, header)
        except OSError as error:
            self._stop(_why(error))
        else:
            if written < HEADER_BYTES:
                self._stop(why_cut(self._fd))

    def append(self, *values: int) -> bool:
        """Write one row. Returns whether it was written.

        A value outside of its column's range is written as the nearest one that fits.
        """
        return self.extend((values,))

    def extend(self, rows: Sequence[tuple[int, ...]]) -> bool:
        """Write some rows, as `append` does one, by one write. Returns whether all were written."""
        if self._fd < 0:
            return False
        try:
            written = b"".join([self._row.pack(*row) for row in rows])
        except struct.error:
            written = b"".join([self._row.pack(*map(_fitting, row, self._codes)) for row in rows])
        if self._guest and not self._is_mine():
            return False
        try:
            taken = os.write(self._fd, written)
        except OSError as error:
            self._stop(_why(error))
            return False
        before = self.rows
        self.rows += taken // self._row.size
        if taken < len(written):
            self._stop(why_cut(self._fd))
            return False
        if before // HEADER_EVERY != self.rows // HEADER_EVERY:
            self._count()
        return self._fd >= 0

    def close(self) -> None:
        """Write the row count and close the file. Later calls of any method do nothing."""
        if self._fd >= 0 and self._is_mine():
            self._count()
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            _close(fd)

    def _is_mine(self) -> bool:
        # In the thread of somebody's program: one that closes all descriptors it finds may have
        # opened a file of its own under the same number by now. The look costs 1 µs, and 20 where
        # the caches are cold.
        if not self._guest or _identity(self._fd) == self._file:
            return True
        self._fd = -1
        self.lost = f"{self._name} ends after {self.rows} rows: the program closed the file"
        return False

    def _header(self) -> bytes:
        # What numpy.lib.format writes for version 1.0, with room for any row count.
        start = b"\x93NUMPY\x01\x00" + struct.pack("<H", HEADER_BYTES - 10)
        shape = f"{{'descr': {list(self._fields)!r}, 'fortran_order': False, 'shape': "
        header = start + f"{shape}({self.rows},), }}".encode("ascii")
        if len(header) >= HEADER_BYTES - 20:
            raise RecordingError(f"{self._name} has too many columns for its header")
        return header.ljust(HEADER_BYTES - 1) + b"\n"

    def _count(self) -> None:
        try:
            os.lseek(self._fd, 0, os.SEEK_SET)
            os.write(self._fd, self._header())
            os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            self._stop(_why(error))

    def _stop(self, why: str) -> None:
        self.lost = f"{self._name} ends after {self.rows} rows: {why}"
        fd, self._fd = self._fd, -1
        try:
            # A full disk takes a part of a row before it refuses: leave whole rows only.
            os.ftruncate(fd, HEADER_BYTES + self.rows * self._row.size)
            os.lseek(fd, 0, os.SEEK_SET)
            os.write(fd, self._header())
        except OSError:
            pass
        _close(fd)


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _fitting(value: int, code: str) -> int:
    bits = 8 * struct.calcsize("<" + code)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if code.islower() else (0, (1 << bits) - 1)
    return min(max(value, low), high)


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        pass


def _why(error: OSError | ValueError) -> str:
    strerror = getattr(error, "strerror", None)
    return str(strerror or error).lower()
