"""The stream ``pss``: the family's memory with every shared page counted once.

The kernel shares a page out among those that have it (the proportional set size), and tells which
pages a process alone has. To find that it walks all pages of a process, 20 ms a GiB, with the
process's mmap lock held; so it is read while there are children, and only within a share of the
time.
"""

from __future__ import annotations

import os
import sys
import time

from timeline.recorder.streams import GLANCE_NS, Unavailable
from timeline.recording.format import PROCESS_PSS_FIELDS, PSS_FIELDS, samples_name
from timeline.recording.writer import SampleWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from timeline.recorder.processes.family import Family
    from timeline.recorder.processes.member import Member
    from timeline.recorder.streams import Watched

READ_EVERY_NS = 100_000_000

UNWOKEN_NS = 1_000_000_000
"""While there is no child; it is woken when there is one."""

CHANGED = 0.03
"""Of the PSS: when the RSS of all together has moved by this much it is read again once that has
settled, as far as the share allows."""

UNSETTLED_EVERY_NS = 1_000_000_000
"""While it goes on moving, as where workers start one after the other."""

UNCHANGED_SHARE = 0.004
UNCHANGED_EVERY_NS = 1_000_000_000
"""Else at this pace and with less of a CPU, so that some is saved for when something happens. Pages
become a worker's own by the first write to them, which no RSS tells."""

LONG_NS = 100_000_000
"""A round that took so long is not repeated for the sake of a last row."""

REASON = (
    "each page is shared out among those that have it, so the sum counts it once; read at its own "
    "slow pace: peaks are the largest samples"
)
REASON_OWN = "read at the slow pace of the PSS: peaks are the largest samples"


def open_stream(watched: Watched) -> Pss:
    """The stream of one recording.

    Raises:
        Unavailable: the kernel tells no such size.
    """
    if not os.path.exists("/proc/self/smaps_rollup"):
        what = "this kernel has no /proc/PID/smaps_rollup"
        where = what if sys.platform == "linux" else "it is read from the files of Linux"
        raise Unavailable(f"no PSS: {where}")
    return Pss(watched)


class Pss:
    """Reads target and children; see `timeline.recorder.streams.Stream`."""

    name = "pss"
    fields = PSS_FIELDS
    interval_ns = READ_EVERY_NS
    glance_ns = GLANCE_NS
    share = 0.01

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._rows: SampleWriter | None = None
        self._refused: dict[int, str] = {}
        self._took_ns = self._ended_ns = self._cost_ns = 0
        self._was = 0, 0, 0
        self._seen = 0, 0
        self._moves = False
        self._sleeps = False

    def glance(self) -> bool:
        """Whether there is somebody to read where there was nobody; asked from another thread."""
        family = self._watched.family
        if not self._sleeps or family is None or not family.living:
            return False
        self._sleeps = False
        return True

    def pauses(self) -> int:
        """How long there is nothing to read unless a glance says otherwise, in nanoseconds."""
        family = self._watched.family
        self._sleeps = family is not None and not family.living
        return UNWOKEN_NS - self.interval_ns if self._sleeps else 0

    def channels(self) -> dict[str, dict[str, object]]:
        """The target's, the children's, and both; and what the children have beyond the target."""
        shared = {"stream": self.name, "unit": "byte", "source": "linux", "exact": False}
        return {
            "host.pss": {**shared, "value": "host", "reason": REASON},
            "children.pss": {**shared, "value": "children", "reason": REASON},
            "total.pss": {**shared, "value": "total", "reason": REASON},
            "children.own": {**shared, "value": "own", "reason": REASON_OWN},
        }

    def missing(self) -> list[str]:
        """Whose memory may not be walked."""
        named = [f"{pid} ({name})" for pid, name in list(self._refused.items())[:3]]
        if not named:
            return []
        rest = len(self._refused) - len(named)
        more = f" and {rest:,} more" if rest else ""
        return [f"the PSS of process {', '.join(named)}{more}: not allowed; its RSS stands for it"]

    def read(self) -> tuple[int, ...] | None:
        """A row; nothing where there is no child."""
        family = self._watched.family
        if family is None or not family.living:
            return ()
        begun, spent = time.monotonic_ns(), time.thread_time_ns()
        if not self._is_time(begun - self._ended_ns, family):
            return ()
        target = self._of(family.target)
        if target is None:
            return None
        children = []
        for member in family.living:
            size = self._of(member)
            if size is not None and not member.borrowed:
                children.append(size)
                self._keep(member, size.pss)
        t = time.monotonic_ns()
        pss = sum(size.pss for size in children)
        self._took_ns, self._ended_ns = t - begun, t
        # Of a CPU: on a machine that is busy with others a round takes ten times as long.
        self._cost_ns = time.thread_time_ns() - spent
        self._was = _rss(family), target.pss + pss, len(family.living)
        own = own_of_children(target, children)
        return t, min(t - begun, (1 << 32) - 1), target.pss, pss, target.pss + pss, own

    def close(self) -> None:
        """Close the file of the children's."""
        if self._rows is not None:
            self._rows.close()

    def _is_time(self, since_ns: int, family: Family) -> bool:
        if self._took_ns > LONG_NS and since_ns < self._took_ns:
            return False
        rss, pss, count = self._was
        now, most = _rss(family), int(pss * CHANGED)
        looked_ns, before = self._seen
        if family.target.t_ns != looked_ns:
            self._moves = abs(now - before) > most
            self._seen = family.target.t_ns, now
        if count != len(family.living) or abs(now - rss) > most:
            return not self._moves or not pss or since_ns >= UNSETTLED_EVERY_NS
        return since_ns >= max(UNCHANGED_EVERY_NS, int(self._cost_ns / UNCHANGED_SHARE))

    def _of(self, member: Member) -> Sizes | None:
        """None once the process has ended."""
        try:
            fd = os.open(f"/proc/{member.pid}/smaps_rollup", os.O_RDONLY | os.O_CLOEXEC)
            try:
                text = os.read(fd, 4096)
            finally:
                os.close(fd)
        except PermissionError:
            self._refused.setdefault(member.pid, member.name)
            return Sizes(member.rss, member.rss, member.rss)
        except OSError:
            return None
        if b"\nPss:" not in text:
            return None
        private = _size(text, b"\nPrivate_Clean:") + _size(text, b"\nPrivate_Dirty:")
        return Sizes(_size(text, b"\nRss:"), _size(text, b"\nPss:"), private)

    def _keep(self, member: Member, pss: int) -> None:
        if self._rows is None:
            path = os.path.join(self._watched.directory, samples_name("processes_pss"))
            self._rows = SampleWriter(path, PROCESS_PSS_FIELDS, guest=self._watched.guest)
        self._rows.append(time.monotonic_ns(), member.number, pss)


class Sizes:
    """What one process has, in bytes: all, its share of all, and what it has alone."""

    __slots__ = ("private", "pss", "rss")

    def __init__(self, rss: int, pss: int, private: int) -> None:
        self.rss = rss
        self.pss = pss
        self.private = private


def own_of_children(target: Sizes, children: Sequence[Sizes]) -> int:
    """What children have that the target has not, in bytes, each page counted once.

    Their private pages, and of those that they share among one another as many as can be told
    apart from the target's. A page that is shared has one place in the largest of what any of the
    family shares, so all shared pages are no fewer than that; nor than the family's shares of them
    added up. Both are least figures, and the first is exact where one process has them all, as the
    parent of forked workers does.
    """
    private = sum(size.private for size in children)
    everyone = (target, *children)
    most = max(size.rss - size.private for size in everyone)
    shares = sum(size.pss - size.private for size in everyone)
    return private + max(most, shares) - (target.rss - target.private)


def _size(text: bytes, key: bytes) -> int:
    at = text.find(key)
    return int(text[at + len(key) :].split(None, 1)[0]) << 10 if at >= 0 else 0


def _rss(family: Family) -> int:
    return family.target.rss + sum(member.rss for member in family.living)
