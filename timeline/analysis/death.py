"""How a run ended that did not end well: by what, at what memory, in which phase and step.

Every figure is one that was read; what can only be concluded from others is worded as such.
"""

from __future__ import annotations

import numpy as np

from timeline.analysis.causes import Cause, find_cause, survivor_notes
from timeline.analysis.readings import Readings
from timeline.analysis.types import HOST, Death, Growth, Headroom, Instances
from timeline.recording.types import UNKNOWN, Recording, Run
from timeline.units import format_bytes, format_duration

LAST_NS = 10_000_000_000
"""How long before the end the last seconds begin."""

GREW_MOST = 3

LEAST_JUMP_NS = 1_000_000_000
"""Of clocks: what NTP slews in a long run stays below, and matters to nobody."""

_OPTIMIZER = "step/optimizer"


def find_death(
    recording: Recording,
    instances: Instances,
    host: Readings,
    headroom: tuple[Headroom, ...],
) -> Death | None:
    """What the run died of; None where it lives, or ended as programs do."""
    run = recording.run
    cause = find_cause(recording, headroom)
    if cause is None:
        return None
    phase, step, moment = _place(instances, recording, lost=cause.cause == "recorder-lost")
    # An exception has taken down what its frames held by the time that the program ends.
    seen = int(np.searchsorted(host.t_ns, moment, side="right")) if moment else len(host)
    rss = int(host.value[seen - 1]) if seen else UNKNOWN
    figure = _figure(cause, rss)
    words = [cause.words + figure]
    if phase is not None:
        words.append(_in_phase(phase, step))
    elif step:
        words.append(f"after step {step}")
    return Death(
        cause=cause.cause,
        certain=cause.certain,
        sentence=", ".join(words),
        bytes=cause.size if cause.size != UNKNOWN else rss,
        limit=cause.limit,
        limited=cause.of,
        phase=phase,
        step=step,
        evidence=cause.evidence,
        last=_last_seconds(host, seen, moment or run.ended_ns),
        grew=_grew(instances, host, run.started_ns, moment or run.ended_ns),
    )


def notes_of(recording: Recording, death: Death | None) -> tuple[str, ...]:
    """What else happened around the run, as sentences."""
    others = survivor_notes(recording, death.cause if death is not None else "")
    return (*_marks_notes(recording.run), *_clock_notes(recording.run), *others)


def _marks_notes(run: Run) -> tuple[str, ...]:
    """Where the marks end before the run does; phases that were open then end there as well."""
    if not run.marks_until_ns:
        return ()
    after = format_duration((run.marks_until_ns - run.started_ns) / 1e9)
    return (f"the program's marks end after {after}: in which phases it was then is not known",)


def _clock_notes(run: Run) -> tuple[str, ...]:
    """What happened to the clocks during the run, as sentences; nothing where nothing did."""
    notes = []
    if run.slept_ns >= LEAST_JUMP_NS:
        slept = format_duration(run.slept_ns / 1e9)
        notes.append(f"the machine slept for {slept} during the run: no time here counts that")
    if abs(run.jumped_ns) >= LEAST_JUMP_NS:
        far = format_duration(abs(run.jumped_ns) / 1e9)
        way = "forward" if run.jumped_ns > 0 else "back"
        notes.append(f"the wall clock was set {way} by {far} during the run: times here are right")
    return tuple(notes)


def _figure(cause: Cause, rss: int) -> str:
    if cause.size != UNKNOWN and cause.limit != UNKNOWN:
        of = " of address space" if cause.of == "RLIMIT_AS" else ""
        of = f" on {cause.of}" if cause.of.startswith("gpu") else of
        last = "last read " if not cause.certain else ""
        return f" {last}at {format_bytes(cause.size)} of {format_bytes(cause.limit)}{of}"
    if cause.of == "gpu":
        return ""  # host memory would be another thing's figure
    return f" at {format_bytes(rss)}" if rss != UNKNOWN else ""


def _place(
    instances: Instances, recording: Recording, *, lost: bool
) -> tuple[str | None, int, int]:
    """Where the run died: the innermost phase, the number of the step, and when it left the phase.

    The step is 0 where there is none; the moment is, for an end by an exception. Of a run whose
    recorder was lost, where and when that was.
    """
    run, raised = recording.run, recording.raised
    if run.marks_until_ns:
        return None, 0, 0  # which phases came after them nobody knows
    steps = instances.paths.index(_OPTIMIZER) if _OPTIMIZER in instances.paths else -1
    stepped = (instances.path == steps) & ~instances.open
    row, moment = UNKNOWN, 0
    series = recording.series.get(HOST)
    if lost and series is not None and len(series):
        moment = int(series.t_ns[-1])
        since = moment - run.started_ns
        inside = np.flatnonzero((instances.begin_ns <= since) & (instances.end_ns >= since))
        row = int(inside[-1]) if len(inside) else UNKNOWN
        stepped &= instances.end_ns <= since
    elif raised is not None and run.end == "exited":
        row = _row_of(instances, raised.phase)
        moment = raised.t_ns
        if row != UNKNOWN:
            moment = int(instances.end_ns[row]) + run.started_ns
    elif instances.open.any():
        row = int(np.flatnonzero(instances.open)[-1])
    if row == UNKNOWN:
        return None, int(stepped.sum()), moment
    path = instances.paths[int(instances.path[row])]
    if not path.startswith("step/"):
        return path, 0, moment
    if steps >= 0:
        # An optimizer's step is the end of a step, however many backwards it has.
        before = stepped & (instances.end_ns <= instances.begin_ns[row])
        return path, int(before.sum()) + 1, moment
    return path, int((instances.path[: row + 1] == instances.path[row]).sum()), moment


def _row_of(instances: Instances, phase: int) -> int:
    if phase == UNKNOWN:
        return UNKNOWN
    found = np.flatnonzero(instances.number == phase)
    return int(found[0]) if len(found) else UNKNOWN


def _in_phase(path: str, step: int) -> str:
    return f"in step {step}, {path.removeprefix('step/')}" if step else f"in {path}"


def _last_seconds(host: Readings, seen: int, ended_ns: int) -> str:
    """What memory did before the end, as a sentence; empty where too little was read."""
    if seen < 2:
        return ""
    end = int(host.t_ns[seen - 1])
    first = int(np.searchsorted(host.t_ns, end - LAST_NS))
    first = min(first, seen - 2)
    begin_size, end_size = int(host.value[first]), int(host.value[seen - 1])
    took = (end - int(host.t_ns[first])) / 1e9
    high = int(host.high[first:seen].max())
    sentence = (
        f"in the last {format_duration(took)} memory went from {format_bytes(begin_size)} to "
        f"{format_bytes(end_size)}"
    )
    if high > max(begin_size, end_size):
        sentence += f", with up to {format_bytes(high)} between"
    blind = (ended_ns - end) / 1e9
    if blind > 0.1:
        sentence += f"; nothing was read in the {format_duration(blind)} after"
    return sentence


def _grew(
    instances: Instances, host: Readings, started_ns: int, ended_ns: int
) -> tuple[Growth, ...]:
    """The phases of which one instance grew most, on top of what it found, in the last seconds."""
    if not len(instances) or not len(host):
        return ()
    since, until = max(ended_ns - LAST_NS - started_ns, 0), ended_ns - started_ns
    late = np.flatnonzero((instances.end_ns >= since) & (instances.begin_ns <= until))
    # Around others is what these grew by, once more.
    late = late[~np.isin(late, instances.parent[late])]
    found = np.searchsorted(host.t_ns - started_ns, instances.begin_ns[late], side="right") - 1
    grown = instances.peak[late] - host.value[np.maximum(found, 0)]
    most: dict[str, int] = {}
    for path, size in zip(instances.path[late].tolist(), grown.tolist(), strict=True):
        name = instances.paths[path]
        most[name] = max(most.get(name, 0), size)
    largest = sorted(most.items(), key=lambda item: -item[1])[:GREW_MOST]
    return tuple(Growth(path, size) for path, size in largest if size > 0)
