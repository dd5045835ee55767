"""The course of a weighed step: what was held at each moment, from when to when, and for what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from timeline.recording.documents import Document
from timeline.recording.format import SIZE_LIMIT

_MOST = 1_000_000
"""Rows; what has more was not written by us."""


@dataclass(frozen=True, slots=True)
class Span:
    """A phase of the step, from its first tick to its last; ``turn`` as of a `WeighedPhase`."""

    path: str
    first: int
    last: int
    turn: int


@dataclass(frozen=True, slots=True)
class Life:
    """One storage in host memory.

    Attributes:
        category: its number in `timeline.recording.weighed.facts.CATEGORIES`.
        layer: its number; under 0 for none.
        size: bytes.
        first, last: the first tick at which it was there, and the first one at which it was not.
        told: whether torch's allocator told of it.
    """

    category: int
    layer: int
    size: int
    first: int
    last: int
    told: bool


@dataclass(frozen=True, slots=True)
class Node:
    """A node of autograd, of an operator's result.

    Attributes:
        kind: its class, such as ``ConvolutionBackward0``.
        layer: the innermost module that was being called; under 0 for none.
        shape, element: of the result, and the bytes of a number of it.
        before: the nodes that its backward goes on to; under 0 for a parameter or another leaf.
        saves: the storages that it saves, by number.
    """

    kind: str
    layer: int
    shape: tuple[int, ...]
    element: int
    before: tuple[int, ...]
    saves: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Course:
    """A weighed step from moment to moment.

    Attributes:
        held: at each tick, the bytes that torch's allocator had given more than as the outermost
            span had begun; None where it was not told.
        most: the most of that since the tick before.
        call: the last call of a layer that had begun.
        spans: the phases.
        lives: the storages.
        nodes: of autograd, in the order in which they were made.
        batch: the first size that all inputs share; 0 where they share none, or where a layer takes
            the sequence first.
    """

    held: tuple[int | None, ...]
    most: tuple[int | None, ...]
    call: tuple[int, ...]
    spans: tuple[Span, ...]
    lives: tuple[Life, ...]
    nodes: tuple[Node, ...]
    batch: int


def read_course(document: Document) -> Course | None:
    """The key ``course``; None where it is left out, or cannot be right in any row."""
    value = document.found.get("course")
    if not value:
        return None
    try:
        return _course(document.inner("course"))
    except (TypeError, ValueError, IndexError):
        document.wrong.append("course")
        return None


def _course(found: Document) -> Course:
    ticks = _rows(found, "ticks", 3)
    lives = _rows(found, "pieces", 6)
    spans = _rows(found, "spans", 4)
    nodes = _rows(found, "nodes", 6)
    kinds = found.texts("kinds")
    count = len(ticks)
    return Course(
        tuple(None if row[0] is None else _number(row[0], -SIZE_LIMIT) for row in ticks),
        tuple(None if row[1] is None else _number(row[1], -SIZE_LIMIT) for row in ticks),
        tuple(_number(row[2], -1) for row in ticks),
        tuple(
            Span(_text(path), _number(first, 0, count - 1), _number(last, 0, count - 1), _number(n))
            for path, first, last, n in spans
        ),
        tuple(
            Life(
                _number(row[0], 0, 6), _number(row[1], -1), _number(row[2]),
                _number(row[3], 0, count), _number(row[4], 0, count), row[5] == 1,
            )
            for row in lives
        ),
        tuple(
            Node(
                kinds[_number(row[0])],
                _number(row[1], -1),
                tuple(_number(each) for each in row[2]),
                _number(row[3], 0, 64),
                # To what was made before it, so that there is no circle.
                tuple(each if -1 <= each < at else -1 for each in map(_signed, row[4])),
                tuple(_number(each, 0, len(lives) - 1) for each in row[5]),
            )
            for at, row in enumerate(nodes)
        ),
        found.integer("batch", 0),
    )  # fmt: skip


def _rows(found: Document, key: str, width: int) -> list[list[Any]]:
    value = found.found.get(key)
    if not isinstance(value, list) or len(value) > _MOST:
        raise ValueError(key)
    if not all(isinstance(row, list) and len(row) == width for row in value):
        raise ValueError(key)
    return value


def _number(value: object, low: int = 0, high: int = SIZE_LIMIT) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(value)
    return value


def _signed(value: object) -> int:
    return _number(value, -1)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(value)
    return value
