"""The loop that reads the host's memory: the one that runs a hundred times a second.

Beside a program that computes nothing of Python is left in the caches, and each function that is
called at a sample costs it 5 µs. So this loop knows its row and does by itself what
`timeline.recorder.sampler.Sampler`, which serves every other stream, asks others to do.
"""

from __future__ import annotations

from timeline.recorder.probes.linux import RESET_OVER_KIB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from timeline.recorder.pace import Pace
    from timeline.recorder.probes import Sample

TAKEN = RESET_OVER_KIB << 10
"""A mark so far above the RSS of its row was reset after the reading: nobody else knows it."""


class HostSampler:
    """Reads at each deadline of a pace, from the moment that `run` is called.

    A row that tells nothing but where memory stands may be held back, to be written with those
    after it: a write of a hundred rows costs little more than one of a single row, and each costs
    a sixth of a sample. What it holds is lost if this process is killed, and no peak with it: the
    kernel still has its mark. Rows that took the mark from the kernel, and those that
    are the highest so far, are written at once, with all before them.

    Attributes:
        high: the largest mark or RSS that was read, in bytes.
        rss: the RSS of the last row, in bytes.
    """

    def __init__(
        self,
        readings: Iterator[Sample],
        keep: Callable[[Sequence[Sample]], bool],
        pace: Pace,
        aside: Callable[[int], int],
        *,
        held: int = 1,
    ) -> None:
        """Nothing is read yet.

        Args:
            readings: each step reads once, until the process is gone.
            keep: takes rows in their order; False where they could not be kept.
            pace: the deadlines, and what tells the end.
            aside: what else is done after a reading; takes the time of that reading and returns
                when it is to be called again.
            held: with so many rows they are written, whatever they tell; 1 or more.
        """
        self._readings = readings
        self._keep = keep
        self._pace = pace
        self._aside = aside
        self._held = held
        self._rows: list[Sample] = []
        self.high = 0
        self.rss = 0

    def run(self) -> bool:
        """Read until told to end, until the process is gone, or until no more rows are kept.

        Told to end, it reads once more: what happened since the last deadline belongs to the run.

        Returns:
            False if a row could not be kept, else True.
        """
        try:
            well = self._read_all()
        except BaseException:
            self._write()
            raise
        return well and self._write()

    def _read_all(self) -> bool:
        """As `run`, but rows may be left to be written."""
        rows, pace, aside, held = self._rows, self._pace, self._aside, self._held
        wait = None
        high = due = 0
        ended = False
        for row in self._readings:
            rows.append(row)
            t_ns, _, _, rss, most = row
            self.rss = rss
            if most > high or rss > high:
                high = self.high = most if most > rss else rss
                write = True
            else:
                write = most > rss + TAKEN or len(rows) >= held
            if write and not self._write():
                return False
            if ended:
                return True
            if t_ns >= due:
                due = aside(t_ns)
            if wait is None:
                wait = pace.begin()
            wait()
            ended = pace.is_set
        return True

    def _write(self) -> bool:
        """Whether all rows could be kept; those that could not are not tried again."""
        kept = not self._rows or self._keep(self._rows)
        self._rows.clear()
        return kept
