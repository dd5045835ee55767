"""The children of a target: what each was, how long it lived, and the most that it had."""

from __future__ import annotations

import re

import numpy as np

from timeline.analysis.types import ProcessSummary
from timeline.recording.types import UNKNOWN, Ints, Process, Recording

FAMILY = ("children.pss", "children.rss", "host.pss", "total.pss", "total.rss")
"""The channels that are read while there are children."""

_PYTHON = re.compile(r"(python|pypy)[0-9.]*(w?\.exe)?|pt_main_thread")
_WORKERS = (
    ("multiprocessing.resource_tracker", "multiprocessing resource tracker"),
    ("multiprocessing.forkserver", "multiprocessing fork server"),
    ("multiprocessing.spawn", "multiprocessing worker (spawn)"),
)


def summarize(recording: Recording) -> tuple[ProcessSummary, ...]:
    """Each child in the order in which they were found."""
    run = recording.run
    pids = {0: run.pid} | {each.number: each.pid for each in recording.processes}
    end = max(run.ended_ns, run.started_ns)
    sums = recording.series.get("children.rss")
    # psutil knows no mark: the largest that it saw stands for it.
    by_kernel = sums is not None and sums.channel.source == "linux"
    return tuple(
        _summary(each, pids.get(each.up, run.pid), run.started_ns, end, by_kernel)
        for each in recording.processes
    )


def _summary(
    process: Process, parent: int, start_ns: int, end_ns: int, by_kernel: bool
) -> ProcessSummary:
    # Before an exec it had the memory of its parent, which it left.
    own = process.t_ns >= process.runs_since_ns
    marks, t = process.mark[own], process.t_ns[own]
    top = int(np.argmax(marks)) if len(marks) else 0
    # The kernel's word may be 10 ms off, and the first reading is later still.
    begin = process.began_ns if process.began_ns != UNKNOWN else process.found_ns
    begin = max(min(begin, process.found_ns) - start_ns, 0)
    gone = process.gone_ns or end_ns
    return ProcessSummary(
        pid=process.pid,
        parent=parent,
        label=label_of(process),
        command=process.command,
        begin_ns=begin,
        end_ns=max(gone - start_ns, begin),
        ended=bool(process.gone_ns),
        peak=int(marks[top]) if len(marks) else UNKNOWN,
        peak_ns=max(int(t[top]) - start_ns, 0) if len(marks) else 0,
        pss=int(process.pss.max()) if len(process.pss) else UNKNOWN,
        exact=by_kernel and bool(len(marks)) and not process.gone_ns,
    )


def label_of(process: Process) -> str:
    """What a reader would call it, short."""
    command, name = process.command, process.name
    if name and not _PYTHON.fullmatch(name) and (process.forked or name not in command):
        return f"{name} (forked)" if process.forked else name
    for module, label in _WORKERS:
        if module in command:
            forked = process.forked and label.endswith("server")
            return "multiprocessing worker (forkserver)" if forked else label
    first, _, rest = command.partition(" ")
    program = first.replace("\\", "/").rpartition("/")[2]
    text = rest if rest and _PYTHON.fullmatch(program) else f"{program} {rest}".strip()
    text = text or name or "?"
    return f"{text} (forked)" if process.forked else text


def without_children(recording: Recording) -> Ints:
    """[k, 2] the stretches between children in which there was none; monotonic."""
    come = np.array([each.found_ns for each in recording.processes], np.int64)
    go = np.array([each.gone_ns for each in recording.processes if each.gone_ns], np.int64)
    t = np.concatenate((come, go))
    change = np.concatenate((np.ones(len(come), np.int64), -np.ones(len(go), np.int64)))
    # At one moment first those that come: a child that another follows leaves no stretch.
    order = np.lexsort((-change, t))
    t, living = t[order], np.cumsum(change[order])
    none = np.flatnonzero(living[:-1] == 0) if len(t) else np.empty(0, np.int64)
    return np.stack((t[none], t[none + 1]), axis=1)
