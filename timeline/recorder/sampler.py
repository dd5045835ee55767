"""The loop that reads memory at a steady pace: a probe, a clock, and where the rows go.

It owns no file, no thread and no clock: `timeline.recorder.beside` gives it all three, and a test
gives it a clock that takes no time.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Reads(Protocol):
        """What can be sampled, such as a `timeline.recorder.probes.Probe`."""

        def read(self) -> tuple[int, ...] | None:
            """A row; an empty one where there is nothing to keep; None once it is over."""


SAVED_S = 20
"""What a share earns in so many seconds may be saved: to follow what begins, as workers do, closely
for its first moments."""


class Sampler:
    """Reads a probe at each multiple of the interval, from the moment that `run` is called.

    Deadlines are absolute, so the pace does not drift. A sampler that was held up (a machine
    suspended, a launcher stopped by Ctrl-Z) goes on with the next deadline that lies ahead: what
    was missed stays a gap, and no burst of rows pretends otherwise. One whose reads take more than
    their share of the time leaves deadlines out, too.
    """

    def __init__(
        self,
        probe: Reads,
        emit: Callable[..., bool],
        *,
        interval_ns: int,
        now: Callable[[], int],
        wait: Callable[[float], bool],
        share: float = 0.0,
        spent: Callable[[], int] = int,
        paused: Callable[[], int] | None = None,
    ) -> None:
        """Nothing is read yet.

        Args:
            probe: what is read.
            emit: takes the values of a row, such as ``t_ns, read_ns, flags, rss, hwm``; False where
                it could not be kept.
            interval_ns: time between two readings, over 0.
            now: the monotonic clock, in nanoseconds.
            wait: waits that many seconds, or less where there is something to be read before; True,
                at once, when told to end.
            share: the most of a CPU's time that readings may take on the long run, up to 1; 0 for
                no limit. What it earns in `SAVED_S` is saved for when it is needed.
            spent: the CPU time that they took so far, in nanoseconds. Not the time that passed: one
                that is held up, on a loaded machine or by Ctrl-Z, has cost nobody anything.
            paused: for how long beyond the next deadline there will be nothing to read, in
                nanoseconds.
        """
        self._probe = probe
        self._emit = emit
        self._interval = interval_ns
        self._share = share
        self._most = self._left = share * SAVED_S * 1e9
        self._now = now
        self._wait = wait
        self._spent = spent
        self._paused = paused

    def run(self) -> bool:
        """Read until told to end, until the process is gone, or until no more rows are kept.

        Told to end, it reads once more: what happened since the last deadline belongs to the run.

        Returns:
            False if a row could not be kept, else True.
        """
        read, emit, clock, wait, paused = (
            self._probe.read, self._emit, self._now, self._wait, self._paused,
        )  # fmt: skip
        interval, share = self._interval, self._share
        start = looked = clock()
        spent = self._spent()
        ended = False
        while True:
            sample = read()
            if sample is None:
                return True
            if sample and not emit(*sample):
                return False
            now = clock()
            ahead = interval - (now - start) % interval
            if paused is not None:
                ahead += paused()
            if share:
                before, spent = spent, self._spent()
                rest = self._rest(now - looked, spent - before, ahead)
                looked = now
                # Whoever wakes it does so for the next reading, not for one that is not earned yet.
                until = now + rest
                while now < until and not ended:
                    ended = wait((until - now) / 1e9)
                    now = clock()
            if ended or wait(ahead / 1e9):
                last = read()
                return not last or emit(*last)

    def _rest(self, passed: int, spent: int, ahead: int) -> int:
        """How long to wait beyond ``ahead``, in whole intervals, until what was spent is earned."""
        self._left = min(self._left + self._share * passed, self._most) - spent
        short = int(-self._left / self._share) - ahead
        return max(0, -(-short // self._interval)) * self._interval
