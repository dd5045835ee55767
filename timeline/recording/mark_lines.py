"""From the lines of marks to the columns of a table: many of one shape at once, or one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timeline.recording.alike import Alike
from timeline.recording.device_readings import DeviceReadings
from timeline.recording.documents import clean
from timeline.recording.format import LIMIT
from timeline.recording.mark_rows import DETAIL, KIND, NAME, NO_MARK, NO_NUMBER, NUMBERS
from timeline.recording.types import UNKNOWN, Ints, Kind

KINDS = {"b": Kind.BEGIN, "e": Kind.END, "m": Kind.TEXT, "r": Kind.READING, "d": NO_MARK}
"""By what a line says it is; a look at the GPUs between marks is read as they are."""


class MarkLines:
    """The marks of all files of a recording, as their lines are read.

    Attributes:
        names: every path and text once.
        details: what more is known of phases, each text once.
        devices: what the target's lines tell of its GPUs.
        readings: whether those of the file that is being read count.
        impossible: of that file, how many readings of GPUs cannot be right.
    """

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.details: dict[str, int] = {}
        self.devices = DeviceReadings()
        self.readings = True
        self.impossible = 0
        self._as_written: dict[str, int] = {}

    def take_alike(self, lines: Alike, before: int, marks: Ints) -> Ints | None:
        """Take in lines of one shape.

        Args:
            lines: of a chunk.
            before: how many lines of the file come before it.
            marks: [11, l] the table of the chunk, changed in place.

        Returns:
            [l] their times; None, and nothing was taken in, where they are to be looked at one by
            one.
        """
        record, numbers, at = lines.record, lines.numbers, lines.at
        kind, place = record.get("k"), record.get("t")
        if not isinstance(kind, str) or kind not in KINDS or type(place) is not int:
            return None
        t: Ints = numbers[place]
        texts = self._texts(KINDS[kind], record)
        if texts is None or not t.all():
            return None
        look = KINDS[kind] == NO_MARK
        if (look or "cuda" in record) and self.readings:
            found = record.get("cuda")
            if not self.devices.add_alike(before + at, t, found, numbers, look):
                return None
        if not look:
            marks[KIND, at], marks[NAME, at], marks[DETAIL, at] = KINDS[kind], *texts
            for row, key, default in NUMBERS:
                value = record.get(key)
                marks[row, at] = (
                    default
                    if key not in record
                    else numbers[value]
                    if type(value) is int
                    else NO_NUMBER
                )
        return t

    def take(self, record: dict[str, Any], t_ns: int, line: int) -> tuple[int, ...] | None:
        """Take in one line.

        Args:
            record: what it says; its kind is one of `KINDS`.
            t_ns: its time, which may be right.
            line: its number in the file.

        Returns:
            Its column of the table; None where it lacks what its kind has.
        """
        kind = KINDS[record["k"]]
        texts = self._texts(kind, record)
        if texts is None:
            return None
        look = kind == NO_MARK
        if (look or "cuda" in record) and self.readings:
            told = self.devices.add(line, t_ns, record.get("cuda"), look)
            if look and not told:
                return None
            self.impossible += not told
        numbers = (whole(record[key]) if key in record else default for _, key, default in NUMBERS)
        return (kind, *numbers, *texts)

    def _texts(self, kind: int, record: Mapping[str, object]) -> tuple[int, int] | None:
        """The places of a mark's name and detail; None where it lacks what its kind has."""
        if kind in (Kind.BEGIN, Kind.END):
            number = record.get("i")
            if type(number) is not int or not 0 <= number <= LIMIT:
                return None
        if kind not in (Kind.BEGIN, Kind.TEXT):
            return UNKNOWN, UNKNOWN
        text, detail = record.get("p"), record.get("w")
        if not isinstance(text, str):
            return None
        name = self._as_written.get(text, UNKNOWN)
        if name == UNKNOWN:
            # Two texts may be one once they are clean.
            name = self.names.setdefault(clean(text), len(self.names))
            self._as_written[text] = name
        if kind != Kind.BEGIN or not isinstance(detail, str):
            return name, UNKNOWN
        return name, self.details.setdefault(clean(detail), len(self.details))


def whole(value: object) -> int:
    """The number, or the nearest one that fits 64 bits and can still not be right."""
    return min(max(value, NO_NUMBER), 1 << 62) if type(value) is int else NO_NUMBER
