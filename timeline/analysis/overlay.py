"""A recording laid over an estimate of the same program: which moment is which event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from timeline.errors import UsageError
from timeline.recording.types import Kind, Recording, Series
from timeline.theory.estimate_types import Course

STEP_ENDS = "step/optimizer"


class Laid(NamedTuple):
    """One curve of a recording on the axis of an estimate.

    Attributes:
        x: places in events [n], float64.
        size: bytes [n], int64.
        peak: the most bytes of the whole recording, those behind the estimate's end included.
    """

    x: NDArray[np.float64]
    size: NDArray[np.int64]
    peak: int


def on_axis_of(recording: Recording, course: Course) -> dict[str, Laid]:
    """What a recording has of torch's memory on its busiest GPU, on the axis of an estimate.

    Where both have optimizer steps, the end of each measured one lies at the end of the predicted
    one of the same number, and the time between is spread evenly. Steps that were measured and not
    predicted have no place. Else, as for a CUDA snapshot, it begins with the predicted step before
    which as much is allocated, and has as many steps as its events fill.

    Args:
        recording: of a CUDA snapshot, or of a run with torch's memory on a GPU.
        course: of the estimate.

    Returns:
        The curves ``allocated`` and ``reserved``, those that were measured.

    Raises:
        UsageError: the recording has no memory of torch on a GPU.
    """
    found = {
        name: series
        for name, series in recording.series.items()
        if name.startswith("torch.cuda") and len(series)
    }
    if not found:
        raise UsageError(
            f"{recording.path} has no torch.cuda channel: only torch's memory on a GPU can be laid "
            "over an estimate"
        )
    highest = max(found, key=lambda name: int(found[name].value.max()))
    device = highest.split(".")[1]
    times, places = _anchors(recording, course.phases, len(course.allocated))
    begin, end = _stretch(found.get(f"torch.{device}.allocated", found[highest]), course)
    out = {}
    for kind in ("allocated", "reserved"):
        series = found.get(f"torch.{device}.{kind}")
        if series is not None:
            t = series.t_ns.astype(np.float64)
            size = np.maximum(series.value, series.high)
            peak = int(size.max())
            if len(times) < 2:  # by its events: a snapshot's times have gaps while kernels run
                x = np.linspace(begin, end, len(t))
            else:
                size = size[t <= times[-1]]
                x = np.interp(t[: len(size)], times, places)
            out[kind] = Laid(x, size, peak)
    return out


def _stretch(series: Series, course: Course) -> tuple[int, int]:
    """The events of an estimate that a recording without marks is laid on."""
    length = len(course.allocated)
    starts = [0, *(at for at in course.steps if 0 < at < length)]
    first = int(series.value[0])
    before = [course.allocated[at - 1] if at else 0 for at in starts]
    which = min(range(len(starts)), key=lambda i: abs(before[i] - first))
    edges = [*starts[which:], length]
    if not which:
        return 0, max(length - 1, 1)
    steps = max(1, round(len(series) / (edges[1] - edges[0])))
    return edges[0], edges[min(steps, len(edges) - 1)] - 1


def _anchors(
    recording: Recording, phases: Sequence[tuple[int, str]], length: int
) -> tuple[list[float], list[float]]:
    """Moments of the recording, and the places in the estimate that they are."""
    marks = recording.marks
    numbers = {i for i, name in enumerate(marks.names) if name == STEP_ENDS}
    opened = {
        int(marks.phase[i])
        for i in np.flatnonzero(marks.kind == Kind.BEGIN)
        if int(marks.name[i]) in numbers
    }
    measured = [
        float(marks.t_ns[i])
        for i in np.flatnonzero(marks.kind == Kind.END)
        if int(marks.phase[i]) in opened
    ]
    ends = [*[begin for begin, _ in phases[1:]], length]
    predicted = [
        float(end) for (_, name), end in zip(phases, ends, strict=True) if name == STEP_ENDS
    ]
    count = min(len(measured), len(predicted))
    if not count:
        return [], []
    run = recording.run
    return [float(run.started_ns), *measured[:count]], [0.0, *predicted[:count]]
