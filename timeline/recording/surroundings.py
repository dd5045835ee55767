"""The limits that a recording speaks of, and what the kernel counted before and after the run."""

from __future__ import annotations

from dataclasses import replace

from timeline.recording.alive import same_boot
from timeline.recording.cgroups import Cgroup
from timeline.recording.documents import Document
from timeline.recording.format import SIZE_LIMIT
from timeline.recording.types import UNKNOWN, Kills, Limit

_MOST = 64
"""Of limits and nested cgroups; a container in a container has a dozen."""


def read_limits(meta: Document) -> tuple[Limit, ...]:
    """The limits of ``meta.json``, in its order."""
    found = []
    for entry in meta.list_of("limits")[:_MOST]:
        size = entry.integer("bytes", UNKNOWN, high=SIZE_LIMIT)
        name = entry.text("name")
        if name and size != UNKNOWN:
            found.append(Limit(name, size, entry.text("channel"), entry.text("source")))
    return tuple(found)


def read_kills(meta: Document, summary: Document, cut_off: bool) -> tuple[Kills, ...]:
    """The OOM killer's counts of the run, by place; none where they were not read twice.

    Args:
        meta: has the counts before.
        summary: has the counts after, where an end was written.
        cut_off: whether none was, and no writer lives. Then the cgroups themselves are looked at,
            if this is the same boot of the same machine and they are the same cgroups: a group that
            was killed together with its recorder may have left them behind.
    """
    before = meta.inner("kernel")
    late = cut_off and same_boot(meta.found)
    after = {each.text("path"): each for each in summary.inner("kernel").list_of("cgroups")}
    found = []
    for at, was in enumerate(before.list_of("cgroups")[:_MOST]):
        path = was.text("path")
        now = _look(was, path) if late else after.get(path)
        if now is not None and (kills := _kills(was, now, path, late)):
            found.append(replace(kills, own=not at))
    machine = summary.inner("kernel").inner("machine")
    if machine.found and (kills := _kills(before.inner("machine"), machine, "", False)):
        found.append(kills)
    return tuple(found)


def _kills(was: Document, now: Document, path: str, late: bool) -> Kills | None:
    before, after = was.integer("oom_kill", None), now.integer("oom_kill", None)
    if before is None or after is None or after < before:
        return None
    peak, peak_before = (each.integer("peak", UNKNOWN, high=SIZE_LIMIT) for each in (now, was))
    return Kills(
        path=path,
        kills=after - before,
        strikes=max(now.integer("oom", 0) - was.integer("oom", 0), 0),
        used=now.integer("used", UNKNOWN, high=SIZE_LIMIT),
        # The kernel's peak is of all time: one that did not rise was there before this run.
        peak=peak if peak > peak_before else UNKNOWN,
        group=was.truth("group"),
        late=late,
    )


def _look(was: Document, path: str) -> Document | None:
    cgroup = Cgroup(path, was.integer("version", 2, 1, 2))
    identity = was.integer("id", 0)
    # A path alone does not tell: the next container may have been given the same.
    if not path.startswith("/sys/fs/cgroup/") or not identity or cgroup.identity() != identity:
        return None
    return Document(cgroup.facts())
