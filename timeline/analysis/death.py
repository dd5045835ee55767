"""How a run ended that did not end well: by what, at what memory, in which phase and step.

Every figure is one that was read; what can only be concluded from others is worded as such.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from timeline.analysis.causes import Cause, find_cause, survivor_notes
from timeline.analysis.last_seconds import Memory, grew, last_seconds, on_device
from timeline.analysis.readings import Readings
from timeline.analysis.types import HOST, Death, Headroom, Instances
from timeline.recording.types import UNKNOWN, Recording, Run
from timeline.units import format_bytes, format_duration

LEAST_JUMP_NS = 1_000_000_000
"""Of clocks: what NTP slews in a long run stays below, and matters to nobody."""

_OPTIMIZER = "step/optimizer"


def find_death(
    recording: Recording,
    instances: Instances,
    host: Readings,
    readings: Mapping[str, Readings],
    headroom: tuple[Headroom, ...],
) -> Death | None:
    """What the run died of; None where it lives, or ended as programs do."""
    run = recording.run
    cause = find_cause(recording, headroom)
    if cause is None:
        return None
    phase, step, moment, after = _place(instances, recording, lost=cause.cause == "recorder-lost")
    # An exception has taken down what its frames held by the time that the program ends.
    memory = Memory("", host, instances.peak)
    if cause.cause == "gpu-memory-error":
        memory = on_device(cause.of, recording, readings) or memory
    seen = memory.seen(moment)
    held = int(memory.readings.value[seen - 1]) if seen else UNKNOWN
    words = [cause.words + _figure(cause, memory, held)]
    if phase is not None:
        words.append(_in_phase(phase, step))
    elif after:
        words.append(f"in step {step}, after its {after.removeprefix('step/')}")
    elif step:
        words.append(f"after step {step}")
    return Death(
        cause=cause.cause,
        certain=cause.certain,
        sentence=", ".join(words),
        bytes=cause.size if cause.size != UNKNOWN else held,
        limit=cause.limit,
        limited=cause.of,
        phase=phase,
        step=step,
        evidence=cause.evidence,
        last=last_seconds(memory, seen, moment or run.ended_ns),
        grew=grew(instances, memory, run.started_ns, moment or run.ended_ns),
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


def _figure(cause: Cause, memory: Memory, held: int) -> str:
    if cause.size != UNKNOWN and cause.limit != UNKNOWN:
        of = " of address space" if cause.of == "RLIMIT_AS" else ""
        of = f" on {cause.of}" if cause.of.startswith("cuda") else of
        last = "last read " if not cause.certain else ""
        return f" {last}at {format_bytes(cause.size)} of {format_bytes(cause.limit)}{of}"
    if held == UNKNOWN or (cause.of == "gpu" and not memory.device):
        return ""  # host memory would be another thing's figure
    return f" at {format_bytes(held)}" + (f" on {memory.device}" if memory.device else "")


def _place(
    instances: Instances, recording: Recording, *, lost: bool
) -> tuple[str | None, int, int, str]:
    """Where the run died: the innermost phase, the number of the step, when it left the phase, and,
    between two phases of one step, the one that was over.

    The step is 0 where there is none; the moment is, for an end by an exception. Of a run whose
    recorder was lost, where and when that was.
    """
    run, raised = recording.run, recording.raised
    if run.marks_until_ns:
        return None, 0, 0, ""  # which phases came after them nobody knows
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
        done = int(stepped.sum())
        after = _since_step(instances, stepped, moment - run.started_ns if moment else 0)
        return None, done + bool(after), moment, after
    path = instances.paths[int(instances.path[row])]
    if not path.startswith("step/"):
        return path, 0, moment, ""
    if steps >= 0:
        # An optimizer's step is the end of a step, however many backwards it has.
        before = stepped & (instances.end_ns <= instances.begin_ns[row])
        return path, int(before.sum()) + 1, moment, ""
    return path, int((instances.path[: row + 1] == instances.path[row]).sum()), moment, ""


def _since_step(instances: Instances, stepped: NDArray[np.bool_], until_ns: int) -> str:
    """The phase of a step that ended last since the last optimizer's step; empty if there is none,
    and where there was no such step: then nobody knows which step it is."""
    if not stepped.any():
        return ""
    since = int(instances.end_ns[stepped].max())
    later = (instances.begin_ns >= since) & ~instances.open
    if until_ns:
        later &= instances.end_ns <= until_ns
    of_a_step = [i for i, path in enumerate(instances.paths) if path.startswith("step/")]
    rows = np.flatnonzero(later & np.isin(instances.path, of_a_step))
    return instances.paths[int(instances.path[rows[-1]])] if len(rows) else ""


def _row_of(instances: Instances, phase: int) -> int:
    if phase == UNKNOWN:
        return UNKNOWN
    found = np.flatnonzero(instances.number == phase)
    return int(found[0]) if len(found) else UNKNOWN


def _in_phase(path: str, step: int) -> str:
    return f"in step {step}, {path.removeprefix('step/')}" if step else f"in {path}"
