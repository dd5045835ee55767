"""The stream ``pss``: the family's memory with every shared page counted once.

The kernel shares a page out among those that have it (the proportional set size). To find that it
walks all pages of a process, 20 ms a GiB, with the process's mmap lock held; so it is read while
there are children, and only within a share of the time.
"""

from __future__ import annotations

import os
import sys
import time

from timeline.recorder.streams import Unavailable
from timeline.recording.format import PROCESS_PSS_FIELDS, PSS_FIELDS, samples_name
from timeline.recording.writer import SampleWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from timeline.recorder.processes.family import Family
    from timeline.recorder.processes.member import Member
    from timeline.recorder.streams import Watched

READ_EVERY_NS = 100_000_000

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
    share = 0.01

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._rows: SampleWriter | None = None
        self._refused: dict[int, str] = {}
        self._took_ns = self._ended_ns = 0
        self._was = 0, 0, 0
        self._seen = 0, 0
        self._moves = False

    def channels(self) -> dict[str, dict[str, object]]:
        """The target's, the children's, and both."""
        shared = {"stream": self.name, "unit": "byte", "source": "linux", "exact": False}
        return {
            "host.pss": {**shared, "value": "host", "reason": REASON},
            "children.pss": {**shared, "value": "children", "reason": REASON},
            "total.pss": {**shared, "value": "total", "reason": REASON},
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
        begun = time.monotonic_ns()
        if not self._is_time(begun - self._ended_ns, family):
            return ()
        own = self._of(family.target)
        if own is None:
            return None
        children = 0
        for member in family.living:
            pss = self._of(member)
            if pss is not None and not member.borrowed:
                children += pss
                self._keep(member, pss)
        t = time.monotonic_ns()
        self._took_ns, self._ended_ns = t - begun, t
        self._was = _rss(family), own + children, len(family.living)
        return t, min(t - begun, (1 << 32) - 1), own, children, own + children

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
        return since_ns >= max(UNCHANGED_EVERY_NS, int(self._took_ns / UNCHANGED_SHARE))

    def _of(self, member: Member) -> int | None:
        """In bytes; None once the process has ended."""
        try:
            fd = os.open(f"/proc/{member.pid}/smaps_rollup", os.O_RDONLY | os.O_CLOEXEC)
            try:
                text = os.read(fd, 4096)
            finally:
                os.close(fd)
        except PermissionError:
            self._refused.setdefault(member.pid, member.name)
            return member.rss
        except OSError:
            return None
        at = text.find(b"\nPss:")
        return int(text[at + 5 :].split(None, 1)[0]) << 10 if at >= 0 else None

    def _keep(self, member: Member, pss: int) -> None:
        if self._rows is None:
            path = os.path.join(self._watched.directory, samples_name("processes_pss"))
            self._rows = SampleWriter(path, PROCESS_PSS_FIELDS, guest=self._watched.guest)
        self._rows.append(time.monotonic_ns(), member.number, pss)


def _rss(family: Family) -> int:
    return family.target.rss + sum(member.rss for member in family.living)
