"""`Recorder`: a recording of this process, made from inside it."""

from __future__ import annotations

import _thread
import atexit
import os
import sys
import time

from timeline.errors import RecorderStateError, RecordingError, RecordingExistsError, UsageError
from timeline.recorder import session
from timeline.recorder.directory import make_directory, script_name
from timeline.recorder.options import checked_directory, checked_interval, checked_name
from timeline.recorder.overall import make_overall, replace_getrusage
from timeline.recorder.probes import resolve
from timeline.recorder.sampling import start_sampling
from timeline.recorder.say import say
from timeline.recording.format import FORMAT_VERSION, SUMMARY
from timeline.recording.writer import write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from timeline.recorder.sampling import Sampling
    from timeline.recording.types import Recording

_ENDING: dict[str, object] = {"end": "exited"}
_NEW, _RUNNING, _ENDED = "was not started", "is running", "has ended"

MOST_OF_ARGV = 100_000
"""Characters of the command line that a recording keeps; past this only the script."""

_one_at_a_time = _thread.RLock()
_running: set[Recorder] = set()


def switched_off() -> bool:
    """Whether the environment says that code with a recorder in it shall run without."""
    return os.environ.get("TIMELINE_OFF", "") not in ("", "0")


class Recorder:
    """Records this process: ``with Recorder():``, or `start` and `stop`.

    A recorder records once. Where something records this process already, ``python -m timeline`` or
    another recorder, it makes no recording of its own but a phase named ``name`` in that one. With
    ``TIMELINE_OFF=1`` in the environment it does nothing.

    Attributes:
        name: what the recording, or the phase, is called.
        directory: absolute path of the run directory, or of the recording that absorbed this one;
                empty before `start`, and where nothing is recorded.
        numbered: whether a number is put behind a directory that is taken.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        name: str | None = None,
        interval_s: float = 0.01,
        exact: bool = True,
        backend: str = "auto",
        charts: bool = True,
        sampler: str = "process",
        force: bool = False,
    ) -> None:
        """Say what to record; nothing happens before `start`.

        Args:
            directory: where to; by default ``NAME-YYYYMMDD-HHMMSS.timeline`` in the working
                directory, with a number behind it where that is taken.
            name: by default the script's.
            interval_s: seconds between two samples. Peaks are exact at any interval.
            exact: whether to read and reset the kernel's high-water mark.
            backend: what reads host memory: ``auto``, ``linux``, ``psutil``, ``memory_profiler``
                or ``memory_profiler:NAME``.
            charts: whether `stop` makes ``report.png`` and ``report.html``.
            sampler: ``process`` samples from a small process beside this one, ``thread`` from a
                thread of this one, which takes no samples while C code holds the GIL.
            force: whether to overwrite a recording in ``directory``.

        Raises:
            UsageError: an argument cannot be.
        """
        self.name = script_name() if name is None else checked_name(name)
        self.directory = ""
        self._wanted = checked_directory(directory)
        self._interval_ns = checked_interval(interval_s)
        self._exact = bool(exact)
        self._backend = resolve(backend)
        self._charts = bool(charts)
        if sampler not in ("process", "thread"):
            raise UsageError(f"sampler is {sampler!r}: it can be 'process' or 'thread'")
        self._sampler = sampler
        self._force = bool(force)
        self.numbered = not self._wanted
        self._state = _NEW
        self._pid = 0
        self._inside: session.Open | None = None
        self._session: session.Session | None = None
        self._sampling: Sampling | None = None
        self._end_of_overall: Callable[[], None] | None = None

    def start(self) -> Recorder:
        """Begin to record.

        Raises:
            RecorderStateError: it was started before.
            RecordingExistsError: there is something at ``directory``.
            RecordingError: the directory cannot be made or written to.
        """
        with _one_at_a_time:
            if self._state != _NEW:
                raise RecorderStateError(
                    f"this recorder {self._state}: a recorder records once, so make a new one"
                )
            outer = session.current
            if outer is not None:
                self.directory = outer.directory
                self._inside = session.enter(self.name, by=self)
            elif not switched_off():
                self._begin()
            self._pid = os.getpid()
            self._state = _RUNNING
        return self

    def stop(self) -> None:
        """End the recording and make its charts. In a forked child nothing happens.

        Raises:
            RecorderStateError: it is not running.
        """
        with _one_at_a_time:
            if self._state != _RUNNING:
                raise RecorderStateError(f"this recorder {self._state}, so it cannot be stopped")
            self._state = _ENDED
            session.leave(self._inside)
            if self._session is None or self._pid != os.getpid():
                return
            try:
                self._end()
            except Exception as error:
                say(f"{self.directory} did not end well: {error}")
                return
        if self._charts:
            from timeline.recorder.charts import make_charts

            say(make_charts(self.directory))

    @property
    def absorbed(self) -> bool:
        """Whether another recording has taken this one in, as a phase."""
        return self._inside is not None

    def recording(self) -> Recording:
        """The recording, read from its directory; also while it runs.

        Raises:
            RecordingError: there is none, or it cannot be read.
        """
        if not self.directory:
            raise RecordingError(f"this recorder has recorded nothing: it {self._state}")
        # By the door: what reads a recording needs numpy, which nothing in this room imports.
        import timeline

        return timeline.load(self.directory)

    def __enter__(self) -> Recorder:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._state != _RUNNING:
            return
        if kind is not None and self._session is not None:
            self._session.fact("exception", kind.__name__)
        self.stop()

    def __repr__(self) -> str:
        where = f", {self.directory}" if self.directory else ""
        return f"<Recorder {self.name!r} {self._state}{where}>"

    def _repr_html_(self) -> str:
        """What a Jupyter cell shows: the chart, once there is one."""
        from html import escape

        text = f"<code>{escape(repr(self))}</code>"
        try:
            with open(os.path.join(self.directory, "report.png"), "rb") as file:
                png = file.read()
        except OSError:
            return text
        if self._state != _ENDED:
            return text
        from base64 import b64encode

        source = f"data:image/png;base64,{b64encode(png).decode('ascii')}"
        return f'<img src="{source}" alt="memory timeline" style="max-width: 100%"><br>{text}'

    def _begin(self) -> None:
        try:
            self.directory = make_directory(
                self._wanted, self.name, numbered=self.numbered, force=self._force
            )
        except RecordingExistsError as error:
            raise RecordingExistsError(f"{error} (here: directory=… or force=True)") from None
        try:
            own = session.Session(self.directory, exact=self._exact)
        except OSError as error:
            raise RecordingError(f"{self.directory} cannot be written to: {error}") from None
        self._session = own
        try:
            self._sample(own)
            session.activate(own)
            _hook(own)
        except BaseException:
            # Ctrl-C while starting: leave nothing behind that runs.
            self._end()
            raise
        _running.add(self)
        atexit.register(self._at_exit)

    def _sample(self, own: session.Session) -> None:
        overall = make_overall() if own.own is not None else None
        if own.own is not None:
            self._end_of_overall = replace_getrusage(own.own, overall)
        self._sampling, why = start_sampling(
            self._sampler,
            {
                "pid": own.pid,
                "directory": self.directory,
                "argv": _argv(),
                "cwd": _cwd(),
                "interval_ns": self._interval_ns,
                "exact": self._exact,
                "backend": self._backend,
                "facts": {},
            },
            overall,
        )
        if overall is not None:
            overall.let_go()
        if why:
            say(why)
            own.missing(why)

    def _end(self) -> None:
        """End everything that runs."""
        own, sampling = self._session, self._sampling
        assert own is not None
        _running.discard(self)
        atexit.unregister(self._at_exit)
        session.deactivate()
        _unhook()
        try:
            why = sampling.stop(_ENDING) if sampling is not None else ""
            if why:
                say(why)
                own.missing(f"samples end early: {why}")
                self._write_end()
        finally:
            own.close()
            if self._end_of_overall is not None:
                self._end_of_overall()

    def _write_end(self) -> None:
        """What the sampler writes at the end, in its place, unless it has come to that."""
        if os.path.exists(os.path.join(self.directory, SUMMARY)):
            return
        ended = {"time_ns": time.time_ns(), "monotonic_ns": time.monotonic_ns()}
        document = {"timeline": FORMAT_VERSION, **_ENDING, "ended": ended}
        try:
            write_json(self.directory, SUMMARY, document)
        except RecordingError:  # what keeps the sampler from writing keeps us
            pass

    def _at_exit(self) -> None:
        if self._state == _RUNNING:
            self.stop()


def _argv() -> list[str]:
    # What is no text is somebody's joke or an embedding program's; megabytes of file names are not
    # worth a slow start.
    argv = [each for each in getattr(sys, "argv", []) if isinstance(each, str)]
    return argv if sum(map(len, argv)) <= MOST_OF_ARGV else [*argv[:1], "…"]


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return ""


def _hook(own: session.Session) -> None:
    try:
        from timeline.recorder import hooks

        hooks.install()
    except Exception as error:
        own.missing(f"no phases without being asked: {error}")


def _unhook() -> None:
    try:
        from timeline.recorder import hooks

        hooks.uninstall()
    except Exception as error:
        say(f"hooks are left in place: {error}")


def _in_forked_child() -> None:
    # Pipes, thread and recording are the parent's; its stop() is a no-op here.
    global _one_at_a_time
    _one_at_a_time = _thread.RLock()
    for recorder in _running:
        if recorder._sampling is not None:
            recorder._sampling.abandon()
    _running.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)
