"""memory_profiler's files, in and out: what ``mprof run`` writes and ``mprof plot`` draws.

A file of mprof is lines of text, sizes in MiB and times in seconds of the wall clock::

    CMDLINE /usr/bin/python3 train.py 'a b'
    MEM 77.605469 1795335065.2962                                    a sample
    CHLD 7254 68.949219 1795335066.3923                              a sample of the child 7254
    FUNC __main__.f 27.6016 1795335065.2485 97.6094 1795335065.6032 0  a call, written at the end

It tells neither how the program ended nor what was read: RSS, or by another backend USS or PSS,
with ``-C`` the children's added. All FUNC lines are written as the program exits, by another
process than the other lines, so they stand anywhere.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from timeline.errors import DamagedRecordingError
from timeline.recording.types import (
    UNKNOWN,
    Channel,
    Ints,
    Kind,
    Marks,
    Recording,
    Run,
    Series,
)

SOURCE = "mprof"
NOT_EXACT = "mprof took samples: what memory did between two of them was not seen"

HOST = "host.rss"
_MISSING = (
    "how the program ended: a file of mprof does not say",
    "which size mprof read (RSS, USS or PSS, with or without children): its file does not say",
)

_FIELDS = (b"CMDLINE", b"MEM", b"CHLD", b"FUNC")
# A name may hold spaces (a block's, by profile.timestamp): what has no point cannot be a figure.
_NUMBER = rb"(-?[0-9]+\.[0-9]+)"
_FUNC = re.compile(rb"(.+) %b %b %b %b(?: ([0-9]+))?" % ((_NUMBER,) * 4))

ALL = "all"
"""The key that the channel of all children together is written under."""

NO_BREAK_SPACE = "\u00a0"

_KIB_IN_MIB = 1024
_LARGEST_MIB = float(1 << 42)
_LATEST_S = 9.2e9
"""Beyond these neither bytes nor nanoseconds fit 64 bits."""

Floats = NDArray[np.float64]

Sample = tuple[float, float]
"""MiB and seconds."""


@dataclass(slots=True)
class _Lines:
    """What the lines of one file say."""

    command: list[bytes] = field(default_factory=list)
    memory: list[Sample] = field(default_factory=list)
    children: dict[str, list[Sample]] = field(default_factory=dict)
    calls: list[tuple[str, float, float, float, float, int]] = field(default_factory=list)
    unread: int = 0
    torn: bool = False


@dataclass(frozen=True, slots=True)
class _Call:
    """One FUNC line: bytes and nanoseconds."""

    name: str
    begin_ns: int
    end_ns: int
    before: int
    after: int
    level: int


# Reading


def is_mprof(head: bytes) -> bool:
    """Whether a file that begins so is one of mprof's."""
    return head.lstrip().partition(b" ")[0] in _FIELDS


def load(path: Path) -> Recording:
    """Read a file of mprof.

    The times of the recording are the wall clock's, its format is 0. Sizes are rounded to whole
    KiB, which gives back what was read: systems count RSS in pages.

    Raises:
        DamagedRecordingError: there is not one sample in it.
        OSError: it cannot be read.
    """
    lines = _parse(path.read_bytes())
    memory = _series(HOST, lines.memory)
    if not len(memory):
        raise DamagedRecordingError(f"{path} holds no sample: {_why_none(lines)}")
    children = [
        _series(_channel_of(key), samples) for key, samples in sorted(lines.children.items())
    ]
    calls = _calls(lines)
    times = [memory.t_ns, *(each.t_ns for each in children if len(each))]
    start = min(int(t[0]) for t in times)
    end = max(int(t[-1]) for t in times)
    if calls:
        start = min(start, calls[0].begin_ns)
        end = max(end, max(each.end_ns for each in calls))
    return Recording(
        path=path,
        format=0,
        run=Run(
            argv=_argv(lines.command[-1]) if lines.command else (),
            cwd="",
            host="",
            pid=UNKNOWN,
            started_ns=start,
            started_time_ns=start,
            ended_ns=end,
            interval_ns=0,
            backend=SOURCE,
            end="exited",
        ),
        series={each.channel.name: each for each in (memory, *children) if len(each)},
        marks=_marks(calls),
        missing=_MISSING,
        damage=tuple(_damage(lines)),
    )


def _parse(data: bytes) -> _Lines:
    found = _Lines()
    lines = data.split(b"\n")
    # The last line has no newline only where its writer was cut off: a figure may lack digits.
    found.torn = bool(lines.pop().strip())
    for line in lines:
        kind, _, rest = line.rstrip(b"\r").partition(b" ")
        try:
            if kind == b"MEM":
                size, t = rest.split()
                found.memory.append((float(size), float(t)))
            elif kind == b"CHLD":
                key, size, t = rest.split()
                found.children.setdefault(key.decode("utf-8", "replace"), []).append(
                    (float(size), float(t))
                )
            elif kind == b"FUNC":
                found.calls.append(_func(rest))
            elif kind == b"CMDLINE":
                found.command.append(rest)
            elif kind:
                found.unread += 1
        except ValueError:
            found.unread += 1
    return found


def _func(rest: bytes) -> tuple[str, float, float, float, float, int]:
    match = _FUNC.fullmatch(rest)
    if match is None:
        raise ValueError("no FUNC line")
    name, before, begin, after, end, level = match.groups()
    return (
        _name(name),
        float(before),
        float(begin),
        float(after),
        float(end),
        int(level[:9]) if level else 0,
    )


def _name(word: bytes) -> str:
    text = word.decode("utf-8", "replace").replace(r"\$", "$").replace(NO_BREAK_SPACE, " ")
    # A block of profile.timestamp("name") stands as ".name": it has no module.
    return text.removeprefix(".")


def _damage(lines: _Lines) -> Iterator[str]:
    if lines.torn:
        yield "the last line was cut off and is left out"
    if lines.unread:
        plural = "lines" if lines.unread > 1 else "line"
        yield f"{lines.unread} {plural} could not be read and are left out"
    if len(lines.command) > 1:
        yield (
            f"mprof added {len(lines.command)} runs to one file: they are shown as one, "
            "under the last one's name"
        )


def _why_none(lines: _Lines) -> str:
    calls = f", and {len(lines.calls)} of calls" if lines.calls else ""
    if lines.memory:
        one = len(lines.memory) == 1
        what = f"its {'one MEM line has' if one else f'{len(lines.memory)} MEM lines have'}"
        return f"{what} no size or time that can be right"
    if lines.unread or lines.torn:
        return f"{lines.unread + lines.torn} of its lines could not be read, and no other is a MEM"
    return f"it has no MEM line{calls}; was the program shorter than mprof's interval?"


def _series(name: str, samples: list[Sample]) -> Series:
    columns = np.array(samples, np.float64).reshape(-1, 2)
    with np.errstate(invalid="ignore"):
        # 0 is a process that was gone, or mprof's stand-in for one; -1 a reading that failed.
        good = (columns[:, 0] > 0) & (columns[:, 0] < _LARGEST_MIB)
        good &= (columns[:, 1] >= 0) & (columns[:, 1] < _LATEST_S)
    columns = columns[good]
    columns = columns[np.argsort(columns[:, 1], kind="stable")]
    t = _ns(columns[:, 1])
    channel = Channel(name, "byte", SOURCE, exact=False, reason=NOT_EXACT)
    unknown = np.full(len(t), UNKNOWN, np.int64)
    return Series(channel, t, t, _bytes(columns[:, 0]), unknown, np.zeros(len(t), np.bool_))


def _ns(seconds: Floats) -> Ints:
    # mprof writes 100 µs; a double tells 0.2 µs apart today, so whole µs are exact.
    microseconds: Ints = np.rint(seconds * 1e6).astype(np.int64)
    return microseconds * 1000


def _bytes(mib: Floats) -> Ints:
    kib: Ints = np.rint(mib * _KIB_IN_MIB).astype(np.int64)
    return kib * 1024


def _channel_of(key: str) -> str:
    return "children.rss" if key == ALL else f"children.{key}.rss"


def _argv(command: bytes) -> tuple[str, ...]:
    """The program and its arguments, without the interpreter that mprof put before them."""
    text = command.decode("utf-8", "replace").replace(r"\$", "$").strip()
    try:
        # ``mprof run --attach NAME`` writes a list as Python shows it.
        words = [str(word) for word in ast.literal_eval(text)] if text[:1] == "[" else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        words = None
    if words is None:
        try:
            words = list(_split(text))
        except ValueError:
            words = text.split()
    if len(words) > 1 and re.fullmatch(r"python[0-9.]*(\.exe)?", re.split(r"[/\\]", words[0])[-1]):
        words = words[1:]
    return tuple(words)


def _split(text: str) -> shlex.shlex:
    # mprof puts words with spaces in quotes and escapes nothing: a backslash is one.
    words = shlex.shlex(text, posix=True)
    words.whitespace_split, words.commenters, words.escape = True, "", ""
    return words


def _calls(lines: _Lines) -> list[_Call]:
    """The calls in the order of their begins, an outer one before an inner one."""
    calls = []
    for name, before, begin, after, end, level in lines.calls:
        if not (0 <= begin <= end < _LATEST_S and before < _LARGEST_MIB and after < _LARGEST_MIB):
            lines.unread += 1
            continue
        begin_ns, end_ns = _ns(np.array([begin, end])).tolist()
        sizes = _bytes(np.array([before, after])).tolist()
        before_b, after_b = (size if size > 0 else UNKNOWN for size in sizes)
        calls.append(_Call(name, begin_ns, end_ns, before_b, after_b, level))
    # The level, which drifts when a function raises, only decides between equal times.
    return sorted(calls, key=lambda call: (call.begin_ns, -call.end_ns, call.level))


def _marks(calls: list[_Call]) -> Marks:
    if not calls:
        return Marks.none()
    index = {name: i for i, name in enumerate(dict.fromkeys(call.name for call in calls))}
    rows = []
    around: list[int] = []
    for number, call in enumerate(calls):
        while around and calls[around[-1]].end_ns < call.end_ns:
            around.pop()
        up = around[-1] if around else UNKNOWN
        around.append(number)
        name = index[call.name]
        # Of marks of one moment: ends first, the inner ones before the outer; then begins; then
        # the ends of calls that took no time at all.
        nothing = call.begin_ns == call.end_ns
        rows.append((call.begin_ns, 1, number, Kind.BEGIN, number, up, name, call.before))
        rows.append(
            (call.end_ns, 2 if nothing else 0, -number, Kind.END, number, up, name, call.after)
        )
    table = np.array(sorted(rows), np.int64)
    t = table[:, 0]
    return Marks(
        kind=table[:, 3].astype(np.uint8),
        begun_ns=t,
        t_ns=t,
        phase=table[:, 4],
        parent=table[:, 5],
        thread=np.zeros(len(t), np.int64),
        name=table[:, 6],
        rss=table[:, 7],
        high=np.full(len(t), UNKNOWN, np.int64),
        unseen=np.zeros(len(t), np.int64),
        names=tuple(index),
    )
