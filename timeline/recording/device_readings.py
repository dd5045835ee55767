"""What the marks and looks of a program tell of torch's allocator on each GPU (docs/format.md)."""

from __future__ import annotations

from array import array
from collections.abc import Mapping

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
    """The readings of one program, as its lines are read."""

    def __init__(self) -> None:
        self._rows: dict[int, array[int]] = {}

    def add(self, mark: int, t_ns: int, found: object) -> bool:
        """Take in what a line tells under ``cuda``.

        Args:
            mark: the row of the line's mark; -1 for a look.
            t_ns: when it was read.
            found: of JSON; false is returned where it cannot be right.
        """
        if not isinstance(found, dict):
            return False
        for key, row in found.items():
            if not (key.isascii() and key.isdigit() and len(key) < 4 and _possible(row)):
                return False
            device = int(key)
            if device >= MOST_DEVICES:
                return False
            self._rows.setdefault(device, array("q")).extend((mark, t_ns, *row))
        return True

    def last_look(self) -> tuple[int, Mapping[str, list[int]]] | None:
        """The last look, where it came after the last mark that tells of its devices.

        No mark covers the time before it, so that it counts as one.
        """
        found: dict[str, list[int]] = {}
        latest = 0
        for device, rows in self._rows.items():
            mark, t_ns, *row = rows[-_COLUMNS:]
            if mark < 0:
                found[str(device)] = row
                latest = max(latest, t_ns)
        return (latest, found) if found else None

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
        return [
            (device, np.frombuffer(self._rows[device], np.int64).reshape(-1, _COLUMNS))
            for device in sorted(self._rows)
        ]


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


def _possible(row: object) -> bool:
    if not isinstance(row, list) or len(row) != _WIDTH:
        return False
    if not all(type(each) is int and UNKNOWN <= each <= SIZE_LIMIT for each in row):
        return False
    return all(
        row[i] >= 0 and (row[i + 1] >= row[i] or row[i + 1] == UNKNOWN)
        for i in range(0, 2 * len(FIGURES), 2)
    )
