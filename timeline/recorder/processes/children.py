"""The stream ``children``: how much the target's children have, one by one and together.

Where the kernel gives notice of each child, the host's sampler looks whether any waits, and wakes
this stream, which else sleeps. Where it does not, every look finds the children of that moment, so
that one which lives longer than a look's interval is seen; while none has children of its own, one
list tells of all, and the host's sampler looks whether that is another one than before. The memory
of all is read where one came, and else at most at every fifth look, within a share of the time:
10 µs a process where the caches are warm, and thrice that where they are not.
"""

from __future__ import annotations

import os
import time

from timeline.recorder.processes.family import Family
from timeline.recorder.processes.finding import Paced
from timeline.recorder.processes.ledger import MOST_WRITTEN, Ledger
from timeline.recorder.streams import GLANCE_NS, Unavailable
from timeline.recording.format import CHILDREN_FIELDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from timeline.recorder.processes.elsewhere import PsutilFamily
    from timeline.recorder.streams import Watched

LOOK_EVERY_NS = 10_000_000
LOOK_EVERY_NS_AS_GUEST = 50_000_000
"""In a thread of the target each look takes the GIL from it."""

LOOK_EVERY_NS_BY_PSUTIL = 100_000_000
"""psutil looks through all processes for children, some milliseconds, at each fifth look."""

LOOKS_A_READING = 5
"""What wakes each 10 ms takes 1 % of a CPU for its waking alone."""

ALONE_NS = 200_000_000
"""While there is no child, a look each so often is for those of other threads than the main one,
whose list alone tells of itself: a waking takes 250 us of a CPU that computes."""

UNWOKEN_NS = 1_000_000_000
"""The same where the kernel gives notice of every child: whether the target lives is left to see.
"""

READING_SHARE = 0.003

TWICE = "shared pages are counted once for each process that has them"
SUMMED = "the kernel keeps no common mark of several processes: peaks are the largest samples"


def open_stream(watched: Watched) -> Children:
    """The stream of one recording; the target's family is known to other streams from here on.

    Raises:
        Unavailable: the target is gone; the message is the sentence.
        OSError: it cannot be read.
    """
    ledger = Ledger(watched.directory, guest=watched.guest)
    try:
        if os.path.exists("/proc/self/status"):
            watched.family = Family(watched.pid, ledger, guest=watched.guest)
            if not watched.family.alive():  # it was not waited for yet
                watched.family.close()
                raise ProcessLookupError
            return Children(watched, watched.family, ledger)
        from timeline.recorder.processes.elsewhere import PsutilFamily

        return Children(watched, PsutilFamily(watched.pid, ledger), ledger)
    except (FileNotFoundError, ProcessLookupError):
        raise Unavailable(
            "no samples of children: the program had ended before any were looked for"
        ) from None


class Children:
    """Reads the family and writes the sums; see `timeline.recorder.streams.Stream`.

    Attributes:
        glance: whether there may be a new child, asked from another thread.
        glance_ns: how often to ask.
    """

    name = "children"
    fields = CHILDREN_FIELDS
    share = 0.005

    def __init__(self, watched: Watched, family: Family | PsutilFamily, ledger: Ledger) -> None:
        self._source = "linux" if isinstance(family, Family) else "psutil"
        least = LOOK_EVERY_NS_AS_GUEST if watched.guest else LOOK_EVERY_NS
        if self._source == "psutil":
            least = LOOK_EVERY_NS_BY_PSUTIL
        self._look_ns = self.interval_ns = max(watched.interval_ns, least)
        if family.tells:
            self.interval_ns *= LOOKS_A_READING
        self._family = family
        self._ledger = ledger
        self._next_ns = 0
        self._paced = Paced(READING_SHARE)
        self._had_some = False
        self._settle_glances()

    def channels(self) -> dict[str, dict[str, object]]:
        """The sums."""
        shared = {"stream": self.name, "unit": "byte", "source": self._source, "exact": False}
        return {
            "children.rss": {**shared, "value": "rss", "reason": f"{SUMMED}; {TWICE}"},
            "total.rss": {**shared, "value": "total", "reason": f"{SUMMED}; {TWICE}"},
        }

    def missing(self) -> list[str]:
        """What was not read of the children."""
        family, ledger = self._family, self._ledger
        said = [ledger.lost] if ledger.lost else []
        if family.capped:
            said.append(
                f"child processes beyond {family.most:,} at once: {family.capped}, and the sums "
                "are of those that came first"
            )
        if ledger.beyond:
            said.append(
                f"{ledger.beyond:,} child processes one by one: after the first {MOST_WRITTEN:,} "
                "they are in the sums alone"
            )
        if family.unread and family.told:
            said.append(
                f"the memory of {_counted(family.unread)} that ended before being read, of "
                f"{family.numbers:,} in all"
            )
        elif family.unread:
            said.append(
                f"at least {_counted(family.unread)} that ended before being read; of others as "
                "brief nothing is known"
            )
        if family.hidden:
            said.append(f"{_counted(family.hidden)} that may not be looked at here")
        return said

    def pauses(self) -> int:
        """How long there is nothing to read unless a glance says otherwise, in nanoseconds."""
        family = self._family
        if not family.tells:
            return 0
        if not family.living:
            return max((UNWOKEN_NS if family.told else ALONE_NS) - self.interval_ns, 0)
        # With notices it wakes for readings alone, so for none that is not earned yet.
        return max(self._paced.earned_in() - self.interval_ns, 0) if family.told else 0

    def read(self) -> tuple[int, ...] | None:
        """A row of sums; nothing where there is no child, or it is not yet time."""
        family = self._family
        begun = time.monotonic_ns()
        due = begun >= self._next_ns and self._paced.begins()
        new = family.look(all=due)
        self._settle_glances()
        if not new and not due:
            return ()
        if not family.living and not self._had_some:
            self._next_ns = begun + LOOKS_A_READING * self._look_ns - self.interval_ns // 2
            return () if family.alive() else None
        begun = time.monotonic_ns()
        own = family.read()
        if own is None:
            return None
        t = time.monotonic_ns()
        if due and not new:  # opening the files of who came is dear, and he grows now
            self._paced.ended()
        self._next_ns = begun + LOOKS_A_READING * self._look_ns - self.interval_ns // 2
        self._had_some = bool(family.living)
        rss = sum(member.rss for member in family.living)
        return t, min(t - begun, (1 << 32) - 1), rss, own + rss, len(family.living)

    def close(self) -> None:
        """Close all files."""
        self._family.close()
        self._ledger.close()

    def _settle_glances(self) -> None:
        # Notices wait to be read, a list tells of those of its moment alone.
        self.glance_ns = GLANCE_NS if self._family.told else self._look_ns * 3 // 4
        self.glance = self._family.stirs


def _counted(number: int) -> str:
    return "1 child process" if number == 1 else f"{number:,} child processes"
