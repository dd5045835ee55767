"""Reads an estimate's document again, which ``timeline estimate --json`` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from timeline.errors import DamagedRecordingError, NewerFormatError, NoRecordingError
from timeline.theory.cards import Card, find
from timeline.theory.estimate_types import Alive, Course, Estimate, Range

VERSION = 1


def is_one(path: Path) -> bool:
    """Whether a file may be the document of an estimate, by its beginning."""
    try:
        if path.suffix.lower() != ".json" or not path.is_file():
            return False
        with path.open("rb") as file:
            return b'"estimate"' in file.read(256)
    except OSError:
        return False


def read(path: str | Path) -> tuple[Estimate, Card]:
    """The estimate in a file, and the card that it was held against.

    Raises:
        NoRecordingError: the file cannot be read.
        DamagedRecordingError: it is no such document.
        NewerFormatError: a newer version of timeline wrote it.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise NoRecordingError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise DamagedRecordingError(f"{path} is no document of an estimate: {error}") from None
    try:
        if int(document["timeline"]) > VERSION:
            raise NewerFormatError(f"{path} was written by a newer version of timeline")
        return _estimate(document["estimate"]), _card(document["estimate"]["card"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedRecordingError(
            f"{path} is no document of an estimate ({type(error).__name__}: {error})"
        ) from None


def _card(found: Any) -> Card:
    known = find(str(found["key"]))
    return known if known.visible == int(found["visible"]) else Card(
        str(found["key"]), str(found["name"]), int(found["memory"]), int(found["visible"]), None
    )  # fmt: skip


def _estimate(found: Any) -> Estimate:
    course = found["course"]
    columns = {str(name): _numbers(column) for name, column in course["categories"].items()}
    allocated, reserved = _numbers(course["allocated"]), _numbers(course["reserved"])
    if any(len(each) != len(allocated) for each in (reserved, *columns.values())):
        raise ValueError("the columns of its course are not equally long")
    return Estimate(
        title=str(found["title"]),
        device=str(found["device"]),
        peak_allocated=int(found["peak_allocated"]),
        peak_reserved=int(found["peak_reserved"]),
        reserved=Range(**found["reserved"]),
        context=Range(**found["context"]),
        process_total=Range(**found["process_total"]),
        peak_phase=str(found["peak_phase"]),
        categories_at_peak={str(k): int(v) for k, v in found["categories_at_peak"].items()},
        alive_at_peak=tuple(Alive(**each) for each in found["alive_at_peak"]),
        course=Course(
            allocated=allocated,
            reserved=reserved,
            categories=columns,
            phases=[(int(at), str(name)) for at, name in course["phases"]],
            steps=_numbers(course["steps"]),
        ),
        steps=int(found["steps"]),
        capacity=found["capacity"],
        out_of_memory=str(found["out_of_memory"]),
        assumptions=tuple(map(str, found["assumptions"])),
        not_counted=tuple(map(str, found["not_counted"])),
        cut_off=str(found.get("cut_off", "")),  # documents of before have none
    )


def _numbers(values: Any) -> list[int]:
    return [int(each) for each in values]
