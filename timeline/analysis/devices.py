"""What was on each GPU: torch's allocator by its own exact counters, the rest by the driver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from timeline.analysis import phases
from timeline.analysis.readings import Readings, first_largest, merge
from timeline.analysis.types import DeviceMemory, Instances, OnDevice, PhaseSummary
from timeline.recording.types import UNKNOWN, Device, Ints, Marks, Recording

BY_PHASE = ("allocated", "reserved")
"""Figures of torch's allocator of which each phase's peak is told."""


_FRESH_NS = 1_000_000_000


def marks_of(marks: Marks, channel: str) -> Marks:
    """The marks with their readings of another channel in the place of the host's."""
    value, high = marks.devices[channel]
    return replace(marks, rss=value, high=high, unseen=np.zeros(len(marks), np.int64))


def merged(recording: Recording, channel: str) -> Readings:
    """All readings of a channel, with those of the marks where they carry any."""
    series, marks = recording.series[channel], recording.marks
    return merge(series, marks_of(marks, channel) if channel in marks.devices else None)


def with_device_peaks(
    summaries: tuple[PhaseSummary, ...],
    outside: PhaseSummary | None,
    recording: Recording,
    instances: Instances,
) -> tuple[tuple[PhaseSummary, ...], PhaseSummary | None]:
    """The summaries of the phases with their peaks on each device besides.

    A mark resets what it reads, and the looks between marks do not: what these see is in the next
    mark's reading too. So a phase's peak comes from the marks alone.
    """
    run = recording.run
    span = run.started_ns, max(run.ended_ns, run.started_ns)
    wanted = [name for name in recording.marks.devices if name.endswith(BY_PHASE)]
    for name in wanted:
        marks = marks_of(recording.marks, name)
        readings = merge(None, marks)
        spans, _, _ = phases.pair(marks, readings, recording.run.marks_until_ns or span[1])
        peaks = phases.measure(spans, readings)
        found = phases.summarize(instances, spans, peaks, readings, span, name)
        rest = phases.outside(spans, span, readings, name) if len(readings) else None
        by_path = {each.path: each for each in found if int(each.peak[name].bytes) != UNKNOWN}
        summaries = tuple(_with(each, by_path.get(each.path), name) for each in summaries)
        outside = _with(outside, rest, name) if outside is not None else None
    return summaries, outside


def _with(summary: PhaseSummary, more: PhaseSummary | None, name: str) -> PhaseSummary:
    if more is None or name not in more.peak:
        return summary
    peak = more.peak[name]
    if not recorded_in(more):
        return summary
    return replace(summary, peak={**summary.peak, name: peak})


def recorded_in(summary: PhaseSummary) -> bool:
    """Whether anything is known of the phase on that device: it may have begun before CUDA did."""
    return not summary.reason.startswith("no reading was taken")


def device_memories(
    recording: Recording, readings: Mapping[str, Readings]
) -> tuple[DeviceMemory, ...]:
    """One for each device that anything was read of, in the order of CUDA's numbers."""
    start = recording.run.started_ns
    return tuple(
        memory
        for device in recording.devices
        if (memory := _memory(device, recording, readings, start)) is not None
    )


def _memory(
    device: Device, recording: Recording, readings: Mapping[str, Readings], start: int
) -> DeviceMemory | None:
    torch = f"torch.cuda{device.cuda}"
    allocated = readings.get(f"{torch}.allocated") if device.cuda != UNKNOWN else None
    reserved = readings.get(f"{torch}.reserved") if device.cuda != UNKNOWN else None
    used = readings.get(f"{device.name}.used") if device.name else None
    process = readings.get(f"{device.name}.process") if device.name else None
    by_torch = allocated is not None and reserved is not None and len(allocated) > 0
    by_driver = used is not None and len(used) > 0
    if not by_torch and not by_driver:
        return None
    times = [each.t_ns for each in (allocated, used) if each is not None]
    t = np.unique(np.concatenate(times))
    nothing = np.full(len(t), UNKNOWN, np.int64)
    used_then = _held(used, t) if by_driver else nothing
    if by_torch:
        assert allocated is not None
        assert reserved is not None
        # One reading takes both, so they have the same times.
        top = first_largest(allocated.high, 0, len(allocated))
        of_allocated, of_reserved = _most(allocated, t), _most(reserved, t)
        first = int(allocated.t_ns[0])
        # The two are not read at one moment: what the driver tells counts from its own.
        apart = nothing
        if used is not None:
            by_then = np.searchsorted(reserved.t_ns, used.t_ns, side="right") - 1
            held = np.where(by_then >= 0, reserved.value[np.maximum(by_then, 0)], 0)
            apart = np.maximum(used.value - held, 0)
        outside = _held_values(used.t_ns, apart, t) if by_driver and used is not None else nothing
        at = int(allocated.t_ns[top])
        # Where it stood at its largest as it was read, so did what was reserved. Else the largest
        # of that was reserved at some moment since the reading before, maybe not the same.
        standing = allocated.value[top] == allocated.high[top]
        held_then = int((reserved.value if standing else reserved.high)[top])
        cached_then = max(held_then - int(allocated.high[top]), 0)
    else:
        assert used is not None
        of_allocated = of_reserved = np.where(used_then != UNKNOWN, 0, UNKNOWN)
        outside, first, cached_then = used_then, int(t[-1]) + 1, UNKNOWN
        at = int(used.t_ns[first_largest(used.value, 0, len(used))])
    # Before CUDA was initialised torch had nothing there.
    of_allocated = np.where(t < first, 0, of_allocated)
    of_reserved = np.where(t < first, 0, of_reserved)
    place = int(np.searchsorted(t, at))
    return DeviceMemory(
        device=device,
        by_torch=by_torch,
        t_ns=t - start,
        allocated=of_allocated,
        cached=np.where(
            of_allocated == UNKNOWN, UNKNOWN, np.maximum(of_reserved - of_allocated, 0)
        ),
        outside=outside,
        used=used_then,
        peak=OnDevice(
            t_ns=at - start,
            allocated=int(of_allocated[place]) if by_torch else UNKNOWN,
            cached=cached_then,
            outside=int(outside[place]),
            used=int(used_then[place]),
            process=_at(process, at),
        ),
        retries=_last(readings.get(f"{torch}.retries")),
        ooms=_last(readings.get(f"{torch}.ooms")),
    )


def _held(readings: Readings | None, t: Ints) -> Ints:
    """The value of the last reading at or before each moment; ``UNKNOWN`` before the first."""
    if readings is None:
        return np.full(len(t), UNKNOWN, np.int64)
    return _held_values(readings.t_ns, readings.value, t)


def _held_values(of_t: Ints, values: Ints, t: Ints) -> Ints:
    place = np.searchsorted(of_t, t, side="right") - 1
    # What the driver has not told for a while is not known any more.
    fresh = _FRESH_NS if len(of_t) < 2 else max(_FRESH_NS, 5 * int(np.median(np.diff(of_t))))
    held = (place >= 0) & (t - of_t[np.maximum(place, 0)] <= fresh)
    return np.where(held, values[np.maximum(place, 0)], UNKNOWN)


def _most(readings: Readings, t: Ints) -> Ints:
    """At each moment the maximum that the reading which covers it tells; after the last, its value.

    A reading covers the time since the one before.
    """
    place = np.searchsorted(readings.t_ns, t, side="left")
    last = len(readings) - 1
    covered = readings.high[np.minimum(place, last)]
    return np.where(place <= last, covered, readings.value[last])


def _at(readings: Readings | None, t_ns: int) -> int:
    if readings is None or not len(readings):
        return UNKNOWN
    return int(readings.value[np.argmin(np.abs(readings.t_ns - t_ns))])


def _last(readings: Readings | None) -> int:
    return int(readings.value[-1]) if readings is not None and len(readings) else 0
