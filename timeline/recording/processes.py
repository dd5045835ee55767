"""Reads which processes there were beside the target, and what each had: damaged files or not."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from timeline.errors import NoRecordingError
from timeline.recording.documents import clean, open_file
from timeline.recording.format import LIMIT, PROCESSES, SIZE_LIMIT, samples_name
from timeline.recording.samples import read_stream
from timeline.recording.types import UNKNOWN, Bools, Ints, Process

MOST_BYTES = 1 << 26
"""Of the file that are read; the largest that is written has some 4 MiB."""

_SIGNAL = re.compile(r"SIG[A-Z0-9]{2,8}|signal [0-9]{1,3}", re.ASCII)


@dataclass(slots=True)
class _Found:
    """A process while its lines are read."""

    number: int
    pid: int
    up: int
    began_ns: int
    found_ns: int
    name: str = ""
    command: str = ""
    forked: bool = False
    runs_since_ns: int = 0
    gone_ns: int = 0
    peak: int = UNKNOWN
    signal: str = ""


def read_processes(
    directory: Path, names: Sequence[str], live: bool, damage: list[str]
) -> tuple[Process, ...]:
    """The children of the target in the order in which they were found.

    Args:
        directory, names: the run directory and its files.
        live: whether the files may be growing.
        damage: gets a sentence for each thing that was lost.

    Raises:
        NoRecordingError: a file may not be read.
    """
    if PROCESSES not in names:
        return ()
    found = _lines(directory / PROCESSES, live, damage)
    resident = _rows(directory, "processes", ("rss", "peak"), names, live, damage)
    shared = _rows(directory, "processes_pss", ("pss",), names, live, damage)
    none = np.empty((3, 0), np.int64)
    made = []
    for each in found.values():
        t, rss, mark = resident.get(each.number, none)
        pss_t, pss, *_ = shared.get(each.number, none)
        made.append(
            Process(
                number=each.number,
                pid=each.pid,
                up=each.up,
                name=each.name,
                command=each.command,
                forked=each.forked,
                began_ns=each.began_ns,
                found_ns=each.found_ns,
                runs_since_ns=each.runs_since_ns,
                gone_ns=each.gone_ns,
                peak=each.peak,
                t_ns=t,
                rss=rss,
                mark=mark,
                pss_t_ns=pss_t,
                pss=pss,
                signal=each.signal,
            )
        )
    return tuple(made)


def _lines(path: Path, live: bool, damage: list[str]) -> dict[int, _Found]:
    try:
        with open_file(path) as file:
            text = file.read(MOST_BYTES)
    except NoRecordingError:
        raise
    except OSError as error:
        damage.append(f"{path.name} cannot be read: {error.strerror or error}")
        return {}
    found: dict[int, _Found] = {}
    wrong = 0
    *whole, torn = text.split(b"\n")
    for line in whole:
        wrong += not _take(line, found)
    if torn and not live:
        damage.append(f"{path.name}: a torn last line was dropped")
    if wrong:
        lines = "line says" if wrong == 1 else "lines say"
        damage.append(f"{path.name}: {wrong} {lines} nothing that can be read: left out")
    return found


def _take(line: bytes, found: dict[int, _Found]) -> bool:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return False
    if not isinstance(said, dict):
        return False
    number, t = said.get("i"), said.get("t")
    if type(number) is not int or type(t) is not int:
        return False
    if not (0 < number < 1 << 32 and 0 <= t <= LIMIT):
        return False
    kind = said.get("k")
    if kind == "found" and number not in found:
        found[number] = _Found(
            number,
            pid=_whole(said.get("pid"), 1 << 31),
            up=max(_whole(said.get("up"), 1 << 32), 0),
            began_ns=_whole(said.get("began"), LIMIT),
            found_ns=t,
            runs_since_ns=t,
        )
    each = found.get(number)
    if each is None:
        return False
    if kind == "gone":
        each.gone_ns = max(t, each.found_ns)
        each.peak = _whole(said.get("peak"), SIZE_LIMIT)
        each.name = _text(said.get("name")) or each.name
        each.forked = said.get("forked", each.forked) is True
        signal = _text(said.get("signal"))
        each.signal = signal if _SIGNAL.fullmatch(signal) else ""
        return True
    if kind == "runs":
        each.runs_since_ns = t
    elif kind != "found":
        return True  # a later version's
    each.name, each.command = _text(said.get("name")), _text(said.get("command"))
    each.forked = said.get("forked") is True
    return True


def _whole(value: object, limit: int) -> int:
    return value if type(value) is int and 0 <= value <= limit else UNKNOWN


def _text(value: object) -> str:
    return clean(value) if isinstance(value, str) else ""


def _rows(
    directory: Path,
    stream: str,
    fields: tuple[str, ...],
    names: Sequence[str],
    live: bool,
    damage: list[str],
) -> dict[int, Ints]:
    """By process: its times and its values, [1 + fields, n]."""
    name = samples_name(stream)
    if name not in names:
        return {}
    try:
        read = read_stream(directory / name, 0, live)
    except NoRecordingError:
        raise
    except (OSError, ValueError) as error:
        if not live:
            damage.append(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}")
        return {}
    damage += read.damage
    there = set(read.rows.dtype.names or ())
    if not {"process", *fields} <= there or any(
        read.rows.dtype[field].kind not in "iu" for field in ("process", *fields)
    ):
        damage.append(f"{name} has not the columns of a stream of processes")
        return {}
    columns = np.stack([read.t_ns, *(read.rows[field].astype(np.int64) for field in fields)])
    possible: Bools = np.all((columns[1:] >= 0) & (columns[1:] <= SIZE_LIMIT), axis=0)
    if not possible.all():
        damage.append(
            f"{name}: {int((~possible).sum())} of {len(possible)} rows cannot be right: left out"
        )
    number = read.rows["process"].astype(np.int64)[possible]
    columns = columns[:, possible]
    order = np.argsort(number, kind="stable")
    number, columns = number[order], columns[:, order]
    used, first = np.unique(number, return_index=True)
    parts = np.split(columns, first[1:], axis=1) if len(used) else []
    return dict(zip(used.tolist(), parts, strict=True))
