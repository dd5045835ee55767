"""The children of a target: what each was, how long it lived, and the most that it had."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from timeline.analysis.types import HOST, NOT_RSS, ProcessSummary
from timeline.recording.format import LIMIT
from timeline.recording.types import UNKNOWN, Channel, Ints, Process, Recording, Series

TOTAL = "total.once"
"""The target's own memory, as closely as it is sampled, with what its children have beyond it."""

FAMILY = (
    "children.own", "children.pss", "children.rss", "host.pss", TOTAL, "total.pss", "total.rss",
)  # fmt: skip
"""The channels that are read while there are children."""

_TOTAL_REASON = (
    "each page counted once; what children have of their own is read at a slow pace: peaks are the "
    "largest samples"
)
_PYTHON = re.compile(r"(python|pypy)[0-9.]*(w?\.exe)?|pt_main_thread")
_WORKERS = (
    ("multiprocessing.resource_tracker", "multiprocessing resource tracker"),
    ("multiprocessing.forkserver", "multiprocessing fork server"),
    ("multiprocessing.spawn", "multiprocessing worker (spawn)"),
)


def with_total(recording: Recording) -> Recording:
    """The recording with `TOTAL`, where what the children have of their own was read.

    That is read seldom, and the target's memory may have moved since: so each of its samples is
    taken with the last reading of the children's own. What it shares with them is in its RSS, and
    not or only in part in its USS or PSS: of those there is no such sum.
    """
    host, own = recording.series.get(HOST), recording.series.get("children.own")
    if host is not None and host.channel.source in NOT_RSS:
        return recording
    if host is None or own is None or not len(own) or not recording.processes:
        return recording
    read = own.value != UNKNOWN
    begin = max(int(own.t_ns[0]), min(each.found_ns for each in recording.processes))
    ends = [each.gone_ns or LIMIT for each in recording.processes]
    kept = (host.t_ns >= begin) & (host.t_ns <= max(ends)) & (host.value != UNKNOWN)
    for since, until in without_children(recording).tolist():
        kept &= (host.t_ns <= since) | (host.t_ns >= until)
    t = host.t_ns[kept]
    last = np.searchsorted(own.t_ns[read], t, side="right") - 1
    nothing = np.zeros(len(t), np.int64)
    series = Series(
        channel=Channel(TOTAL, own.channel.unit, "host.rss + children.own", False, _TOTAL_REASON),
        begun_ns=host.begun_ns[kept],
        t_ns=t,
        value=host.value[kept] + own.value[read][np.maximum(last, 0)],
        high=nothing + UNKNOWN,
        unseen=nothing,
    )
    return replace(recording, series={**recording.series, TOTAL: series})


def summarize(recording: Recording) -> tuple[ProcessSummary, ...]:
    """Each child in the order in which they were found."""
    run = recording.run
    pids = {0: run.pid} | {each.number: each.pid for each in recording.processes}
    end = max(run.ended_ns, run.started_ns)
    sums = recording.series.get("children.rss")
    # psutil knows no mark: the largest that it saw stands for it. Who lives on was read last as the
    # recording ended, unless nobody saw that.
    by_kernel = sums is not None and sums.channel.source == "linux" and run.end != "cut-off"
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
    peak, peak_ns = UNKNOWN, 0
    if len(marks):
        peak, peak_ns = int(marks[top]), max(int(t[top]) - start_ns, 0)
    if process.peak > peak:  # by some pages: the kernel sums its counters where it is asked
        peak, peak_ns = process.peak, max(gone - start_ns, begin)
    return ProcessSummary(
        pid=process.pid,
        parent=parent,
        label=label_of(process),
        command=process.command,
        begin_ns=begin,
        end_ns=max(gone - start_ns, begin),
        ended=bool(process.gone_ns),
        peak=peak,
        peak_ns=peak_ns,
        pss=int(process.pss.max()) if len(process.pss) else UNKNOWN,
        exact=process.peak != UNKNOWN or (by_kernel and bool(len(marks)) and not process.gone_ns),
        signal=process.signal,
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
