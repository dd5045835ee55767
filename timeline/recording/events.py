"""Reads the ``events.<pid>.jsonl`` of a recording into columns, torn and damaged lines or not.

What comes out keeps the promises of `Marks`: in the order of time, each phase with one begin and
at most one end after it. What cannot be read is left out, and a sentence says how many.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Any

import numpy as np

from timeline.recording.device_readings import DeviceReadings
from timeline.recording.documents import clean, open_file
from timeline.recording.format import LIMIT, SIZE_LIMIT
from timeline.recording.types import UNKNOWN, Kind, Marks, Raised

_CHUNK_BYTES = 1 << 17
"""Lines are parsed as one JSON array of about this size, in half the time of one by one."""

_LONGEST_READ_NS = 1 << 32

_BEGIN, _END, _TEXT, _READING = map(int, Kind)

_COLUMNS = 10
_ROW_BYTES = 8 * _COLUMNS
_pack_row = Struct(f"={_COLUMNS}q").pack
"""Bytes of a mark's columns in the order of `Marks`: a tenth of the memory of their objects."""

_TORN = object()
"""Stands for a part of a line at the end of the file."""

_UNENDED = object()
"""Follows a whole last line that lacks its end of line: a cut, or where writing failed."""


class Events:
    """What the lines of all files of a recording say; `read` takes in one file after the other.

    Attributes:
        facts: learned on the way, by name.
        missing: a sentence for each thing that cannot be measured.
        pid: of the first process, 0 if no line tells it.
        first_ns, last_ns: of all lines that have a time; 0 if there are none.
        devices: what the target's lines tell of its GPUs.
        raised: the exception that the process of the readings ended with, if it was one.
        closed: whether the process of the readings wrote its last line, a reading before it.
        sizes: of each file in bytes, by its name.
        damage: a sentence for each thing that was lost.
    """

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.facts: dict[str, str] = {}
        self.missing: list[str] = []
        self.pid = 0
        self.first_ns = 0
        self.last_ns = 0
        self.devices = DeviceReadings()
        self.raised: Raised | None = None
        self.closed = False
        self.damage: list[str] = []
        self._marks = bytearray()
        # The numbers that this process gave its phases, and ours, which are unique over all files.
        self._numbers: dict[int, int] = {}
        # By our number: name, parent, thread; and when it began, past LIMIT once it has ended.
        self._phases: list[tuple[int, int, int]] = []
        self._begun: list[int] = []
        self._names: dict[str, int] = {}
        self._cleaned: dict[str, int] = {}
        self._details: dict[int, str] = {}
        self._readings = True
        self._strays = 0
        self._impossible = 0

    def read(self, path: Path, live: bool, readings: bool = True) -> None:
        """Take in one file.

        Args:
            path: the file.
            live: whether it may be growing: then a line without its end is no damage.
            readings: whether its process is the one that ``host.rss`` is read of; a reading of
                another process would be no point of that curve, and is left out.

        Raises:
            NoRecordingError: it may not be read.
            OSError: it is not there, or is no regular file.
        """
        takers = {
            "b": self._begin,
            "e": self._end,
            "m": self._text,
            "r": self._reading,
            "d": self._look,
            "start": self._start,
            "error": self._error,
            "stop": self._stop,
            "fact": self._fact,
            "missing": self._missing,
        }
        self._numbers = {}
        self._readings = readings
        self._strays = self._impossible = lost = unheard = 0
        torn = unended = False
        for record in self._records(path):
            if type(record) is not dict:
                if record is _UNENDED:
                    unended = True
                elif record is _TORN:
                    torn = True
                else:
                    lost += 1
                continue
            t, kind = record.get("t"), record.get("k")
            if type(t) is not int or not 0 < t <= LIMIT or type(kind) is not str:
                lost += 1
            elif kind not in takers:
                unheard += 1
            elif not takers[kind](t, record):
                lost += 1
            else:
                if t > self.last_ns:
                    self.last_ns = t
                if t < self.first_ns or not self.first_ns:
                    self.first_ns = t
        found = (
            (lost, "line cannot", "lines cannot", "be read: left out"),
            (
                unheard,
                "line is",
                "lines are",
                "of a kind that this version does not know: left out",
            ),
            (self._strays, "end of a phase has", "ends of phases have", "no beginning: left out"),
            (self._impossible, "reading cannot", "readings cannot", "be right: taken as unknown"),
        )
        self.damage += [
            f"{path.name}: {count} {one if count == 1 else many} {what}"
            for count, one, many, what in found
            if count
        ]
        if torn and not live:
            self.damage.append(f"{path.name}: a torn last line was dropped")
        if unended and not live:
            self.damage.append(f"{path.name} is cut: its last line has no end")

    def marks(self) -> Marks:
        """The marks of all files, in the order of time."""
        look = self.devices.last_look()
        if look is not None:
            self._add(_READING, look[0], {"cuda": look[1]}, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)
        rows = np.frombuffer(self._marks, np.int64).reshape(-1, _COLUMNS)
        # Two threads may have written in another order than they looked at the clock.
        order = np.argsort(rows[:, 2], kind="stable")
        rows = rows[order]
        kind, begun, t, phase, parent, thread, name, rss, high, unseen = map(
            np.ascontiguousarray, rows.T
        )
        return Marks(
            kind=kind.astype(np.uint8),
            begun_ns=begun,
            t_ns=t,
            phase=phase,
            parent=parent,
            thread=thread,
            name=name,
            rss=rss,
            high=high,
            unseen=unseen,
            names=tuple(self._cleaned),
            details=self._details,
            devices=self.devices.of_marks(order),
        )

    def _begin(self, t: int, record: dict[str, Any]) -> bool:
        number, path, parent = record.get("i"), record.get("p"), record.get("up")
        if type(number) is not int or type(path) is not str:
            return False
        around = self._numbers.get(parent, UNKNOWN) if type(parent) is int else UNKNOWN
        phase = self._numbers[number] = len(self._phases)
        known = (self._name(path), around, _thread(record))
        self._phases.append(known)
        self._begun.append(t)
        detail = record.get("w")
        if type(detail) is str:
            self._details[phase] = clean(detail)
        self._add(_BEGIN, t, record, phase, *known)
        return True

    def _end(self, t: int, record: dict[str, Any]) -> bool:
        number = record.get("i")
        if type(number) is not int:
            return False
        phase = self._numbers.get(number, UNKNOWN)
        if phase == UNKNOWN or t < self._begun[phase]:
            self._strays += 1
        else:
            self._begun[phase] = LIMIT + 1
            self._add(_END, t, record, phase, *self._phases[phase])
        return True

    def _text(self, t: int, record: dict[str, Any]) -> bool:
        text = record.get("p")
        if type(text) is not str:
            return False
        self._add(_TEXT, t, record, UNKNOWN, self._name(text), UNKNOWN, _thread(record))
        return True

    def _reading(self, t: int, record: dict[str, Any]) -> bool:
        self._add(_READING, t, record, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)
        return True

    def _look(self, t: int, record: dict[str, Any]) -> bool:
        return not self._readings or self.devices.add(UNKNOWN, t, record.get("cuda"))

    def _start(self, t: int, record: dict[str, Any]) -> bool:
        pid, python = record.get("pid"), record.get("python")
        if not self.pid and type(pid) is int and 0 < pid < LIMIT:
            self.pid = pid
        if type(python) is str:
            self.facts.setdefault("python", clean(python))
        return True

    def _stop(self, t: int, record: dict[str, Any]) -> bool:
        self.closed = self.closed or self._readings
        return True

    def _error(self, t: int, record: dict[str, Any]) -> bool:
        kind, text, where = record.get("type"), record.get("p"), record.get("at", "")
        if not (type(kind) is type(text) is type(where) is str):
            return False
        number = record.get("i")
        sizes = [record.get(key) for key in ("virtual", "limit")]
        virtual, limit = (
            size if type(size) is int and 0 <= size <= SIZE_LIMIT else UNKNOWN for size in sizes
        )
        if self._readings:
            phase = self._numbers.get(number, UNKNOWN) if type(number) is int else UNKNOWN
            self.raised = Raised(t, clean(kind), clean(text), clean(where), phase, virtual, limit)
        return True

    def _fact(self, t: int, record: dict[str, Any]) -> bool:
        name, value = record.get("name"), record.get("value")
        if type(name) is not str or type(value) is not str:
            return False
        self.facts[clean(name)] = clean(value)
        return True

    def _missing(self, t: int, record: dict[str, Any]) -> bool:
        sentence = record.get("p")
        if type(sentence) is not str:
            return False
        self.missing.append(clean(sentence))
        return True

    def _add(
        self,
        kind: int,
        t: int,
        record: dict[str, Any],
        phase: int,
        name: int,
        parent: int,
        thread: int,
    ) -> None:
        get = record.get
        took, rss, high, unseen = get("d", 0), get("rss", UNKNOWN), get("hwm", UNKNOWN), get("x")
        if not (
            type(took) is type(rss) is type(high) is int
            and 0 <= took <= _LONGEST_READ_NS
            and took <= t
            and UNKNOWN <= rss <= SIZE_LIMIT
            and (rss <= high <= SIZE_LIMIT or high == UNKNOWN)
        ):
            took, rss, high = self._possible(t, took, rss, high)
        # 1 stands for something unseen whose bound is not known.
        most = unseen if type(unseen) is int and unseen > 0 else 0
        most = min(most, LIMIT) if most != 1 else LIMIT
        if not self._readings:
            rss, high, most = UNKNOWN, UNKNOWN, 0
        elif "cuda" in record and not self.devices.add(
            len(self._marks) // _ROW_BYTES, t, record["cuda"]
        ):
            self._impossible += 1
        self._marks += _pack_row(kind, t - took, t, phase, parent, thread, name, rss, high, most)

    def _possible(self, t: int, took: object, rss: object, high: object) -> tuple[int, int, int]:
        """A reading without the parts that cannot be right."""
        self._impossible += 1
        if type(took) is not int or not 0 <= took <= min(t, _LONGEST_READ_NS):
            took = 0
        if type(rss) is not int or not UNKNOWN <= rss <= SIZE_LIMIT:
            rss = UNKNOWN
        if type(high) is not int or not rss <= high <= SIZE_LIMIT:
            high = UNKNOWN
        return took, rss, high

    def _name(self, text: str) -> int:
        index = self._names.get(text, UNKNOWN)
        if index == UNKNOWN:
            # Two texts may be one once they are clean; `names` has each once.
            index = self._cleaned.setdefault(clean(text), len(self._cleaned))
            self._names[text] = index
        return index

    def _records(self, path: Path) -> Iterator[object]:
        """What each line says, in their order; None for one that is not JSON."""
        with open_file(path) as file:
            left = self.sizes[path.name] = os.fstat(file.fileno()).st_size
            # No further than it was when it was opened: a busy writer would keep us here.
            while left > 0 and (lines := file.readlines(min(_CHUNK_BYTES, left))):
                left -= sum(map(len, lines))
                last = b"" if lines[-1].endswith(b"\n") else lines.pop()
                try:
                    records = json.loads((b"[" + b",".join(lines) + b"]").decode())
                except (ValueError, RecursionError):
                    records = []
                yield from records if len(records) == len(lines) else map(_record, lines)
                if last:
                    record = _record(last)
                    yield _TORN if record is None else record
                    if record is not None:
                        yield _UNENDED


def _thread(record: dict[str, Any]) -> int:
    thread = record.get("th")
    return thread if type(thread) is int and 0 <= thread < 1 << 63 else UNKNOWN


def _record(line: bytes) -> object:
    try:
        return json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
