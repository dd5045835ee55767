"""The weighed step's file, read with suspicion: what cannot be right in it is left out."""

from __future__ import annotations

from pathlib import Path

from timeline.recording.anatomy import (
    Anatomy,
    Import,
    LayerCall,
    Moment,
    Trained,
    WeighedLayer,
    WeighedPhase,
)
from timeline.recording.course import read_course
from timeline.recording.documents import Document
from timeline.recording.format import FORMAT_VERSION, SIZE_LIMIT
from timeline.recording.types import UNKNOWN
from timeline.recording.weighed.facts import CAST, CATEGORIES, PACKED, PLAIN
from timeline.recording.weighed.file import read_weighed

_MOST = 1_000_000
"""Layers or phases; what has more was not written by us."""


def read_anatomy(directory: Path, damage: list[str]) -> Anatomy | None:
    """The weighed step of a run directory; None where none was written.

    What cannot be read is told in ``damage``.
    """
    weighed = read_weighed(directory)
    if weighed is None:
        return None
    document, name = weighed
    if document.why:
        damage.append(f"{name} cannot be read: {document.why}")
        return None
    if document.integer("timeline", 0) not in range(1, FORMAT_VERSION + 1):
        damage.append(f"{name} is of a version that cannot be read")
        return None
    before = document.inner("before")
    given = document.inner("given")
    anatomy = Anatomy(
        step=document.integer("step", 0),
        began_ns=document.integer("began", 0),
        ended_ns=document.integer("ended", 0),
        spent_ns=document.integer("spent", 0),
        before=_moment(before),
        held=_size(before, "held", 0),
        phases=tuple(_phase(each) for each in _objects(document, "phases")),
        categories=_categories(document),
        layers=tuple(_layer(each) for each in _objects(document, "layers")),
        parameters=document.integer("parameters", 0),
        sizes=_pairs(document, "sizes"),
        trained=tuple(_trained(each) for each in _objects(document, "trained")),
        devices=document.texts("devices"),
        not_counted=document.texts("not_counted"),
        coarse=document.text("coarse"),
        calls=_calls(given),
        settings=_settings(given),
        imports=_imports(document),
        heap_most=_size(document, "heap_most"),
        older=_turns(given.found.get("older")) or (),
        course=read_course(document),
    )
    if document.wrong:
        damage.append(f"{name} cannot be right in {', '.join(document.wrong[:5])}")
    return anatomy


def _objects(document: Document, key: str) -> list[Document]:
    value = document.found.get(key)
    if not isinstance(value, list) or len(value) > _MOST:
        document.wrong.append(key)
        return []
    found = []
    for each in value:
        inner = Document(each)
        inner.wrong = document.wrong
        if inner.why:
            document.wrong.append(key)
        else:
            found.append(inner)
    return found


def _size(document: Document, key: str, default: int = UNKNOWN) -> int:
    return document.integer(key, default, UNKNOWN, SIZE_LIMIT)


def _moment(document: Document) -> Moment:
    return Moment(
        t_ns=document.integer("t", 0),
        rss=_size(document, "rss"),
        file=_size(document, "file"),
        in_use=_size(document, "in_use"),
        free=_size(document, "free"),
        heap=_size(document, "heap"),
    )


def _categories(document: Document) -> dict[str, int]:
    inner = document.inner("categories")
    return {name: max(_size(inner, name, 0), 0) for name in CATEGORIES}


def _pairs(document: Document, key: str) -> tuple[tuple[int, int], ...]:
    value = document.found.get(key)
    return tuple(
        (each[0], each[1])
        for each in (value if isinstance(value, list) else [])
        if isinstance(each, list)
        and len(each) == 2
        and all(type(number) is int and 0 <= number <= SIZE_LIMIT for number in each)
    )


def _imports(document: Document) -> tuple[Import, ...]:
    value = document.found.get("imports", [])
    found = [
        Import(*each)
        for each in (value if isinstance(value, list) else [])
        if isinstance(each, list)
        and len(each) == 3
        and all(type(number) is int and -SIZE_LIMIT <= number <= SIZE_LIMIT for number in each)
    ]
    if not isinstance(value, list) or len(found) < len(value):
        document.wrong.append("imports")
    return tuple(found)


def _calls(given: Document) -> tuple[LayerCall, ...]:
    value = given.found.get("calls", [])
    walked = given.found.get("walked")
    kept = isinstance(walked, list) and isinstance(value, list) and len(walked) == len(value)
    found: list[LayerCall] = []
    for each in value if isinstance(value, list) else []:
        if not isinstance(each, list) or len(each) != 8 or not isinstance(each[2], list):
            given.wrong.append("calls")
            return ()
        layer, turn, shape, element, storage, size, maker, how = each
        numbers = (layer, turn, *shape, element, size)
        if not all(type(number) is int and 0 <= number <= SIZE_LIMIT for number in numbers) or not (
            type(storage) is type(maker) is int and maker < len(found)
        ):
            given.wrong.append("calls")
            return ()
        turns = _turns(walked[len(found)]) if kept and isinstance(walked, list) else None
        ways = how == PLAIN, turns, how == CAST, how == PACKED
        found.append(LayerCall(layer, turn, tuple(shape), element, storage, size, maker, *ways))
    return tuple(found)


def _turns(value: object) -> tuple[int, ...] | None:
    if not isinstance(value, list) or not all(type(each) is int and each >= 0 for each in value):
        return None
    return tuple(value)


def _settings(given: Document) -> dict[int, dict[str, object]]:
    inner = given.inner("settings")
    return {
        int(key): dict(value)
        for key, value in inner.found.items()
        if key.isdecimal() and len(key) < 10 and isinstance(value, dict)
    }


def _trained(document: Document) -> Trained:
    options = document.inner("options")
    return Trained(
        optimizer=document.text("optimizer"),
        options={name: options.truth(name) for name in options.found},
        sizes=_pairs(document, "sizes"),
    )


def _phase(document: Document) -> WeighedPhase:
    return WeighedPhase(
        path=document.text("path"),
        what=document.text("what"),
        at=_moment(document.inner("at")),
        high=_size(document, "high"),
        rise=document.integer("rise", None, 0, SIZE_LIMIT),
        shared=max(_size(document, "shared", 0), 0),
        categories=_categories(document),
        layers=_pairs(document, "layers"),
        after=_moment(document.inner("after")),
        stays=document.integer("stays", None, -SIZE_LIMIT, SIZE_LIMIT),
        begin=_moment(document.inner("begin")),
        end=_moment(document.inner("end")),
        turn=document.integer("turn", 0),
        reached=document.integer("reached", UNKNOWN, UNKNOWN),
        past=document.integer("past", None, UNKNOWN),
        torn=document.integer("torn", 0, 0, SIZE_LIMIT),
        first=document.integer("first", UNKNOWN, UNKNOWN),
        asked=document.integer("asked", None, 0, SIZE_LIMIT),
        returned=document.integer("returned", 0, 0, SIZE_LIMIT),
        stood=_pairs(document, "stood") if "stood" in document.found else None,
    )


def _layer(document: Document) -> WeighedLayer:
    sides = document.found.get("output_shape")
    known = isinstance(sides, list) and all(type(side) is int and side >= 0 for side in sides)
    return WeighedLayer(
        name=document.text("name"),
        kind=document.text("kind"),
        parameters=document.integer("parameters", 0),
        parameter=max(_size(document, "parameter", 0), 0),
        buffer=max(_size(document, "buffer", 0), 0),
        gradient=max(_size(document, "gradient", 0), 0),
        activation=max(_size(document, "activation", 0), 0),
        output_shape=tuple(sides) if known and isinstance(sides, list) else None,
        output_dtype=document.text("output_dtype") or None,
        output_bytes=max(_size(document, "output_bytes", 0), 0),
        calls=document.integer("calls", 0),
    )
