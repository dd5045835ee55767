"""Reads one ``samples.<stream>.npy``, which may be growing, cut off or damaged.

What comes out keeps the promises of `Series`, whatever the bytes were: rows that cannot be right
are left out, values that cannot be are unknown, and a sentence says how many.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timeline.recording.documents import open_file
from timeline.recording.format import (
    BLIND,
    HEADER_BYTES,
    HIGH_IS_KNOWN,
    HOST_FIELDS,
    LIMIT,
    SIZE_LIMIT,
    UNSEEN_SHIFT,
    UNSEEN_UNIT,
    stream_of,
)
from timeline.recording.types import UNKNOWN, Channel, Ints, Series

_HEADER = re.compile(
    rb"\{'descr': \[(.*)\], 'fortran_order': False, 'shape': \(([0-9]{1,18}),\), \} *\n"
)
_FIELD = re.compile(rb"\('(\w+)', '([<>|][iuf][1248])'\)(?:, |$)")
_ROW_FIELDS = ("t_ns", "read_ns", "flags", "hwm")
"""Fields that belong to the row; every other one is a channel's."""


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """The rows of one file, in the order of time.

    Attributes:
        name: the file's name.
        rows: [n] structured, as they were read.
        begun_ns, t_ns, unseen: [n] what all channels of the stream share, as in `Series`.
        damage: sentences, added to while channels are taken out.
    """

    name: str
    rows: NDArray[np.void]
    begun_ns: Ints
    t_ns: Ints
    unseen: Ints
    damage: list[str]

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that hold a channel's values, for a stream that no channel speaks of."""
        return tuple(name for name in self.rows.dtype.names or () if name not in _ROW_FIELDS)

    def high_of(self, field: str) -> str:
        """The field of the maxima of one of those channels; an empty text if it has none."""
        return "hwm" if field == "rss" and "hwm" in (self.rows.dtype.names or ()) else ""

    def series(self, channel: Channel, value: str, high: str) -> Series:
        """The series of one channel.

        Args:
            channel: whose ``exact`` is taken back if not every row carries the maximum.
            value: the field of its values; they are unknown if there is none of that name.
            high: the field of its maxima, or an empty text.
        """
        values = self._sizes(value)
        highs = self._sizes(high)
        if "flags" in (self.rows.dtype.names or ()):
            highs[self.rows["flags"] & HIGH_IS_KNOWN == 0] = UNKNOWN
        under = (highs != UNKNOWN) & (highs < values)
        if under.any():
            highs[under] = UNKNOWN
            self._note(int(under.sum()), "high-water marks lie under their value: taken as unknown")
        lacking = int((highs == UNKNOWN).sum())
        if channel.exact and lacking:
            channel = Channel(
                channel.name,
                channel.unit,
                channel.source,
                False,
                channel.reason or f"{lacking} of {len(highs)} samples carry no high-water mark",
            )
        return Series(channel, self.begun_ns, self.t_ns, values, highs, self.unseen)

    def _sizes(self, field: str) -> Ints:
        rows = self.rows
        if field not in (rows.dtype.names or ()) or rows.dtype[field].kind not in "iu":
            if field:
                self.damage.append(f"{self.name} has no whole numbers named {field!r}")
            return np.full(len(rows), UNKNOWN, np.int64)
        sizes = rows[field].astype(np.int64)
        bad = (sizes < UNKNOWN) | (sizes > SIZE_LIMIT)
        if bad.any():
            sizes[bad] = UNKNOWN
            self._note(int(bad.sum()), f"values of {field} cannot be right: taken as unknown")
        return sizes

    def _note(self, count: int, what: str) -> None:
        sentence = f"{self.name}: {count} of {len(self.rows)} {what}"
        if sentence not in self.damage:
            self.damage.append(sentence)


def read_stream(path: Path, promised: int, live: bool) -> Stream:
    """Read one file of samples.

    Args:
        path: the file.
        promised: how many rows there should be, if something else tells.
        live: whether it may be growing: then a part of a row at its end is no damage.

    Raises:
        NoRecordingError: it may not be read.
        OSError: it is not there, or is no regular file.
        ValueError: its header does not tell what its rows are.
    """
    name = path.name
    damage: list[str] = []
    with open_file(path) as file:
        dtype, counted = _parse_header(file.read(HEADER_BYTES))
        if stream_of(name) == "host" and not _has_host_fields(dtype):
            # The rows of this stream are known without their header, so they need not be lost.
            dtype, counted = np.dtype(list(HOST_FIELDS)), 0
            if not live:
                damage.append(f"{name}: the header is damaged; its rows are read as format 1's")
        if dtype is None:
            raise ValueError("its header is damaged")
        size = max(os.fstat(file.fileno()).st_size - HEADER_BYTES, 0)
        file.seek(HEADER_BYTES)
        rows: NDArray[np.void] = np.fromfile(file, dtype, size // dtype.itemsize)
    if size % dtype.itemsize and not live:
        damage.append(f"{name}: a torn last row was dropped")
    if len(rows) < max(promised, counted):
        gone = max(promised, counted) - len(rows)
        damage.append(f"{name} is cut: {gone} {'row is' if gone == 1 else 'rows are'} not there")
    return _in_order(name, rows, damage)


def _in_order(name: str, rows: NDArray[np.void], damage: list[str]) -> Stream:
    total = len(rows)
    t: Ints = rows["t_ns"].astype(np.int64)
    possible = (t > 0) & (t <= LIMIT)
    if not possible.all():
        rows, t = rows[possible], t[possible]
    if (t[1:] < t[:-1]).any():
        kept = _longest_in_order(t)
        rows, t = rows[kept], t[kept]
    if len(rows) < total:
        out = total - len(rows)
        verb = "is" if out == 1 else "are"
        damage.append(f"{name}: {out} of {total} rows {verb} out of the order of time: left out")
    names = rows.dtype.names or ()
    begun = t.copy()
    if "read_ns" in names and rows.dtype["read_ns"].kind in "iu":
        took = rows["read_ns"].astype(np.int64)
        # One thread reads one row after the other.
        earliest = np.concatenate((np.zeros(min(1, len(t)), np.int64), t[:-1]))
        begun = t - took
        wrong = (took < 0) | (took > LIMIT) | (begun < earliest)
        if wrong.any():
            begun[wrong] = t[wrong]
            damage.append(
                f"{name}: {int(wrong.sum())} of {len(t)} rows began before the one before"
            )
    unseen = np.zeros(len(rows), np.int64)
    if "flags" in names and rows.dtype["flags"].kind in "iu":
        flags = rows["flags"].astype(np.int64)
        most = (flags >> UNSEEN_SHIFT) * UNSEEN_UNIT
        unseen = np.where(flags & BLIND == 0, 0, np.where(most > 0, most, LIMIT))
    return Stream(name, rows, begun, t, unseen, damage)


def _parse_header(header: bytes) -> tuple[np.dtype[np.void] | None, int]:
    """The rows' type, or None, and the number of rows that the header speaks of."""
    # Magic and length are not looked at: where rows begin is known, and damage there costs nothing.
    found = _HEADER.fullmatch(header[10:])
    if found is None:
        return None, 0
    fields = [(name.decode(), kind.decode()) for name, kind in _FIELD.findall(found[1])]
    if ", ".join(map(repr, fields)) != found[1].decode("ascii", "replace"):
        return None, 0
    try:
        dtype = np.dtype(fields)
    except (TypeError, ValueError):
        return None, 0
    if ("t_ns", "<i8") not in fields:
        return None, 0
    return dtype, int(found[2])


def _has_host_fields(dtype: np.dtype[np.void] | None) -> bool:
    if dtype is None:
        return False
    kinds = {name: dtype[name] for name in dtype.names or ()}
    return all(kinds.get(name) == np.dtype(kind) for name, kind in HOST_FIELDS)


def _longest_in_order(t: Ints) -> Ints:
    """Indices of the most rows whose times do not decrease (patience sorting).

    One row with a time far ahead must not cost all rows after it.
    """
    lasts: list[int] = []  # by length: the smallest time that ends a sequence so long
    ends: list[int] = []  # the index of that time
    before = np.full(len(t), -1, np.int64)
    for i, time in enumerate(t.tolist()):
        length = bisect_right(lasts, time)
        if length:
            before[i] = ends[length - 1]
        if length == len(lasts):
            lasts.append(time)
            ends.append(i)
        else:
            lasts[length] = time
            ends[length] = i
    kept = np.empty(len(lasts), np.int64)
    i = ends[-1] if ends else -1
    for place in range(len(lasts) - 1, -1, -1):
        kept[place] = i
        i = int(before[i])
    return kept
