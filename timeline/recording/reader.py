"""Reads a run directory: whole, still growing, or what a kill, a full disk or a bad disk left."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from timeline.errors import DamagedRecordingError, NewerFormatError, NoRecordingError
from timeline.recording.alive import writer_lives
from timeline.recording.anatomy_file import read_anatomy
from timeline.recording.channels import read_series
from timeline.recording.devices import limits_of, read_devices
from timeline.recording.documents import Document, clean, read_document
from timeline.recording.events import MARKS_END, Events
from timeline.recording.format import (
    FORMAT_VERSION,
    LIMIT,
    META,
    SNAPSHOTS,
    SUMMARY,
    events_name,
    pid_of,
    samples_name,
    stream_of,
)
from timeline.recording.group import read_anchors, read_clock, read_rank
from timeline.recording.lines import read_lines
from timeline.recording.processes import read_processes
from timeline.recording.surroundings import read_kills, read_limits
from timeline.recording.types import UNKNOWN, End, Marks, Recording, Run, Series

NO_END = (
    "the program's marks have no end: it left by os._exit, became another program by exec, "
    "or lost them"
)
SAMPLES_END = "samples end early"
"""How a sentence of the recorder begins that tells of a reading which was taken and not kept, as
`MARKS_END` does."""

_ENDS: Mapping[str, End] = {"exited": "exited", "killed": "killed"}


def load_directory(path: str | os.PathLike[str]) -> Recording:
    """Read a recording from its run directory.

    It may be read while it is written, and whatever happened to it: what was lost is told in
    ``damage``, a sentence for each thing.

    Raises:
        NoRecordingError: there is nothing at the path, or it may not be read.
        DamagedRecordingError: what is there is not a recording, or nothing of it can be read.
        NewerFormatError: a newer version of timeline wrote it.
    """
    directory = Path(path)
    names = _listing(directory)
    meta = read_document(directory / META)
    version = _version(directory, names, meta)
    damage = [f"{META} cannot be read: {meta.why}"] if meta.why else []
    ending = _ending(directory, meta, damage)
    live, summary = ending.end == "running", ending.summary
    try:
        series = read_series(directory, names, meta, summary.inner("samples"), live, damage)
        events = _read_events(directory, names, meta.integer("pid", 0), live, damage)
        marks = events.marks()
        processes = read_processes(directory, names, live, damage)
        series |= events.devices.series()
    except MemoryError:
        raise DamagedRecordingError(f"{directory} is larger than the memory here") from None
    if meta.why and not len(marks) and not any(map(len, series.values())):
        raise DamagedRecordingError(
            f"{directory} has nothing left to read: no sample, no mark, and {META}: {meta.why}"
        )
    run = _run(meta, ending, events, series, marks)
    missing = (*meta.texts("missing"), *summary.texts("missing"), *events.missing)
    series = _without_the_lost(series, meta, ending, events, names, missing, damage)
    devices = read_devices(meta, events.facts, series)
    limits = (*read_limits(meta), *limits_of(devices))
    kills = read_kills(meta, summary, ending.end == "cut-off")
    for document, name in ((meta, META), (summary, SUMMARY)):
        if document.wrong:
            damage.append(f"{name} cannot be right in {', '.join(document.wrong)}")
    anatomy = read_anatomy(directory, damage)
    lines = read_lines(directory, damage)
    return Recording(
        path=directory,
        format=version,
        run=run,
        series=series,
        marks=marks,
        missing=tuple(dict.fromkeys(missing)),
        damage=tuple(dict.fromkeys(damage)),
        limits=limits,
        kills=kills,
        raised=events.raised,
        processes=processes,
        anatomy=anatomy,
        heaps=tuple(events.heaps),
        lines=lines,
        devices=devices,
        snapshots=tuple(str(directory / name) for name in SNAPSHOTS if name in names),
    )


def load_marks(path: str | os.PathLike[str]) -> Marks:
    """The marks of a recording alone, for who does not need its samples.

    Raises:
        NoRecordingError: there is nothing at the path, or it may not be read.
    """
    directory = Path(path)
    return _read_events(directory, _listing(directory), UNKNOWN, True, []).marks()


def _listing(directory: Path) -> list[str]:
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        raise NoRecordingError(f"there is no recording at {directory}: no such directory") from None
    except NotADirectoryError:
        raise DamagedRecordingError(f"{directory} is a file, not a run directory") from None
    except PermissionError:
        raise NoRecordingError(f"{directory} may not be read: permission denied") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise NoRecordingError(f"{str(directory)!r} cannot be opened: {why}") from None
    if not names:
        raise NoRecordingError(f"{directory} is an empty directory: nothing was recorded there")
    return names


def _version(directory: Path, names: Sequence[str], meta: Document) -> int:
    """The format's version; what is not a recording, or a newer one, is refused."""
    version = meta.found.get("timeline")
    if type(version) is int and version > FORMAT_VERSION:
        raise NewerFormatError(
            f"{directory} is of format {version} and this version of timeline reads up to "
            f"{FORMAT_VERSION}: upgrade memory-timeline to open it"
        )
    if type(version) is int and version >= 1:
        return version
    if not any(stream_of(name) is not None or pid_of(name) is not None for name in names):
        raise DamagedRecordingError(
            f"{directory} is not a recording: it has no {META} of timeline's, no samples, no marks"
        )
    if not meta.why:
        meta.wrong.append("timeline")
    return FORMAT_VERSION


@dataclass(frozen=True, slots=True)
class _Ending:
    end: End
    summary: Document


def _ending(directory: Path, meta: Document, damage: list[str]) -> _Ending:
    path = directory / SUMMARY
    if not os.path.lexists(path):
        if writer_lives(meta.found):
            return _Ending("running", Document({}))
        # It may have ended between the two looks.
        if not os.path.lexists(path):
            return _Ending("cut-off", Document({}))
    summary = read_document(path)
    end = _ENDS.get(summary.text("end"))
    if end is None:
        why = summary.why or "it does not say"
        damage.append(f"how the run ended cannot be read from {SUMMARY}: {why}")
    return _Ending(end or "cut-off", summary)


def _read_events(
    directory: Path, names: Sequence[str], target: int, live: bool, damage: list[str]
) -> Events:
    files = {pid: directory / name for name in names if (pid := pid_of(name)) is not None}
    events = Events()
    for pid, path in files.items():
        try:
            events.read(path, live, readings=pid == target or target not in files)
        except OSError as error:
            damage.append(f"{path.name} cannot be read: {error.strerror or error}")
    damage += events.damage
    return events


def _without_the_lost(
    series: dict[str, Series],
    meta: Document,
    ending: _Ending,
    events: Events,
    names: Sequence[str],
    missing: Sequence[str],
    damage: list[str],
) -> dict[str, Series]:
    """The series, of which ``host.rss`` is not exact where a reading of it was lost.

    Every reading takes the high-water mark and resets it, so a lost one is a lost peak, and
    nothing that is left tells when it was. But a sampler that was killed loses one at most, and
    that after its last row.
    """
    host = series.get("host.rss")
    if host is None or ending.end == "running":
        return series
    killed = ending.end == "cut-off" or ending.summary.text("sampler") == "lost"
    if killed and host.channel.exact and len(host):
        unseen = host.unseen.copy()
        unseen[-1] = LIMIT
        host = replace(host, unseen=unseen)
        series = {**series, "host.rss": host}
    marks = events_name(meta.integer("pid", events.pid))
    sizes = ending.summary.inner("events")
    there = marks in names
    if host.channel.exact and not there and not any(s.startswith("no phases") for s in missing):
        damage.append(f"{marks}: the program's marks are not there")
    size = sizes.integer(marks, 0)
    if size > events.sizes.get(marks, size):
        damage.append(f"{marks} is cut: {size - events.sizes[marks]} bytes are not there")
    lost = [s for s in damage if s.startswith((samples_name("host"), "host.rss", marks))]
    # A row or a line that could not be written was a reading too.
    tells = (samples_name("host"), MARKS_END) + (() if killed else (SAMPLES_END,))
    lost += [s for s in missing if s.startswith(tells)]
    if there and ending.end == "exited" and not events.closed_ns:
        damage.append(NO_END)
        # A file cut between two lines looks the same, unless its size was written down.
        lost += [] if size else [NO_END]
    if not lost or not host.channel.exact:
        return series
    channel = replace(host.channel, exact=False, reason=f"part of the recording is lost: {lost[0]}")
    return {**series, "host.rss": replace(host, channel=channel)}


def _run(
    meta: Document,
    ending: _Ending,
    events: Events,
    series: Mapping[str, Series],
    marks: Marks,
) -> Run:
    began = [int(one.begun_ns[0]) for one in series.values() if len(one)]
    ended = [int(one.t_ns[-1]) for one in series.values() if len(one)]
    if len(marks):
        began.append(int(marks.begun_ns.min()))
    if events.last_ns:
        began.append(events.first_ns)
        ended.append(events.last_ns)
    started = meta.inner("started")
    start = started.integer("monotonic_ns", min(began, default=0))
    stop = ending.summary.inner("ended").integer("monotonic_ns", 0)
    # All that was read lies inside the run; a process may begin to write before its sampler does.
    started_ns = min([start, *began])
    wall = started.integer("time_ns", 0, high=1 << 62)
    summary = ending.summary
    facts = meta.inner("facts")
    slept, jumped = _clocks(started, summary.inner("ended"))
    exited, killed = ending.end == "exited", ending.end == "killed"
    return Run(
        argv=meta.texts("argv"),
        cwd=meta.text("cwd"),
        host=meta.text("host"),
        pid=meta.integer("pid", events.pid, 1),
        started_ns=started_ns,
        started_time_ns=max(wall - (start - started_ns), 0),
        ended_ns=max([stop, started_ns, *ended]),
        interval_ns=meta.integer("interval_ns", 0),
        backend=meta.text("backend", "unknown"),
        end=ending.end,
        exit_code=summary.integer("exit_code", None, -(1 << 31), 1 << 32) if exited else None,
        signal=(summary.text("signal") or None) if killed else None,
        seen_to_end=exited and events.closed_ns > 0,
        closed_ns=events.closed_ns,
        last=summary.integer("last", 0),
        facts={**{clean(key): facts.text(key) for key in facts.found}, **events.facts},
        outlived=_outlived(meta, ending, events),
        marks_until_ns=events.cut_ns,
        slept_ns=slept,
        jumped_ns=jumped,
        rank=read_rank(meta),
        clock=read_clock(meta),
        anchors=read_anchors(meta, summary),
    )


def _outlived(meta: Document, ending: _Ending, events: Events) -> Literal["", "ended", "lives"]:
    if ending.summary.text("sampler") == "lost":  # by the program itself, which wrote the end
        return "ended"
    if ending.end != "cut-off" or ending.summary.found:
        return ""
    if events.closed_ns:
        return "ended"
    return "lives" if writer_lives(meta.found, "pid") else ""


def _clocks(started: Document, ended: Document) -> tuple[int, int]:
    """How long the machine slept, and how far the wall clock was set, from one moment to another.

    The monotonic clock stands still while a machine sleeps, and nobody can set it.
    """
    passed = {}
    for key in ("time_ns", "monotonic_ns", "boottime_ns"):
        begin, end = (each.integer(key, UNKNOWN, high=1 << 62) for each in (started, ended))
        if UNKNOWN in (begin, end):
            return 0, 0
        passed[key] = end - begin
    booted = passed["boottime_ns"]
    return max(booted - passed["monotonic_ns"], 0), passed["time_ns"] - booted
