"""Reads a CUDA memory snapshot (``torch.cuda.memory._dump_snapshot``) as a recording.

The trace in a snapshot has what was asked for; what was allocated and reserved at each moment is
worked out by the allocator's model, and held against the trace's own addresses and segments.
Nothing in the file is executed: see `unpickling`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from timeline.errors import DamagedRecordingError, NoRecordingError
from timeline.interchange.snapshot_frames import describe
from timeline.interchange.unpickling import loads
from timeline.recording.format import LIMIT, SIZE_LIMIT
from timeline.recording.types import (
    Alive,
    Channel,
    Device,
    Ints,
    Kind,
    Marks,
    Recording,
    Run,
    Series,
)
from timeline.theory.allocator.settings import SMALL_BUFFER, Settings
from timeline.theory.replay import Action, Event, Replay, Segment, alive_at, replay

_ACTIONS: dict[str, Action] = {
    "alloc": "alloc", "free_completed": "free",
    "segment_alloc": "segment_alloc", "segment_free": "segment_free",
    "segment_map": "segment_alloc", "segment_unmap": "segment_free",
}  # fmt: skip


def read(path: str | Path) -> Recording:
    """The recording that a snapshot file holds: allocated and reserved of its busiest device.

    Raises:
        NoRecordingError: the file cannot be read.
        DamagedRecordingError: it is no snapshot, or recorded no history.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise NoRecordingError(f"{path}: {error.strerror}") from None
    try:
        return _recording(Path(path), loads(data))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DamagedRecordingError(
            f"{path} is no CUDA memory snapshot ({type(error).__name__}: {error})"
        ) from None


def looks_like(head: bytes) -> bool:
    """Whether a file that begins like this may be a snapshot: a pickle of protocol 2 to 5."""
    return len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5


def _recording(path: Path, snapshot: Any) -> Recording:
    traces = snapshot["device_traces"]
    device = max(range(len(traces)), key=lambda i: len(traces[i]), default=0)
    trace = traces[device] if traces else []
    lines = [line for line in trace if line["action"] in _ACTIONS]
    if not lines:
        raise DamagedRecordingError(
            f"{path} holds no history: call torch.cuda.memory._record_memory_history() before "
            "what is to be recorded"
        )
    events = [
        Event(_ACTIONS[line["action"]], _number(line, "addr"), _number(line, "size"),
              _number(line, "stream"))
        for line in lines
    ]  # fmt: skip
    segments = [s for s in snapshot["segments"] if s["device"] == device]
    final = list(_segments(segments))
    settings = _settings(snapshot)
    expandable = [bool(s.get("is_expandable")) for s in segments]
    if any(expandable) or any(line["action"] in ("segment_map", "segment_unmap") for line in lines):
        settings = replace(settings, expandable_segments=True)
    figures = replay(events, final, settings)
    if expandable and any(expandable) and not all(expandable):
        figures.disagree("some segments are expandable and some are not")
    t = np.maximum.accumulate(np.array([_microseconds(line) for line in lines], np.int64)) * 1000
    peak = int(np.argmax(figures.allocated))
    alive = describe(alive_at(events, figures, peak), lines, segments)
    facts = {
        "events": str(len(t)),
        "device": f"cuda:{device}",
        "peak_by_trace": str(_by_its_own_sizes(lines, segments)),
    }
    return _assemble(path, device, t, figures, _ooms(trace), facts, alive)


def _by_its_own_sizes(lines: Any, segments: Any) -> int:
    """The peak of what was allocated by the sizes that the trace gives, which are those asked for.

    From what the segments say is allocated at the end, backwards. A block counts for more where it
    was rounded up, or handed out whole: what torch's own counter had is in the channel.
    """
    now = peak = sum(_number(segment, "allocated_size") for segment in segments)
    for line in reversed(lines):
        if line["action"] == "alloc":
            now -= _number(line, "size")
        elif line["action"] == "free_completed":
            now += _number(line, "size")
        peak = max(peak, now)
    return peak


def _assemble(
    path: Path,
    device: int,
    t: Ints,
    figures: Replay,
    marks: Marks,
    facts: dict[str, str],
    alive: tuple[Alive, ...],
) -> Recording:
    # What ran out of memory is no event of an allocator that follows its trace, and may come last.
    began, ended = (int(most(t.tolist() + marks.t_ns.tolist())) for most in (min, max))
    if not 0 <= ended - began <= LIMIT or began < 0:
        raise ValueError("its times cannot be right")
    # Torch tells the time of day; a recording's times are of a clock that began some time ago.
    t = t - began
    marks = replace(marks, begun_ns=marks.begun_ns - began, t_ns=marks.t_ns - began)
    exact = not figures.disagreements
    reason = "" if exact else "sizes are what was asked for, rounded"
    names = {"allocated": figures.allocated, "reserved": figures.reserved}
    series = {}
    for name, values in names.items():
        channel = Channel(f"torch.cuda{device}.{name}", "byte", "cuda snapshot", exact, reason)
        column = np.array(values, np.int64)
        if len(column) and not 0 <= column.min() <= column.max() <= SIZE_LIMIT:
            raise ValueError(f"{name} would be {int(column.max()):,} bytes")
        series[channel.name] = Series(channel, t, t, column, column, np.zeros(len(t), np.int64))
    return Recording(
        path=path,
        format=0,
        run=Run(
            argv=(path.name,),
            cwd="",
            host="",
            pid=0,
            started_ns=0,
            started_time_ns=began,
            ended_ns=ended - began,
            interval_ns=0,
            backend="cuda snapshot",
            end="exited",
            facts=facts,
            seen_to_end=True,
        ),
        series=series,
        marks=marks,
        missing=("no host memory: a CUDA snapshot holds the device's allocator only",),
        devices=(Device("", cuda=device),),
        alive=alive,
        damage=() if exact else (f"the allocator's model does not follow it: {figures.first}",),
    )


def _ooms(trace: Any) -> Marks:
    lines = [line for line in trace if line["action"] == "oom"]
    if not lines:
        return Marks.none()
    count = len(lines)
    unknown = np.full(count, -1, np.int64)
    t = np.maximum.accumulate(np.array([_microseconds(line) for line in lines], np.int64)) * 1000
    return Marks(
        kind=np.full(count, Kind.TEXT, np.uint8),
        begun_ns=t,
        t_ns=t,
        phase=unknown,
        parent=unknown,
        thread=np.zeros(count, np.int64),
        name=np.zeros(count, np.int64),
        rss=unknown,
        high=unknown,
        unseen=np.zeros(count, np.int64),
        names=("out of memory",),
    )


def _segments(segments: Any) -> Iterator[Segment]:
    for segment in segments:
        address, live = _number(segment, "address"), []
        at = address
        for block in segment["blocks"]:
            at = _number(block, "address") if "address" in block else at
            size = _number(block, "size")
            if block["state"] != "inactive":
                live.append((at, size, _number(block, "requested_size")))
            at += size
        yield Segment(address, _number(segment, "total_size"), _number(segment, "stream"),
                      tuple(sorted(live)))  # fmt: skip


def _settings(snapshot: Any) -> Settings:
    found = snapshot.get("allocator_settings") or {}
    settings = Settings()
    limit = found.get("max_split_size", -1)
    if isinstance(limit, int) and limit > SMALL_BUFFER:
        settings = replace(settings, max_split_size=limit)
    # By powers of two from 1 MiB on, as the names of the keys say.
    steps = found.get("roundup_power2_divisions")
    if isinstance(steps, dict):
        divisions = tuple(steps.get(str(1 << power), 0) for power in range(16))
        if all(type(each) is int and 0 <= each <= 1 << 20 for each in divisions):
            settings = replace(settings, roundup_power2_divisions=divisions)
    return settings


def _number(line: Any, key: str) -> int:
    value = line[key]
    if not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise ValueError(f"{key} is {value!r:.40}")
    return value


def _microseconds(line: Any) -> int:
    # torch before 2.2 wrote no times: events then lie a microsecond apart, from zero.
    value = line.get("time_us", 0)
    return value if isinstance(value, int) and 0 <= value < 1 << 53 else 0
