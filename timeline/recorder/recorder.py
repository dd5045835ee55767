"""`Recorder`: a recording of this process, made from inside it."""

from __future__ import annotations

import _thread
import atexit
import os

from timeline.errors import RecorderStateError, RecordingError, RecordingExistsError, UsageError
from timeline.recorder import session
from timeline.recorder.directory import make_directory, script_name
from timeline.recorder.options import (
    DEFAULT_STEP,
    checked_directory,
    checked_interval,
    checked_name,
    checked_step,
)
from timeline.recorder.probes import resolve
from timeline.recorder.ranks import own_rank, shown
from timeline.recorder.running import Running
from timeline.recorder.say import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from timeline.recording.types import Recording

_NEW, _RUNNING, _ENDED = "was not started", "is running", "has ended"

_one_at_a_time = _thread.RLock()
_open: set[Recorder] = set()


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
        anatomy: int | str = DEFAULT_STEP,
        snapshot: bool = False,
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
            anatomy: the step of a torch training that is weighed, to tell what its memory is for,
                in full; ``"auto"`` weighs an early one, coarsely where it would take longer than
                the step itself; ``"off"`` or 0 weighs none.
            snapshot: whether torch records its allocations on GPUs one by one, and a snapshot of
                them is written at the peak and where one fails.

        Raises:
            UsageError: an argument cannot be.
        """
        self.name = script_name() if name is None else checked_name(name)
        self.directory = ""
        self._wanted = checked_directory(directory)
        self._interval_ns = checked_interval(interval_s)
        self._backend = resolve(backend)
        # A mark's reading is the kernel's RSS, which is not what another backend's samples are.
        self._exact = bool(exact) and self._backend == "linux"
        self._charts = bool(charts)
        if sampler not in ("process", "thread"):
            raise UsageError(f"sampler is {sampler!r}: it can be 'process' or 'thread'")
        self._sampler = sampler
        self._force = bool(force)
        self._anatomy = checked_step(anatomy)
        self._snapshot = bool(snapshot)
        self.numbered = not self._wanted
        self._state = _NEW
        self._pid = 0
        self._shown = ""
        self._inside: session.Open | None = None
        self._running: Running | None = None

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
            self._pid = os.getpid()
            try:
                outer = session.current
                if outer is not None:
                    self.directory = outer.directory
                    self._inside = session.enter(self.name, by=self)
                elif not switched_off():
                    self._begin()
                self._state = _RUNNING
            except BaseException:
                # Ctrl-C while starting: leave nothing behind that runs.
                self._undo()
                raise
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
            if self._running is None or self._pid != os.getpid():
                return
            _open.discard(self)
            atexit.unregister(self._at_exit)
            try:
                self._running.end()
            except Exception as error:
                say(f"{self.directory} did not end well: {error}")
                return
        if self._charts and self._shown:
            try:
                from timeline.recorder.charts import make_charts

                say(make_charts(self._shown))
            except Exception as error:
                say(f"no charts: {error}")

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
        running = self._running
        # A generator that is closed before its end, as by a break, ends well.
        ends_well = kind is None or issubclass(kind, GeneratorExit)
        if kind is not None and not ends_well and running and running.session is not None:
            running.session.fact("exception", kind.__name__)
            if error is not None:
                running.session.error(error)
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
        rank = own_rank()
        try:
            directory = make_directory(
                self._wanted, self.name, numbered=self.numbered, force=self._force, rank=rank
            )
        except RecordingExistsError as error:
            raise RecordingExistsError(f"{error} (here: directory=… or force=True)") from None
        self._shown = shown(directory, rank)
        self._running = Running(directory)
        _open.add(self)
        atexit.register(self._at_exit)
        self._running.begin(
            interval_ns=self._interval_ns,
            exact=self._exact,
            backend=self._backend,
            sampler=self._sampler,
            rank=rank,
            anatomy=self._anatomy,
            snapshot=self._snapshot,
        )
        self.directory = directory

    def _undo(self) -> None:
        self._state, self.directory = _NEW, ""
        session.leave(self._inside)
        running, self._inside, self._running = self._running, None, None
        if running is not None:
            _open.discard(self)
            atexit.unregister(self._at_exit)
            running.end()

    def _at_exit(self) -> None:
        if self._state == _RUNNING:
            self.stop()


def _in_forked_child() -> None:
    # Pipes, thread and recording are the parent's; its stop() is a no-op here.
    global _one_at_a_time
    _one_at_a_time = _thread.RLock()
    for recorder in _open:
        if recorder._running is not None:
            recorder._running.abandon()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)
