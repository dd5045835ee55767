"""The lines of functions as they were traced, read back from ``lines.json``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from timeline.recording.documents import Document, read_document
from timeline.recording.format import FORMAT_VERSION, LINES, SIZE_LIMIT


@dataclass(frozen=True, slots=True)
class TracedLine:
    """One line of a function; sizes are bytes.

    Attributes:
        number: in its file.
        text: as it was when the program ran.
        count: how often it ran; 0 where it did not, or holds no statement.
        memory: the most that was resident after it.
        increment: what it added, all its runs together.
        phases: those that began in it, or else the one that it ran in.
    """

    number: int
    text: str
    count: int = 0
    memory: int = 0
    increment: int = 0
    phases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TracedFunction:
    """One function, by its qualified name, and its lines."""

    name: str
    file: str
    lines: tuple[TracedLine, ...]


def read_lines(directory: Path, damage: list[str]) -> tuple[TracedFunction, ...]:
    """The functions that were traced; empty where none was asked for.

    What cannot be read is told in ``damage``.
    """
    path = directory / LINES
    if not path.exists():
        return ()
    document = read_document(path)
    if document.why:
        damage.append(f"{LINES} cannot be read: {document.why}")
        return ()
    if document.integer("timeline", 0) not in range(1, FORMAT_VERSION + 1):
        damage.append(f"{LINES} is of a version that cannot be read")
        return ()
    if document.found.get("wanted"):
        damage.append(f"{LINES} was not written: the program did not end by itself, or at all")
        return ()
    functions = tuple(
        TracedFunction(
            each.text("name"), each.text("file"), tuple(map(_line, each.list_of("lines")))
        )
        for each in document.list_of("functions")
    )
    if document.wrong:
        damage.append(f"{LINES} cannot be right in {', '.join(document.wrong[:5])}")
    return functions


def _line(document: Document) -> TracedLine:
    return TracedLine(
        number=document.integer("line", 0),
        text=document.text("text"),
        count=document.integer("count", 0),
        memory=document.integer("memory", 0, 0, SIZE_LIMIT),
        increment=document.integer("increment", 0, -SIZE_LIMIT, SIZE_LIMIT),
        phases=document.texts("phases"),
    )
