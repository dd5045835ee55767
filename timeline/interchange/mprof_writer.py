"""Writes a recording as a file of memory_profiler's mprof; `timeline.interchange.mprof` reads them.

mprof splits its lines at each space, and draws names with matplotlib, which takes what stands
between two dollar signs for mathematics. So spaces in names become no-break spaces and dollar
signs are escaped; reading turns them back.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from timeline.errors import DamagedRecordingError
from timeline.interchange.mprof import ALL, HOST, NO_BREAK_SPACE
from timeline.recording.types import UNKNOWN, Ints, Kind, Recording

_CHILDREN = re.compile(r"children\.(?:(.+)\.)?rss")


def write(recording: Recording, path: Path) -> None:
    """Write a file that ``mprof plot`` and ``mprof peak`` read; what is at the path is replaced.

    A MEM line is a reading with the maximum since the reading before, where it is known, so the
    peak that mprof shows is the recording's. Marks with such a reading add MEM lines of their own.

    Raises:
        DamagedRecordingError: there is no reading of host memory to write.
        OSError: the file cannot be written.
    """
    t, value, most = _readings(recording)
    if not len(t):
        raise DamagedRecordingError(
            f"{recording.path or 'the recording'} holds no reading of host memory to export"
        )
    run = recording.run
    to_wall = run.started_time_ns - run.started_ns
    shown = most != UNKNOWN
    lines = [f"CMDLINE {_command_line(run.argv)}"]
    lines += _samples("MEM", t[shown] + to_wall, most[shown])
    for series in recording.series.values():
        match = _CHILDREN.fullmatch(series.channel.name)
        if match:
            key = _one_word(match[1]) if match[1] else ALL
            read = series.value != UNKNOWN
            lines += _samples(f"CHLD {key}", series.t_ns[read] + to_wall, series.value[read])
    lines += _functions(recording, t, value, to_wall)
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        file.writelines(line + "\n" for line in lines)


def _readings(recording: Recording) -> tuple[Ints, Ints, Ints]:
    """All readings in the order of time: when, how much, and what mprof is to show, if anything."""
    series, marks = recording.series.get(HOST), recording.marks
    # A mark's reading is a sample of its own only where it tells of the time before it.
    own = np.where(marks.high == UNKNOWN, UNKNOWN, np.maximum(marks.high, marks.rss))
    t, value, most = marks.t_ns, marks.rss, own
    if series is not None:
        t = np.concatenate((series.t_ns, t))
        value = np.concatenate((series.value, value))
        most = np.concatenate((np.maximum(series.value, series.high), most))
    read = np.flatnonzero(value != UNKNOWN)
    read = read[np.argsort(t[read], kind="stable")]
    return t[read], value[read], most[read]


def _samples(kind: str, t: Ints, size: Ints) -> Iterator[str]:
    for t_ns, count in zip(t.tolist(), size.tolist(), strict=True):
        yield f"{kind} {_mib(count)} {_seconds(t_ns)}"


def _functions(recording: Recording, t: Ints, value: Ints, to_wall: int) -> Iterator[str]:
    """A FUNC line for each phase; one that never ended goes to the end of the run."""
    marks = recording.marks
    ends = {
        int(marks.phase[row]): row for row in np.flatnonzero(marks.kind == Kind.END)[::-1].tolist()
    }
    depth: dict[int, int] = {}

    def border(row: int) -> str:
        rss = int(marks.rss[row])
        return f"{_mib(rss if rss != UNKNOWN else before(int(marks.t_ns[row])))} " + _seconds(
            int(marks.t_ns[row]) + to_wall
        )

    def before(t_ns: int) -> int:
        """The last reading up to a moment that has none of its own."""
        return int(value[max(int(np.searchsorted(t, t_ns, side="right")) - 1, 0)])

    for row in np.flatnonzero(marks.kind == Kind.BEGIN).tolist():
        number, up = int(marks.phase[row]), int(marks.parent[row])
        depth[number] = depth[up] + 1 if up in depth else 0
        ended = ends.get(number)
        if ended is not None:
            end = border(ended)
        else:
            end = f"{_mib(int(value[-1]))} {_seconds(recording.run.ended_ns + to_wall)}"
        name = _word_of(marks.names[int(marks.name[row])])
        yield f"FUNC {name} {border(row)} {end} {depth[number]}"


def _mib(count: int) -> str:
    return f"{count / (1 << 20):.6f}"


def _seconds(t_ns: int) -> str:
    # Whole numbers: a double of seconds since 1970 would round the microseconds.
    return f"{t_ns // 10**9}.{t_ns % 10**9 // 1000:06d}"


def _command_line(argv: tuple[str, ...]) -> str:
    line = shlex.join(("python", *argv)) if argv else ""
    return _drawable("".join(" " if char in "\r\n" else char for char in line))


def _word_of(name: str) -> str:
    if not name:
        return "-"
    # See _name: the first point would be taken for the end of an empty module's name.
    return _drawable(_one_word("." + name if name.startswith(".") else name))


def _one_word(text: str) -> str:
    return "".join(NO_BREAK_SPACE if char.isspace() else char for char in text)


def _drawable(text: str) -> str:
    return text.replace("$", r"\$")
