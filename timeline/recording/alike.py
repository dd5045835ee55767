"""Parses JSON lines that differ in their numbers alone, thousands of them at once.

A program marks the same few phases again and again, so that its lines have a few shapes. A shape
is parsed once; the numbers are taken out of the bytes of all lines of a chunk by NumPy, in half of
the time that objects of each line take. A line that is not plainly of such a shape is left to the
JSON parser, so that what is read never depends on which way it was read.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, repeat

import numpy as np
from numpy.typing import NDArray

from timeline.recording.types import Bools, Ints

WORTH = 4
"""So many lines of one shape in a chunk are worth taking it apart."""

MOST_SHAPES = 1 << 14

_MOST_DIGITS = 18
"""A number of so many fits 64 bits."""

_MARGIN = b" " * 24
"""Before the first line, so that three words of eight bytes fit before the end of any number."""

_LAST = np.array([(1 << 64) - (1 << 8 * (8 - n)) for n in range(1, 9)], np.uint64)
"""Masks of the last 1 to 8 bytes of a little-endian word."""

_STEPS = tuple(
    (np.uint64(times), np.uint64(bits), np.uint64(mask))
    for times, bits, mask in (
        (10, 8, 0x00FF00FF00FF00FF),
        (100, 16, 0x0000FFFF0000FFFF),
        (10_000, 32, 0x00000000FFFFFFFF),
    )
)
"""Eight digits in a word become four numbers, then two, then one."""

Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class Alike:
    """Some lines of one shape.

    Attributes:
        record: what each of them says, with the row in ``numbers`` in place of every number.
        at: [l] which lines of the chunk they are.
        numbers: [k, l] whole, of 0 and more.
    """

    record: Mapping[str, object]
    at: Ints
    numbers: Ints


class Shapes:
    """The shapes that the lines of a file have had so far."""

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}
        self._records: list[tuple[Mapping[str, object], int]] = []

    def split(self, lines: Sequence[bytes]) -> tuple[list[Alike], list[int]]:
        """Parse what can be parsed at once.

        Args:
            lines: each with its end of line.

        Returns:
            The lines that were parsed, by shape, and the places of the others.
        """
        text = np.frombuffer(b"".join((_MARGIN, *lines)), np.uint8)
        ends = np.flatnonzero(text == ord("\n"))
        digit = (text - np.uint8(ord("0")) < 10) & ~_in_strings(text, ends)
        first = np.flatnonzero(digit[1:] & ~digit[:-1]) + 1
        last = np.flatnonzero(digit[:-1] & ~digit[1:])
        # The shape of a line is what is left of it with a 0 for each number.
        kept = ~digit
        kept[first] = True
        plain = text.copy()
        plain[first] = ord("0")
        shapes = plain[kept][len(_MARGIN) :].tobytes().split(b"\n")[:-1]
        for shape, times in Counter(shapes).items():
            if times >= WORTH and shape not in self._known and len(self._known) < MOST_SHAPES:
                self._known[shape] = self._learn(shape)
        which = np.fromiter(map(self._known.get, shapes, repeat(-1)), np.int64, len(shapes))
        # JSON has no number that begins with a 0 and goes on.
        odd = (last - first >= _MOST_DIGITS) | ((text[first] == ord("0")) & (last > first))
        which[np.searchsorted(ends, first[odd])] = -1

        values = _values(text, first, last)
        begins = np.searchsorted(first, np.concatenate(([0], ends[:-1])))
        order = np.argsort(which, kind="stable")
        cuts = np.searchsorted(which[order], np.arange(len(self._records) + 1))
        found = []
        for i in np.flatnonzero(np.diff(cuts)).tolist():
            record, numbers = self._records[i]
            at = order[cuts[i] : cuts[i + 1]]
            found.append(Alike(record, at, values[begins[at] + np.arange(numbers)[:, None]]))
        return found, order[: cuts[0]].tolist()

    def _learn(self, shape: bytes) -> int:
        """The number of a new shape; -1 for one that only the JSON parser may read."""
        try:
            record = json.loads(shape)
            written = json.dumps(record, separators=(",", ":")).encode()
        except (ValueError, RecursionError):
            return -1
        # As the recorder writes it there is no sign, no fraction, and no key twice. After an
        # escaped quote strings would be taken for what lies between them.
        if written != shape or not isinstance(record, dict) or b'\\"' in shape:
            return -1
        places = count()
        record = {key: _placed(value, places) for key, value in record.items()}
        self._records.append((record, next(places)))
        return len(self._records) - 1


def _placed(value: object, places: Iterator[int]) -> object:
    """The value of JSON with the place of each number, in the order of their writing."""
    if type(value) is int:
        return next(places)
    if isinstance(value, list):
        return [_placed(each, places) for each in value]
    if isinstance(value, dict):
        return {key: _placed(each, places) for key, each in value.items()}
    return value


def _in_strings(text: NDArray[np.uint8], ends: Ints) -> Bools:
    """Whether each byte lies behind an odd number of quotes in its line."""
    inside = _odd_so_far(text == ord('"'))
    odd = inside[ends[:-1]]
    if odd.any():
        # A line with one quote too many must not turn those after it inside out.
        lengths = np.diff(ends, prepend=-1)
        lengths[-1:] += len(text) - 1 - ends[-1:]
        inside = inside ^ np.repeat(np.concatenate(([False], odd)), lengths)
    return inside


def _odd_so_far(marked: Bools) -> Bools:
    """Whether the number of marks up to each place, and there, is odd.

    By the bits of 64 places at a time, in a tenth of what counting from place to place takes.
    """
    bits = np.zeros(-(-len(marked) // 64) * 8, np.uint8)
    bits[: -(-len(marked) // 8)] = np.packbits(marked, bitorder="little")
    words: Words = bits.view("<u8")
    for shift in (1, 2, 4, 8, 16, 32):
        words ^= words << np.uint64(shift)
    odd = np.bitwise_xor.accumulate(words >> np.uint64(63))
    words[1:] ^= np.uint64(0) - odd[:-1]
    return np.unpackbits(bits, count=len(marked), bitorder="little").view(np.bool_)


def _values(text: NDArray[np.uint8], first: Ints, last: Ints) -> Ints:
    """The numbers whose digits stand from ``first`` to ``last``, eight digits at a time.

    The arithmetic on words is Daniel Lemire's ("Quickly parsing eight digits", 2018).
    """
    # [i] the eight bytes from i on.
    words: Words = np.ndarray(len(text) - 7, "<u8", text.data, strides=(1,))
    digits = last - first + 1
    values = _eight(words, last - 7, np.minimum(digits, 8))
    for done in (8, 16):
        more = np.flatnonzero(digits > done)
        if len(more):
            many = np.minimum(digits[more] - done, 8)
            values[more] += 10**done * _eight(words, last[more] - 7 - done, many)
    return values


def _eight(words: Words, at: Ints, many: Ints) -> Ints:
    """The numbers that the last ``many`` bytes of some words are the digits of."""
    word = (words[at] & np.uint64(0x0F0F0F0F0F0F0F0F)) & _LAST[many - 1]
    for times, bits, mask in _STEPS:
        word = (word * times + (word >> bits)) & mask
    return word.astype(np.int64)
