"""How a run ended that did not end well: by what, at what memory, in which phase and step.

Every figure is one that was read; what can only be concluded from others is worded as such.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from timeline.analysis.readings import Readings
from timeline.analysis.types import HOST, Death, Growth, Headroom, Instances
from timeline.errors import TimelineError
from timeline.recording.types import UNKNOWN, Kills, Raised, Recording, Run
from timeline.units import format_bytes, format_duration, parse_bytes

NEAR = 0.95
"""Of a limit: a run that stops this close to it, without a word, very probably died of it. Between
two readings at 20 a second memory that grows by 1 GiB a second gains 50 MiB."""

LAST_NS = 10_000_000_000
"""How long before the end the last seconds begin."""

GREW_MOST = 3

LEAST_JUMP_NS = 1_000_000_000
"""Of clocks: what NTP slews in a long run stays below, and matters to nobody."""

_SIGNALS = {
    "SIGSEGV": "a segmentation fault",
    "SIGBUS": "a bus error",
    "SIGFPE": "an arithmetic error",
    "SIGILL": "an illegal instruction",
    "SIGABRT": "it aborted itself",
    "SIGHUP": "its terminal went away",
    "SIGINT": "Ctrl-C",
    "SIGTERM": "it was asked to end",
    "SIGXCPU": "its limit of CPU time",
}

_OPTIMIZER = "step/optimizer"

_TORCH_OOM = re.compile(
    r"GPU (?P<device>\d+) has a total capacity of (?P<total>[\d.]+ \w+)"
    r" of which (?P<free>[\d.]+ \w+) is free"
)


@dataclass(frozen=True, slots=True)
class _Cause:
    """By what: words for a sentence, whether it is certain, and the figures at the end."""

    cause: str
    words: str
    certain: bool = True
    size: int = UNKNOWN
    limit: int = UNKNOWN
    of: str = ""
    evidence: str = ""


def find_death(
    recording: Recording,
    instances: Instances,
    host: Readings,
    headroom: tuple[Headroom, ...],
) -> Death | None:
    """What the run died of; None where it lives, or ended as programs do."""
    run = recording.run
    cause = _cause(recording, headroom)
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


def _cause(recording: Recording, headroom: tuple[Headroom, ...]) -> _Cause | None:
    run = recording.run
    if run.end == "running":
        return None
    struck = _struck(recording.kills)
    if run.end == "exited":
        return _exited(recording, struck, headroom)
    if run.end == "killed" and run.signal in ("SIGKILL", None) and struck:
        return _by_oom_killer(struck, recording, headroom, together=False)
    if run.end == "killed":
        return _by_signal(run.signal, recording)
    if struck:
        return _by_oom_killer(struck, recording, headroom, together=True)
    return _cut_off(recording, headroom)


def _exited(
    recording: Recording, struck: Kills | None, headroom: tuple[Headroom, ...]
) -> _Cause | None:
    raised, code = recording.raised, recording.run.exit_code
    lost = _recorder_lost(recording) if recording.run.outlived else None
    if code == 0 or (raised is None and lost is not None):
        return lost
    cause = _raised(raised, code) if raised is not None else None
    if struck and code:
        # One of its children, as a rule: a program rarely survives that.
        killer = _by_oom_killer(struck, recording, headroom, together=False)
        ended = cause.words if cause else f"exited with code {code}"
        words = f"{ended} after {killer.words.removeprefix('killed by ')} took a process beside it"
        evidence = f"{killer.evidence}; {cause.evidence}" if cause else killer.evidence
        return replace(killer, cause="oom-other", words=words, evidence=evidence)
    if cause is not None and lost is not None:
        return replace(cause, evidence=f"{cause.evidence}; {lost.evidence}".removeprefix("; "))
    return cause


def _raised(raised: Raised, code: int | None) -> _Cause:
    where = f" ({raised.where})" if raised.where else ""
    ended = "ended by" if code is None else f"exited with code {code}:"
    said = f"{raised.type}: {raised.text}" if raised.text else ""
    memory = raised.type.endswith(("MemoryError", "OutOfMemoryError")) or (
        "can't allocate memory" in raised.text
    )
    cause = "memory-error" if memory else "exception"
    size, limit, of = UNKNOWN, UNKNOWN, ""
    if raised.type.endswith("OutOfMemoryError"):
        cause = "gpu-memory-error"
        size, limit, of = _of_device(raised)
    if cause == "memory-error" and raised.virtual_limit != UNKNOWN:
        size, limit, of = raised.virtual, raised.virtual_limit, "RLIMIT_AS"
    return _Cause(cause, f"{ended} {raised.type}{where}", True, size, limit, of, said)


def _of_device(raised: Raised) -> tuple[int, int, str]:
    """What torch says in its error of the device: how much was in use, of how much."""
    found = _TORCH_OOM.search(raised.text)
    if found is None:
        return UNKNOWN, UNKNOWN, "gpu"
    try:
        total, free = parse_bytes(found["total"]), parse_bytes(found["free"])
    except TimelineError:
        return UNKNOWN, UNKNOWN, "gpu"
    return max(total - free, 0), total, f"gpu{found['device']}"


def _struck(kills: tuple[Kills, ...]) -> Kills | None:
    """Where the OOM killer took somebody: the place whose limit was the reason, else the nearest.

    The kernel counts a victim in its own cgroup whichever OOM killer took it; the limit that was
    reached is counted where it stands.
    """
    if not any(each.kills for each in kills):
        return None
    cgroups = [each for each in kills if each.path]
    if cgroups and not any(each.kills for each in cgroups):
        return None  # somebody else's process, elsewhere on the machine
    at_limit = [each for each in cgroups if each.strikes]
    return at_limit[0] if at_limit else next((each for each in kills if not each.path), kills[0])


def _by_oom_killer(
    struck: Kills, recording: Recording, headroom: tuple[Headroom, ...], *, together: bool
) -> _Cause:
    who = "killed together with its recorder by" if together else "killed by"
    count = max(each.kills for each in recording.kills)
    taken = "1 process" if count == 1 else f"{count} processes"
    when = ", as the kernel's own count still tells" if struck.late else ""
    if not struck.path:
        machine = next((each for each in headroom if each.limit.name == "machine"), None)
        # Counted in its own cgroup it was one of ours; counted for the machine it may be anybody.
        ours = any(each.kills for each in recording.kills if each.path)
        return _Cause(
            "oom-machine",
            ("" if ours else "very probably ")
            + f"{who} the kernel's OOM killer, for want of memory in the whole machine",
            ours,
            size=machine.peak if machine else UNKNOWN,
            limit=machine.limit.bytes if machine else UNKNOWN,
            of="machine",
            evidence=f"the machine's OOM killer took {taken} during the run{when}",
        )
    own = [each for each in recording.limits if each.source.startswith(struck.path + "/")]
    limit = min((each.bytes for each in own if each.name == "cgroup"), default=UNKNOWN)
    size = struck.peak
    known = [each.peak for each in headroom if each.limit.bytes == limit]
    size = max([size, *known])
    return _Cause(
        "oom-cgroup",
        f"{who} the cgroup's OOM killer",
        size=min(size, limit) if limit != UNKNOWN else size,
        limit=limit,
        of=struck.path,
        evidence=f"the OOM killer took {taken} of {struck.path} during the run{when}",
    )


def _by_signal(signal: str | None, recording: Recording) -> _Cause:
    if signal is None:
        return _Cause("killed", "killed, it is not known by what,")
    why = _SIGNALS.get(signal)
    evidence = ""
    if signal == "SIGKILL" and recording.kills:
        evidence = "not the kernel's OOM killer: its counts did not rise during the run"
    return _Cause("signal", f"killed by {signal}" + (f" ({why})" if why else ""), evidence=evidence)


def _cut_off(recording: Recording, headroom: tuple[Headroom, ...]) -> _Cause:
    """No end was written: the recorder went too, or first."""
    if recording.run.outlived:
        return _recorder_lost(recording)
    near = [each for each in headroom if each.hard and each.last >= NEAR * each.limit.bytes]
    if near:
        tightest = min(near, key=lambda each: each.limit.bytes - each.last)
        return _Cause(
            "oom-probable",
            "cut off: very probably killed together with its recorder by "
            + ("the cgroup's" if tightest.limit.name == "cgroup" else "the machine's")
            + " OOM killer,",
            False,
            tightest.last,
            tightest.limit.bytes,
            tightest.limit.name,
            "no end was written, and the last reading stands at the limit; the kernel's count "
            "cannot be read any more",
        )
    evidence = "the recorder was killed, had no room to write, or the machine stopped"
    series, marks = recording.series.get(HOST), recording.marks
    if series is not None and len(series) and len(marks):
        later = (int(marks.t_ns[-1]) - int(series.t_ns[-1])) / 1e9
        if later > 5 * recording.run.interval_ns / 1e9 + 0.1:
            evidence = f"the recorder was lost {format_duration(later)} before the last mark"
    if recording.kills:
        evidence += "; the OOM killer of its cgroup has not struck"
    return _Cause("cut-off", "cut off: no end was written,", False, evidence=evidence)


def _recorder_lost(recording: Recording) -> _Cause:
    """The program outlived the process that sampled it: its launcher, or the one beside."""
    did = "went on to its end" if recording.run.outlived == "ended" else "lives still"
    series, when = recording.series.get(HOST), ""
    if series is not None and len(series):
        since = int(series.t_ns[-1]) - recording.run.started_ns
        when = f" {format_duration(since / 1e9)} into the run"
    return _Cause(
        "recorder-lost",
        f"its recorder was lost and it {did}: last sampled",
        evidence=f"the process that sampled ended{when} without a word; all that it had sampled is "
        "here, and the program's own marks go on",
    )


def clock_notes(run: Run) -> tuple[str, ...]:
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


def _figure(cause: _Cause, rss: int) -> str:
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
