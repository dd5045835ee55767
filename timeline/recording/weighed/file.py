"""The two files of a weighed step: the one that its process writes, and the one made of it."""

from __future__ import annotations

import os
from pathlib import Path

from timeline.errors import NoRecordingError, RecordingError
from timeline.recording.documents import Document, read_document
from timeline.recording.format import BREAKDOWN, FORMAT_VERSION, WEIGHED
from timeline.recording.weighed.document import document_of
from timeline.recording.writer import write_json

_RAW_BYTES = 1 << 28
"""The largest ``weighed.json`` that is read: a storage takes some 70 bytes of it. What is made of
it may be as large: an entry of a phase takes 5 KB, and a step may have hundreds of phases."""


def read_weighed(directory: Path) -> tuple[Document, str] | None:
    """The document of a weighed step, and the name of its file; None where no step was weighed.

    Where nobody has made ``breakdown.json`` yet, as while the run lasts, it is made here, and not
    written.
    """
    raw, made = directory / WEIGHED, directory / BREAKDOWN
    if raw.exists():
        document = _made_of(raw)
        if not document.why or not made.exists():
            return document, WEIGHED
    return (read_document(made, _RAW_BYTES), BREAKDOWN) if made.exists() else None


def settle(directory: str) -> None:
    """Write ``breakdown.json`` in the place of ``weighed.json``, where there is one.

    Where that cannot be, ``weighed.json`` stays for whoever reads the recording.
    """
    raw = Path(directory) / WEIGHED
    try:
        if not raw.exists():
            return
        read = os.stat(raw).st_ino
        document = _made_of(raw)
        # By now it may be another recording's, made with force in the same directory.
        if not document.why and os.stat(raw).st_ino == read:
            write_json(directory, BREAKDOWN, document.found, indent=None)
            os.unlink(raw)
    except (OSError, NoRecordingError, RecordingError):
        pass


def _made_of(path: Path) -> Document:
    raw = read_document(path, _RAW_BYTES)
    if raw.why:
        return raw
    if raw.integer("timeline", 0) not in range(1, FORMAT_VERSION + 1):
        return Document(None, "it is of a version that cannot be read")
    try:
        return Document(document_of(raw.found))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        return Document(None, f"it was not written by timeline ({type(error).__name__})")
