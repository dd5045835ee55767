"""Reads the plain values of a pickle without running anything in it.

A pickle is a program for a small machine; some of its instructions import and call what they like,
and others can ask for any amount of memory. This machine knows only those that build dictionaries,
lists, tuples, texts, bytes, numbers, booleans and None (protocols 2 to 5), which is all that a
CUDA memory snapshot holds. Everything it builds is backed by bytes of the file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from timeline.errors import DamagedRecordingError

_CONSTANTS: dict[int, object] = {0x4E: None, 0x88: True, 0x89: False}
_CONTAINERS: dict[int, Callable[[], object]] = {0x7D: dict, 0x5D: list, 0x29: tuple}
_LENGTHS = {
    0x8C: (1, str), 0x58: (4, str), 0x8D: (8, str),
    0x43: (1, bytes), 0x42: (4, bytes), 0x8E: (8, bytes),
}  # fmt: skip
_FIXED = {
    0x4B: struct.Struct("<B"), 0x4D: struct.Struct("<H"),
    0x4A: struct.Struct("<i"), 0x47: struct.Struct(">d"),
}  # fmt: skip
_TUPLES = {0x85: 1, 0x86: 2, 0x87: 3}
_PUTS, _GETS = {0x71: 1, 0x72: 4}, {0x68: 1, 0x6A: 4}
PROTO, FRAME, MARK, STOP, LONG1, MEMOIZE = 0x80, 0x95, 0x28, 0x2E, 0x8A, 0x94
SETITEM, SETITEMS, APPEND, APPENDS, TUPLE = 0x73, 0x75, 0x61, 0x65, 0x74


class _Mark:
    """Where on the stack a run of items begins."""


_MARK = _Mark()


def loads(data: bytes) -> object:
    """The value that the pickle in ``data`` describes.

    Raises:
        DamagedRecordingError: it is cut, is no pickle, or wants more than plain values.
    """
    try:
        return _run(data)
    except (IndexError, KeyError, ValueError, TypeError, AttributeError, struct.error) as error:
        raise DamagedRecordingError(
            f"no plain pickle ({type(error).__name__}: {error}): the file is cut or not a snapshot"
        ) from None


def _run(data: bytes) -> object:
    stack: list[object] = []
    marks: list[int] = []
    memo: dict[int, object] = {}
    push = stack.append
    at, end = 0, len(data)

    def take(count: int) -> bytes:
        nonlocal at
        if count > end - at:
            raise ValueError("it ends in the middle of a value")
        at += count
        return data[at - count : at]

    def items() -> list[object]:
        start = marks.pop()
        found = stack[start:]
        del stack[start:]
        return found

    while True:
        code = data[at]
        at += 1
        if code in _LENGTHS:
            width, kind = _LENGTHS[code]
            raw = take(int.from_bytes(take(width), "little"))
            push(raw.decode("utf-8", "surrogatepass") if kind is str else raw)
        elif code in _FIXED:
            packed = _FIXED[code]
            push(packed.unpack(take(packed.size))[0])
        elif code == MEMOIZE:
            memo[len(memo)] = stack[-1]
        elif code in _GETS:
            push(memo[int.from_bytes(take(_GETS[code]), "little")])
        elif code in _PUTS:
            memo[int.from_bytes(take(_PUTS[code]), "little")] = stack[-1]
        elif code == LONG1:
            push(int.from_bytes(take(take(1)[0]), "little", signed=True))
        elif code == MARK:
            marks.append(len(stack))
        elif code == SETITEMS:
            found = items()
            _dictionary(stack[-1]).update(zip(found[::2], found[1::2], strict=True))
        elif code == SETITEM:
            value, key = stack.pop(), stack.pop()
            _dictionary(stack[-1])[key] = value
        elif code == APPENDS:
            found = items()
            _list(stack[-1]).extend(found)
        elif code == APPEND:
            value = stack.pop()
            _list(stack[-1]).append(value)
        elif code in _CONSTANTS:
            push(_CONSTANTS[code])
        elif code in _CONTAINERS:
            push(_CONTAINERS[code]())
        elif code == TUPLE:
            push(tuple(items()))
        elif code in _TUPLES:
            count = _TUPLES[code]
            if len(stack) < count:
                raise ValueError("it takes more than there is")
            found = stack[-count:]
            del stack[-count:]
            push(tuple(found))
        elif code == PROTO:
            take(1)
        elif code == FRAME:
            take(8)
        elif code == STOP:
            return stack.pop()
        else:
            raise ValueError(f"instruction 0x{code:02x} is none that plain values need")


def _dictionary(value: object) -> dict[object, object]:
    if not isinstance(value, dict):
        raise TypeError("an item is set on what is no dictionary")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("an item is added to what is no list")
    return value
