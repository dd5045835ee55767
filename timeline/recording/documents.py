"""Opens the files of a run directory with suspicion: any of them may be cut, changed or no file.

What is read is checked value by value; what has the wrong type is left out and remembered, so
that whoever reads a damaged document has the rest of it, and a sentence.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, TypeVar

from timeline.errors import NoRecordingError
from timeline.recording.format import LIMIT

T = TypeVar("T")

_DOCUMENT_BYTES = 1 << 24
"""The largest meta.json or summary.json that is read; real ones have some kilobytes."""


def open_file(path: Path) -> BinaryIO:
    """Open a file of a recording to read its bytes.

    Raises:
        NoRecordingError: it may not be read.
        OSError: it is not there, or is no regular file: opening a pipe would wait forever.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        fd = os.open(path, flags | getattr(os, "O_BINARY", 0))
    except PermissionError:
        raise NoRecordingError(f"{path} may not be read: permission denied") from None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return open(fd, "rb")
    os.close(fd)
    raise OSError("it is no regular file")


def clean(text: str) -> str:
    """The text, with a replacement for each half of a surrogate pair: no encoding can write one."""
    if text.isascii():
        return text
    return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)


class Document:
    """A JSON object from a file, and what of it could not be read.

    Attributes:
        found: the object; empty if there is none.
        why: why there is none, as the end of a sentence; empty if there is one.
        wrong: the keys that were asked for, here and in inner objects, and hold something else.
    """

    def __init__(self, found: object, why: str = "") -> None:
        self.found: Mapping[str, object] = found if isinstance(found, dict) else {}
        self.why = why or ("" if isinstance(found, dict) else "it holds no JSON object")
        self.wrong: list[str] = []
        self._prefix = ""

    def text(self, key: str, default: str = "") -> str:
        """A string."""
        value = self.found.get(key)
        return clean(value) if isinstance(value, str) else self._else(key, default)

    def integer(self, key: str, default: T, low: int = 0, high: int = LIMIT) -> int | T:
        """A whole number between ``low`` and ``high``."""
        value = self.found.get(key)
        return value if type(value) is int and low <= value <= high else self._else(key, default)

    def truth(self, key: str) -> bool:
        """True or false; false if it is left out."""
        value = self.found.get(key)
        return value if isinstance(value, bool) else self._else(key, False)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        value = self.found.get(key)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(map(clean, value))
        return self._else(key, ())

    def inner(self, key: str) -> Document:
        """An object inside this one; empty if there is none."""
        value = self.found.get(key)
        inner = Document(value if isinstance(value, dict) else self._else(key, {}))
        inner.wrong = self.wrong
        inner._prefix = f"{self._prefix}{clean(key)}."
        return inner

    def list_of(self, key: str) -> list[Document]:
        """A list of objects."""
        value = self.found.get(key)
        items = value if isinstance(value, list) else self._else(key, [])
        documents = []
        for at, item in enumerate(items):
            if isinstance(item, dict):
                inner = Document(item)
                inner.wrong = self.wrong
                inner._prefix = f"{self._prefix}{clean(key)}."
                documents.append(inner)
            else:
                self._else(key, at)
        return documents

    def _else(self, key: str, default: T) -> T:
        wrong = self._prefix + clean(key)
        if self.found.get(key) is not None and wrong not in self.wrong:
            self.wrong.append(wrong)
        return default


def read_document(path: Path, most: int = _DOCUMENT_BYTES) -> Document:
    """The JSON object in a file; an empty one that says why if there is none.

    Args:
        path: of the file.
        most: bytes that are read; a longer one is none of ours.

    Raises:
        NoRecordingError: it may not be read.
    """
    try:
        with open_file(path) as file:
            text = file.read(most + 1)
        if len(text) > most:
            return Document(None, "it is too long")
        return Document(json.loads(text.decode("utf-8")))
    except FileNotFoundError:
        return Document(None, "it is not there")
    except OSError as error:
        return Document(None, str(error.strerror or error).lower())
    except (ValueError, RecursionError):
        return Document(None, "it is not JSON")
