"""The loop that reads memory at a steady pace: a probe, a clock, and where the rows go.

It owns no file, no thread and no clock: `timeline.recorder.beside` gives it all three, and a test
gives it a clock that takes no time.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from timeline.recorder.probes import Probe


class Sampler:
    """Reads a probe at each multiple of the interval, from the moment that `run` is called.

    Deadlines are absolute, so the pace does not drift. A sampler that was held up (a machine
    suspended, a launcher stopped by Ctrl-Z) goes on with the next deadline that lies ahead: what
    was missed stays a gap, and no burst of rows pretends otherwise.
    """

    def __init__(
        self,
        probe: Probe,
        emit: Callable[[int, int, int, int, int], bool],
        *,
        interval_ns: int,
        now: Callable[[], int],
        wait: Callable[[float], bool],
    ) -> None:
        """Nothing is read yet.

        Args:
            probe: what is read.
            emit: takes ``t_ns, read_ns, flags, rss, hwm``; False where a row could not be kept.
            interval_ns: time between two readings, over 0.
            now: the monotonic clock, in nanoseconds.
            wait: waits that many seconds; True, at once, when told to end.
        """
        self._probe = probe
        self._emit = emit
        self._interval = interval_ns
        self._now = now
        self._wait = wait

    def run(self) -> bool:
        """Read until told to end, until the process is gone, or until no more rows are kept.

        Told to end, it reads once more: what happened since the last deadline belongs to the run.

        Returns:
            False if a row could not be kept, else True.
        """
        start = self._now()
        while True:
            sample = self._probe.read()
            if sample is None:
                return True
            if not self._emit(*sample):
                return False
            ahead = self._interval - (self._now() - start) % self._interval
            if self._wait(ahead / 1e9):
                last = self._probe.read()
                return last is None or self._emit(*last)
