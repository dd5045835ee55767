"""By what a run ended: what was read, in words, and how sure that is.

The kernel's counts of its OOM killer tell a kill for memory from any other, never its looks
(docs/decisions/0008).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from timeline.analysis.types import HOST, Headroom
from timeline.errors import TimelineError
from timeline.recording.types import UNKNOWN, Kills, Raised, Recording
from timeline.units import format_duration, parse_bytes

NEAR = 0.95
"""Of a limit: a run that stops this close to it, without a word, very probably died of it. Between
two readings at 20 a second memory that grows by 1 GiB a second gains 50 MiB."""

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

_TORCH_OOM = re.compile(
    r"GPU (?P<device>\d+) has a total capacity of (?P<total>[\d.]+ \w+)"
    r" of which (?P<free>[\d.]+ \w+) is free"
)


@dataclass(frozen=True, slots=True)
class Cause:
    """By what: words for a sentence, whether it is certain, and the figures at the end."""

    cause: str
    words: str
    certain: bool = True
    size: int = UNKNOWN
    limit: int = UNKNOWN
    of: str = ""
    evidence: str = ""


def find_cause(recording: Recording, headroom: tuple[Headroom, ...]) -> Cause | None:
    """By what the run ended; None where it lives, or ended as programs do."""
    run = recording.run
    if run.end == "running":
        return None
    struck = struck_by(recording.kills)
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
) -> Cause | None:
    raised, code = recording.raised, recording.run.exit_code
    lost = _recorder_lost(recording) if recording.run.outlived else None
    if raised is not None and raised.type == "SystemExit" and raised.text in ("", "0"):
        raised = None  # sys.exit() inside of what is recorded: that is how programs end well
    if code == 0 or (raised is None and lost is not None):
        return lost
    cause = _raised(raised, code) if raised is not None else None
    if struck and code:
        # One of its children, as a rule: a program rarely survives that.
        killer = _by_oom_killer(struck, recording, headroom, together=False)
        ended = cause.words if cause else f"exited with code {code}"
        words = f"{ended} after {killer.words.removeprefix('killed by ')} took a process beside it"
        evidence = killer.evidence + _killed_children(recording)
        evidence += f"; {cause.evidence}" if cause else ""
        return replace(killer, cause="oom-other", words=words, evidence=evidence)
    if cause is None and code and _left(recording):
        evidence = "it left by os._exit, out of a library, or as another program: no exception came"
        return Cause("left", f"exited with code {code}", evidence=f"{evidence} to Python's own end")
    if cause is not None and lost is not None:
        return replace(cause, evidence=f"{cause.evidence}; {lost.evidence}".removeprefix("; "))
    return cause


def _left(recording: Recording) -> bool:
    """Whether a program ended that had marks, and Python's own end never came."""
    run = recording.run
    return len(recording.marks) > 0 and not run.seen_to_end and not run.marks_until_ns


def _raised(raised: Raised, code: int | None) -> Cause:
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
    return Cause(cause, f"{ended} {raised.type}{where}", True, size, limit, of, said)


def _of_device(raised: Raised) -> tuple[int, int, str]:
    """What torch says in its error of the device: how much was in use, of how much."""
    found = _TORCH_OOM.search(raised.text)
    if found is None:
        return UNKNOWN, UNKNOWN, "gpu"
    try:
        total, free = parse_bytes(found["total"]), parse_bytes(found["free"])
    except TimelineError:
        return UNKNOWN, UNKNOWN, "gpu"
    return max(total - free, 0), total, f"cuda{found['device']}"


def struck_by(kills: tuple[Kills, ...]) -> Kills | None:
    """Where the OOM killer took somebody: the place whose limit was the reason, else the nearest.

    The kernel counts a victim in its own cgroup whichever OOM killer took it; the limit that was
    reached is counted where it stands. Version 2 counts it in every cgroup around as well, so what
    was counted there alone was a neighbour.
    """
    if not any(each.kills for each in kills):
        return None
    cgroups = [each for each in kills if each.path]
    own = next((each for each in cgroups if each.own), None)
    if own is not None and not own.kills:
        return None  # somebody else's process, elsewhere on the machine
    if cgroups and not any(each.kills for each in cgroups):
        return None
    at_limit = [each for each in cgroups if each.strikes]
    return at_limit[0] if at_limit else next((each for each in kills if not each.path), kills[0])


def _by_oom_killer(
    struck: Kills, recording: Recording, headroom: tuple[Headroom, ...], *, together: bool
) -> Cause:
    who = "killed together with its recorder by" if together else "killed by"
    taken = _taken(recording.kills)
    when = ", as the kernel's own count still tells" if struck.late else ""
    if not struck.path:
        machine = next((each for each in headroom if each.limit.name == "machine"), None)
        # Counted in its own cgroup it was one of ours; counted for the machine it may be anybody.
        ours = any(each.path for each in recording.kills)
        return Cause(
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
    return Cause(
        "oom-cgroup",
        f"{who} the cgroup's OOM killer",
        size=min(size, limit) if limit != UNKNOWN else size,
        limit=limit,
        of=struck.path,
        evidence=f"the OOM killer took {taken} of {struck.path} during the run{when}",
    )


def survivor_notes(recording: Recording, cause: str) -> tuple[str, ...]:
    """That the OOM killer took somebody beside the program, which ended in another way."""
    struck = struck_by(recording.kills)
    if struck is None or cause.startswith("oom") or not any(each.path for each in recording.kills):
        return ()
    who = _killed_children(recording) or ": a child of it, or a neighbour"
    return (
        f"the OOM killer took {_taken(recording.kills)} of {_nearest(recording.kills).path} during "
        f"the run, and not this program{who}",
    )


def _killed_children(recording: Recording) -> str:
    """Which children ended by SIGKILL, where the kernel told; it does not tell who sent it."""
    killed = [each for each in recording.processes if each.signal == "SIGKILL"]
    if not killed:
        return ""
    named = ", ".join(f"{each.name} ({each.pid})" for each in killed[:3])
    more = f" and {len(killed) - 3:,} more" if len(killed) > 3 else ""
    return f"; its {'child' if len(killed) == 1 else 'children'} {named}{more} ended by SIGKILL"


def _taken(kills: tuple[Kills, ...]) -> str:
    """How many the OOM killer took, by the nearest count."""
    count = _nearest(kills).kills
    return "1 process" if count == 1 else f"{count} processes"


def _nearest(kills: tuple[Kills, ...]) -> Kills:
    return next(each for each in kills if each.kills)


def _by_signal(signal: str | None, recording: Recording) -> Cause:
    if signal is None:
        return Cause("killed", "killed, it is not known by what,")
    why = _SIGNALS.get(signal)
    evidence = ""
    if signal == "SIGKILL" and recording.kills:
        evidence = "not the kernel's OOM killer: its counts did not rise during the run"
    return Cause("signal", f"killed by {signal}" + (f" ({why})" if why else ""), evidence=evidence)


def _cut_off(recording: Recording, headroom: tuple[Headroom, ...]) -> Cause:
    """No end was written: the recorder went too, or first."""
    if recording.run.outlived:
        return _recorder_lost(recording)
    # Its own count can be read later only in this boot, and here it has not risen.
    counted = any(each.own for each in recording.kills)
    near = [each for each in headroom if each.hard and each.last >= NEAR * each.limit.bytes]
    if near and not counted:
        tightest = min(near, key=lambda each: each.limit.bytes - each.last)
        return Cause(
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
    if counted:
        evidence = "the recorder was killed or had no room to write: the machine has not stopped"
    series, marks = recording.series.get(HOST), recording.marks
    if series is not None and len(series) and len(marks):
        later = (int(marks.t_ns[-1]) - int(series.t_ns[-1])) / 1e9
        if later > 5 * recording.run.interval_ns / 1e9 + 0.1:
            evidence = f"the recorder was lost {format_duration(later)} before the last mark"
    if counted:
        evidence += "; the OOM killer of its cgroup has not struck"
    return Cause("cut-off", "cut off: no end was written,", False, evidence=evidence)


def _recorder_lost(recording: Recording) -> Cause:
    """The program outlived the process that sampled it: its launcher, or the one beside."""
    did = "went on to its end" if recording.run.outlived == "ended" else "lives still"
    series, when = recording.series.get(HOST), ""
    if series is not None and len(series):
        since = int(series.t_ns[-1]) - recording.run.started_ns
        when = f" {format_duration(since / 1e9)} into the run"
    return Cause(
        "recorder-lost",
        f"its recorder was lost and it {did}: last sampled",
        evidence=f"the process that sampled ended{when} without a word; all that it had sampled is "
        "here, and the program's own marks go on",
    )
