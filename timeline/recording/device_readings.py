"""What the marks and looks of a program tell of torch's allocator on each GPU (docs/format.md)."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import TypeGuard

import numpy as np

from timeline.recording.format import SIZE_LIMIT
from timeline.recording.types import UNKNOWN, Channel, Ints, Series

FIGURES = ("allocated", "reserved", "active", "inactive_split")
"""By device, each with its value and its maximum since the mark before; then two counts."""

COUNTS = ("retries", "ooms")

MOST_DEVICES = 128
_WIDTH = 2 * len(FIGURES) + len(COUNTS)
_COLUMNS = 2 + _WIDTH
"""The row of the mark, or -1 for a look in between; its time; what it tells."""


class DeviceReadings:
    """The readings of one program: those of a file's lines are added, then it is `settle`d."""

    def __init__(self) -> None:
        self._rows: dict[int, list[Ints]] = {}
        # Of the file that is being read, [k, 1 + _COLUMNS]: the line, whether it is a mark, …
        self._alone: dict[int, array[int]] = {}
        self._alike: dict[int, list[Ints]] = {}

    def add(self, line: int, t_ns: int, found: object, look: bool = False) -> bool:
        """Take in what a line tells under ``cuda``.

        Args:
            line: its number in the file.
            t_ns: when it was read.
            found: of JSON; false is returned where it cannot be right.
            look: whether the line is no mark.
        """
        if not isinstance(found, dict):
            return False
        for key, row in found.items():
            if not (_is_device(key) and _possible(row)):
                return False
            self._alone.setdefault(int(key), array("q")).extend((line, not look, t_ns, *row))
        return True

    def add_alike(
        self, lines: Ints, t_ns: Ints, found: object, numbers: Ints, look: bool = False
    ) -> bool:
        """Take in what lines of one shape tell; false, and nothing is, where one cannot be right.

        Args:
            lines, t_ns: [l] their numbers in the file and times.
            found: of JSON, with rows of ``numbers`` in place of numbers.
            numbers: [k, l]
            look: whether they are no marks.
        """
        if not isinstance(found, dict) or not all(map(_is_device, found)):
            return False
        if not all(map(_has_shape, found.values())):
            return False
        rows = {int(key): numbers[row] for key, row in found.items()}
        for told in rows.values():
            value, high = told[0 : 2 * len(FIGURES) : 2], told[1 : 2 * len(FIGURES) : 2]
            if (told > SIZE_LIMIT).any() or (high < value).any():
                return False
        mark = np.full(len(lines), not look)
        for device, told in rows.items():
            self._alike.setdefault(device, []).append(np.stack((lines, mark, t_ns, *told), axis=1))
        return True

    def settle(self, place: Ints) -> None:
        """All of a file was read.

        Args:
            place: [lines] which mark of the recording each line is; ``UNKNOWN`` for none.
        """
        for device in {**self._alone, **self._alike}:
            alone = np.array(self._alone.get(device, ()), np.int64).reshape(-1, 1 + _COLUMNS)
            rows = np.concatenate((alone, *self._alike.get(device, ())))
            rows = rows[np.argsort(rows[:, 0], kind="stable")]
            mark = rows[:, 1] != 0
            row = np.where(mark, place[rows[:, 0]], UNKNOWN)
            rows[:, 1] = row
            kept = ~mark | (row != UNKNOWN)
            if kept.any():
                self._rows.setdefault(device, []).append(rows[kept, 1:])
        self._alone, self._alike = {}, {}

    def last_look(self) -> tuple[int, dict[int, Ints]] | None:
        """The last look, where it came after the last mark that tells of its devices.

        No mark covers the time before it, so that it counts as one.
        """
        found = {device: rows[-1] for device, rows in self._tables() if rows[-1, 0] < 0}
        if not found:
            return None
        return max(int(row[1]) for row in found.values()), found

    def is_mark(self, mark: int, t_ns: int, found: Mapping[int, Ints]) -> None:
        """What `last_look` gave is a mark, too."""
        for device, row in found.items():
            self._rows[device].append(np.array([[mark, t_ns, *row[2:]]], np.int64))

    def of_marks(self, order: Ints) -> dict[str, tuple[Ints, Ints]]:
        """By channel the value and the maximum that each mark tells, or ``UNKNOWN``.

        Args:
            order: [m] which row each mark came from.
        """
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        columns: dict[str, tuple[Ints, Ints]] = {}
        for device, rows in self._tables():
            told = rows[rows[:, 0] >= 0]
            at = place[told[:, 0]]
            for i, name in enumerate(FIGURES):
                value = np.full(len(order), UNKNOWN, np.int64)
                high = value.copy()
                value[at], high[at] = told[:, 2 + 2 * i], told[:, 3 + 2 * i]
                columns[f"torch.cuda{device}.{name}"] = value, high
        return columns

    def series(self) -> dict[str, Series]:
        """The looks as series, and the counts of all readings as series of their own."""
        series: dict[str, Series] = {}
        for device, rows in self._tables():
            looks = rows[rows[:, 0] < 0]
            looks = looks[np.argsort(looks[:, 1], kind="stable")]
            for i, name in enumerate(FIGURES):
                value, high = looks[:, 2 + 2 * i], looks[:, 3 + 2 * i]
                exact = bool((rows[:, 3 + 2 * i] != UNKNOWN).all())
                reason = "" if exact else "torch's own peaks were left alone, as asked"
                channel = Channel(f"torch.cuda{device}.{name}", "byte", "torch", exact, reason)
                series[channel.name] = _series(channel, looks[:, 1], value, high)
            ordered = rows[np.argsort(rows[:, 1], kind="stable")]
            for i, name in enumerate(COUNTS):
                value = ordered[:, 2 + 2 * len(FIGURES) + i]
                channel = Channel(f"torch.cuda{device}.{name}", "count", "torch", True)
                series[channel.name] = _series(channel, ordered[:, 1], value, value)
        return series

    def _tables(self) -> list[tuple[int, Ints]]:
        for device, parts in self._rows.items():
            if len(parts) > 1:
                self._rows[device] = [np.concatenate(parts)]
        return [(device, self._rows[device][0]) for device in sorted(self._rows)]


def _series(channel: Channel, t_ns: Ints, value: Ints, high: Ints) -> Series:
    t_ns = np.ascontiguousarray(t_ns)
    return Series(
        channel,
        t_ns,
        t_ns,
        np.ascontiguousarray(value),
        np.ascontiguousarray(high),
        np.zeros(len(t_ns), np.int64),
    )


def _is_device(key: str) -> bool:
    return key.isascii() and key.isdigit() and len(key) < 4 and int(key) < MOST_DEVICES


def _has_shape(row: object) -> TypeGuard[list[int]]:
    return isinstance(row, list) and len(row) == _WIDTH and all(type(each) is int for each in row)


def _possible(row: object) -> bool:
    if not _has_shape(row) or not all(UNKNOWN <= each <= SIZE_LIMIT for each in row):
        return False
    return all(
        row[i] >= 0 and (row[i + 1] >= row[i] or row[i + 1] == UNKNOWN)
        for i in range(0, 2 * len(FIGURES), 2)
    )
