"""A recording that runs in this process: its marks, its sampler, and what is put in place."""

from __future__ import annotations

import os
import sys
import time

from timeline.errors import RecordingError
from timeline.recorder import session
from timeline.recorder.command import working_directory
from timeline.recorder.overall import make_overall, replace_getrusage
from timeline.recorder.sampling import start_sampling
from timeline.recorder.say import say
from timeline.recording.format import FORMAT_VERSION, SUMMARY
from timeline.recording.writer import write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from timeline.recorder.overall import Overall
    from timeline.recorder.ranks import Rank
    from timeline.recorder.sampling import Sampling

MOST_OF_ARGV = 100_000
"""Characters of the command line that a recording keeps; past this only the script."""

_ENDING: dict[str, object] = {"end": "exited"}


class Running:
    """Everything of one recording that has to be ended again.

    Made and begun apart: who made it can end it, however far an interrupt let it come.

    Attributes:
        directory: the run directory.
        session: where this process writes its marks; None before `begin`.
    """

    def __init__(self, directory: str) -> None:
        """Nothing happens yet.

        Args:
            directory: the run directory, absolute; it exists.
        """
        self.directory = directory
        self.session: session.Session | None = None
        self._sampling: Sampling | None = None
        self._overall: Overall | None = None
        self._end_of_overall: Callable[[], None] | None = None

    def begin(
        self,
        *,
        interval_ns: int,
        exact: bool,
        backend: str,
        sampler: str,
        rank: Rank | None = None,
        anatomy: int = 0,
        snapshot: bool = False,
    ) -> None:
        """Begin. What raises leaves things that `end` ends.

        Args:
            interval_ns: time between two samples.
            exact: whether to read and reset the high-water mark.
            backend: what reads host memory.
            sampler: ``process`` or ``thread``.
            rank: which of several processes this is.
            anatomy: the number of the training step to weigh; 0 for none, -1 for an early one.
            snapshot: whether torch's own history of GPU memory is recorded and written.

        Raises:
            RecordingError: the directory cannot be written to.
        """
        try:
            self.session = session.Session(self.directory, exact=exact)
        except OSError as error:
            why = f"{self.directory} cannot be written to: {error.strerror}"
            raise RecordingError(why) from None
        self._sample(
            self.session,
            sampler,
            interval_ns=interval_ns,
            exact=exact,
            backend=backend,
            rank=rank.document() if rank else None,
        )
        session.activate(self.session)
        self._hook(self.session, anatomy, snapshot)

    def end(self) -> None:
        """End it all, within a bound."""
        if self.session is None:
            return
        session.deactivate()
        _unhook()
        try:
            why = self._sampling.stop(_ENDING) if self._sampling is not None else ""
            if why:
                say(why)
                self.session.missing(f"samples end early: {why}")
                self._write_end()
        finally:
            self.session.close()
            if self._end_of_overall is not None:
                self._end_of_overall()
            if self._overall is not None:
                self._overall.close()

    def abandon(self) -> None:
        """Let go of what a forked child has inherited; the recording is the parent's."""
        if self._sampling is not None:
            self._sampling.abandon()
        if self._overall is not None:
            self._overall.close()

    def _sample(self, writes: session.Session, sampler: str, **how: object) -> None:
        own = writes.own
        if own is not None:
            self._overall = make_overall()
            self._end_of_overall = replace_getrusage(own, self._overall)
        task = {
            "pid": writes.pid,
            "directory": self.directory,
            "argv": _argv(),
            "cwd": working_directory(),
            **how,
        }
        self._sampling, why = start_sampling(sampler, task, self._overall)
        if why:
            say(why)
            writes.missing(why)

    def _hook(self, writes: session.Session, anatomy: int, snapshot: bool) -> None:
        try:
            from timeline.recorder import hooks

            hooks.install(anatomy=anatomy, snapshot=snapshot)
        except Exception as error:
            writes.missing(f"no phases without being asked: {error}")

    def _write_end(self) -> None:
        """What the sampler writes at the end, in its place, unless it has come to that."""
        if os.path.exists(os.path.join(self.directory, SUMMARY)):
            return
        ended = {"time_ns": time.time_ns(), "monotonic_ns": time.monotonic_ns()}
        document = {"timeline": FORMAT_VERSION, **_ENDING, "ended": ended, "sampler": "lost"}
        try:
            write_json(self.directory, SUMMARY, document)
        except RecordingError:  # what keeps the sampler from writing keeps us
            pass


def _unhook() -> None:
    try:
        from timeline.recorder import hooks

        hooks.uninstall()
    except Exception as error:
        say(f"hooks are left in place: {error}")


def _argv() -> list[str]:
    # What is no text is somebody's joke or an embedding program's; megabytes of file names are not
    # worth a slow start.
    argv = [each for each in getattr(sys, "argv", []) if isinstance(each, str)]
    return argv if sum(map(len, argv)) <= MOST_OF_ARGV else [*argv[:1], "…"]
