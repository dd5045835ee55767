"""Reads the ``events.<pid>.jsonl`` of a recording into columns, torn and damaged lines or not.

What comes out keeps the promises of `Marks`: in the order of time, each phase with one begin and
at most one end after it. What cannot be read is left out, and a sentence says how many.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from timeline.recording.alike import Shapes
from timeline.recording.anatomy import HeapLook
from timeline.recording.documents import clean, open_file
from timeline.recording.format import LIMIT, SIZE_LIMIT
from timeline.recording.json_lines import parsed, parsed_line, pieces
from timeline.recording.mark_lines import KINDS, MarkLines, whole
from timeline.recording.mark_rows import (
    COLUMNS,
    DETAIL,
    HIGH,
    KIND,
    NAME,
    NO_MARK,
    NUMBER,
    RSS,
    THREAD,
    TOOK,
    UNSEEN,
    UP,
    T,
    check,
    pair,
)
from timeline.recording.types import UNKNOWN, Ints, Kind, Marks, Raised

MARKS_END = "marks end here"
"""How the recorder's sentence begins where it can write no more marks."""

_CHUNK_BYTES = 1 << 18
"""So much of a file is parsed at once: larger ones gain nothing, and take more memory."""

_NONE = np.empty((COLUMNS, 0), np.int64)


class Events:
    """What the lines of all files of a recording say; `read` takes in one file after the other.

    Attributes:
        facts: learned on the way, by name.
        missing: a sentence for each thing that cannot be measured.
        pid: of the first process, 0 if no line tells it.
        first_ns, last_ns: of all lines that have a time; 0 if there are none.
        devices: what the target's lines tell of its GPUs.
        heaps: looks at the target's heap in single phases.
        raised: the exception that the process of the readings ended with, if it was one.
        closed_ns: when the process of the readings wrote its last line, a reading before it; 0
            if it did not.
        cut_ns: the last moment that its lines tell of, where it could write no more; else 0.
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
        self.raised: Raised | None = None
        self.closed_ns = 0
        self.cut_ns = 0
        self.heaps: list[HeapLook] = []
        self.damage: list[str] = []
        self._said = MarkLines()
        self.devices = self._said.devices
        self._details: dict[int, str] = {}
        # By file, with when the reading began in the place of what it took, and with our numbers of
        # phases, which are unique over all files.
        self._tables: list[Ints] = []
        self._marks = self._phases = 0
        # Of the file that is being read: the lines so far, what could not be read of them, and the
        # exception with its phase's number and its line.
        self._lines = 0
        self._lost = self._unheard = self._impossible = 0
        self._failed: tuple[Raised, int, int] | None = None
        # And its looks at the heap, each with its line and its phase's number.
        self._looks: list[tuple[HeapLook, int]] = []

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
        self._said.readings, self._said.impossible = readings, 0
        self._lines = self._lost = self._unheard = self._impossible = 0
        self._failed, self._looks = None, []
        shapes = Shapes()
        parts = [_NONE]
        torn = unended = False
        with open_file(path) as file:
            # No further than it was when it was opened: a busy writer would keep us here.
            size = self.sizes[path.name] = os.fstat(file.fileno()).st_size
            try:
                for lines in pieces(file, size, _CHUNK_BYTES):
                    if not lines[-1].endswith(b"\n"):
                        last = lines.pop()
                        # A cut, or where writing failed: within a line, or behind one.
                        torn = parsed_line(last) is None
                        unended = not torn
                        lines += [] if torn else [last + b"\n"]
                    parts.append(self._parsed(lines, shapes))
            finally:
                # A disk that fails in the middle has given what lies before.
                strays = self._settle(np.concatenate(parts, axis=1))
        impossible = self._impossible + self._said.impossible
        found = (
            (self._lost, "line cannot", "lines cannot", "be read: left out"),
            (
                self._unheard,
                "line is",
                "lines are",
                "of a kind that this version does not know: left out",
            ),
            (strays, "end of a phase has", "ends of phases have", "no beginning: left out"),
            (impossible, "reading cannot", "readings cannot", "be right: taken as unknown"),
        )
        self.damage += [
            f"{path.name}: {count} {one if count == 1 else many} {what}"
            for count, one, many, what in found
            if count
        ]
        if readings and (torn or unended) and not live:
            self.cut_ns = int(self._tables[-1][T].max(initial=0))
        if torn and not live:
            self.damage.append(f"{path.name}: a torn last line was dropped")
        if unended and not live:
            self.damage.append(f"{path.name} is cut: its last line has no end")

    def marks(self) -> Marks:
        """The marks of all files, in the order of time."""
        tables = self._tables
        look = self.devices.last_look()
        if look is not None:
            t_ns, found = look
            self.devices.is_mark(self._marks, t_ns, found)
            row = np.full((COLUMNS, 1), UNKNOWN, np.int64)
            row[[KIND, T, TOOK, UNSEEN], 0] = Kind.READING, t_ns, t_ns, 0
            tables = [*tables, row]
        table = tables[0] if len(tables) == 1 else np.concatenate((_NONE, *tables), axis=1)
        order = np.arange(table.shape[1])
        if (table[T, 1:] < table[T, :-1]).any():
            # Two threads may have written in another order than they looked at the clock.
            order = np.argsort(table[T], kind="stable")
            table = table[:, order]
        return Marks(
            kind=table[KIND].astype(np.uint8),
            begun_ns=table[TOOK],
            t_ns=table[T],
            phase=table[NUMBER],
            parent=table[UP],
            thread=table[THREAD],
            name=table[NAME],
            rss=table[RSS],
            high=table[HIGH],
            unseen=table[UNSEEN],
            names=tuple(self._said.names),
            details=self._details,
            devices=self.devices.of_marks(order),
        )

    def _parsed(self, lines: Sequence[bytes], shapes: Shapes) -> Ints:
        """A table of marks with a column for each line."""
        marks = np.zeros((COLUMNS, len(lines)), np.int64)
        marks[KIND] = NO_MARK
        alone = list(range(len(lines)))
        if lines and sum(map(len, lines)) <= 4 * _CHUNK_BYTES:
            alike, alone = shapes.split(lines)
            for each in alike:
                t = self._said.take_alike(each, self._lines, marks)
                if t is None:
                    alone += each.at.tolist()
                else:
                    self._seen(int(t.min()), int(t.max()))
            alone.sort()
        self._take_alone(zip(alone, parsed([lines[i] for i in alone]), strict=True), marks)
        self._impossible += check(marks, self._said.readings)
        self._lines += len(lines)
        return marks

    def _take_alone(self, records: Iterable[tuple[int, object]], marks: Ints) -> None:
        """Take in what lines say, each with its place among them; None for one that is no JSON."""
        rows = []
        for at, record in records:
            if not isinstance(record, dict):
                self._lost += 1
                continue
            t, kind = record.get("t"), record.get("k")
            if type(t) is not int or not 0 < t <= LIMIT or type(kind) is not str:
                self._lost += 1
            elif kind in KINDS:
                row = self._said.take(record, t, self._lines + at)
                if row is None:
                    self._lost += 1
                    continue
                self._seen(t, t)
                if row[0] != NO_MARK:
                    rows.append((at, *row))
            elif kind not in _TAKERS:
                self._unheard += 1
            elif _TAKERS[kind](self, record, t, self._lines + at):
                self._seen(t, t)
            else:
                self._lost += 1
        if rows:
            at, *columns = np.array(rows, np.int64).T
            marks[:, at] = columns

    def _seen(self, first_ns: int, last_ns: int) -> None:
        self.last_ns = max(self.last_ns, last_ns)
        self.first_ns = min(self.first_ns, first_ns) if self.first_ns else first_ns

    def _settle(self, marks: Ints) -> int:
        """Take in the marks of a whole file; returns how many ends have no begin."""
        paired = pair(marks)
        self.devices.settle(np.where(paired.place >= 0, paired.place + self._marks, UNKNOWN))
        marks = paired.marks
        for row in (NUMBER, UP):
            marks[row] += np.where(marks[row] >= 0, self._phases, 0)
        if self._said.details:
            told = np.flatnonzero((marks[KIND] == Kind.BEGIN) & (marks[DETAIL] >= 0))
            texts = map(list(self._said.details).__getitem__, marks[DETAIL, told].tolist())
            self._details.update(zip(marks[NUMBER, told].tolist(), texts, strict=True))
        if self._failed is not None:
            raised, number, line = self._failed
            which = int(paired.begun.latest(np.array([number]), np.array([line]))[0])
            self.raised = replace(raised, phase=which + self._phases if which >= 0 else UNKNOWN)
        for look, line in self._looks:
            which = int(paired.begun.latest(np.array([look.phase]), np.array([line]))[0])
            if which >= 0:
                self.heaps.append(replace(look, phase=which + self._phases))
        marks[TOOK] = marks[T] - marks[TOOK]
        self._tables.append(marks)
        self._marks += marks.shape[1]
        self._phases += len(paired.begun.rows)
        return paired.strays

    def _start(self, record: dict[str, Any], t: int, line: int) -> bool:
        pid, python = record.get("pid"), record.get("python")
        if not self.pid and type(pid) is int and 0 < pid < LIMIT:
            self.pid = pid
        if type(python) is str:
            self.facts.setdefault("python", clean(python))
        return True

    def _stop(self, record: dict[str, Any], t: int, line: int) -> bool:
        if self._said.readings:
            self.closed_ns = max(self.closed_ns, t)
        return True

    def _error(self, record: dict[str, Any], t: int, line: int) -> bool:
        kind, text, where = record.get("type"), record.get("p"), record.get("at", "")
        if not (type(kind) is type(text) is type(where) is str):
            return False
        sizes = [record.get(key) for key in ("virtual", "limit")]
        virtual, limit = (
            size if type(size) is int and 0 <= size <= SIZE_LIMIT else UNKNOWN for size in sizes
        )
        if self._said.readings:
            raised = Raised(t, clean(kind), clean(text), clean(where), UNKNOWN, virtual, limit)
            self._failed = raised, whole(record.get("i")), line
        return True

    def _heap(self, record: dict[str, Any], t: int, line: int) -> bool:
        begin, end = _state(record.get("begin")), _state(record.get("end"))
        most = record.get("most", UNKNOWN)
        if begin is None or end is None or not _is_size(most):
            return False
        if self._said.readings:
            self._looks.append((HeapLook(whole(record.get("i")), begin, end, most), line))
        return True

    def _fact(self, record: dict[str, Any], t: int, line: int) -> bool:
        name, value = record.get("name"), record.get("value")
        if type(name) is not str or type(value) is not str:
            return False
        self.facts[clean(name)] = clean(value)
        return True

    def _missing(self, record: dict[str, Any], t: int, line: int) -> bool:
        sentence = record.get("p")
        if type(sentence) is not str:
            return False
        self.missing.append(clean(sentence))
        if self._said.readings and sentence.startswith(MARKS_END):
            self.cut_ns = t
        return True


def _state(value: object) -> tuple[int, int, int] | None:
    if not isinstance(value, list) or len(value) != 3:
        return None
    if not all(map(_is_size, value)):
        return None
    return value[0], value[1], value[2]


def _is_size(value: object) -> bool:
    return type(value) is int and UNKNOWN <= value <= SIZE_LIMIT


_TAKERS = {
    "start": Events._start,
    "error": Events._error,
    "stop": Events._stop,
    "fact": Events._fact,
    "h": Events._heap,
    "missing": Events._missing,
}
"""By kind, what takes in a line that is no mark."""
