"""The loop that reads the host's memory: the one that runs a hundred times a second.

Beside a program that computes nothing of Python is left in the caches, and each function that is
called at a sample costs it 5 µs. So this loop knows its row and does by itself what
`timeline.recorder.sampler.Sampler`, which serves every other stream, asks others to do.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from timeline.recorder.pace import Pace
    from timeline.recorder.probes import Probe


class HostSampler:
    """Reads a probe at each deadline of a pace, from the moment that `run` is called.

    Attributes:
        high: the largest mark or RSS that was read, in bytes.
        rss: the RSS of the last row, in bytes.
    """

    def __init__(
        self,
        probe: Probe,
        keep: Callable[..., bool],
        pace: Pace,
        aside: Callable[[int], int],
    ) -> None:
        """Nothing is read yet.

        Args:
            probe: what is read.
            keep: takes ``t_ns, read_ns, flags, rss, hwm``; False where they could not be kept.
            pace: the deadlines, and what tells the end.
            aside: what else is done after a reading; takes the time of that reading and returns
                when it is to be called again.
        """
        self._probe = probe
        self._keep = keep
        self._pace = pace
        self._aside = aside
        self.high = 0
        self.rss = 0

    def run(self) -> bool:
        """Read until told to end, until the process is gone, or until no more rows are kept.

        Told to end, it reads once more: what happened since the last deadline belongs to the run.

        Returns:
            False if a row could not be kept, else True.
        """
        read, keep, pace, aside = self._probe.read, self._keep, self._pace, self._aside
        wait = None
        high = due = 0
        ended = False
        while True:
            row = read()
            if row is None:
                return True
            t_ns, _, _, rss, most = row
            if most > high or rss > high:
                high = self.high = most if most > rss else rss
            self.rss = rss
            if not keep(*row):
                return False
            if ended:
                return True
            if t_ns >= due:
                due = aside(t_ns)
            if wait is None:
                wait = pace.begin()
            wait()
            ended = pace.is_set
