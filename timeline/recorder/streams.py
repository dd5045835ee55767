"""Streams of samples beside the host's, each read in a thread of its own at a pace of its own.

The PSS of a process costs 20 ms a GiB, and a driver can hang: neither may keep a sample of the
host's memory waiting. So a stream is opened, read and closed by its own thread alone, and whatever
happens there costs that stream and nothing else: one sentence says so.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from importlib import import_module

from timeline.recorder.sampler import Sampler
from timeline.recorder.told import Told
from timeline.recording.format import samples_name
from timeline.recording.writer import SampleWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol

    from timeline.recorder.processes.family import Family
    from timeline.recording.format import Fields

    Row = tuple[int, ...]
    Opener = Callable[["Watched"], "Stream | Sequence[Stream]"]

    class Stream(Protocol):
        """What is read at one pace into one ``samples.<name>.npy``.

        Attributes:
            name: of the stream; a word.
            fields: the columns of a row, ``("t_ns", "<i8")`` first (docs/format.md).
            interval_ns: time between two readings, over 0.
            share: the most of a CPU's time that readings may take on the long run, up to 1; 0 for
                no limit. Some cost the target too, whose mmap lock they hold.
        """

        name: str
        fields: Fields
        interval_ns: int
        share: float

        def channels(self) -> Mapping[str, Mapping[str, object]]:
            """The entries of ``meta.json``, by channel name; asked for once, at the first row."""

        def missing(self) -> Sequence[str]:
            """A sentence for each thing known by now not to be measurable; asked for at the end
            too."""

        def read(self) -> Row | None:
            """A row; an empty one where there is nothing to write now; None once it is over.

            A stream that never has a row leaves no file and no channel.
            """

        def close(self) -> None:
            """Let go of what is open."""

        # It may have a `pauses` besides, which says for how long there will be nothing to read
        # unless a glance wakes it, in nanoseconds.

    class Glancing(Protocol):
        """A stream that is woken where there is something to read; see `Streams.glance`.

        Attributes:
            glance_ns: how often it is worth to ask.
            glance: whether there is something to read; asked from another thread.
        """

        glance_ns: int
        glance: Callable[[], bool]


STREAMS: tuple[str, ...] = (
    "timeline.recorder.processes.children",
    "timeline.recorder.processes.pss",
    "timeline.recorder.probes.cgroup",
    "timeline.recorder.probes.machine",
    "timeline.recorder.probes.nvml",
)
"""The modules with a stream, each opened by its ``open_stream(watched)``, which may give a list of
several. They are imported by the stream's thread: what it needs may be heavy, or not there."""

GLANCE_NS = 25_000_000
"""At every third sample of 10 ms: where what is asked for waits until then, nothing is missed."""

END_WITHIN_S = 1.0
"""For the last readings of all streams together; one that hangs is left behind."""


class Unavailable(Exception):
    """Raised by an opener where its stream cannot be read here. The message is the sentence; an
    empty one says that nothing is missing, since there is nothing to read."""


class Watched:
    """What a stream is told of the recording.

    Attributes:
        pid: the target.
        directory: the run directory.
        interval_ns: what was asked for the host's samples.
        guest: whether this is a thread of the target itself, which may close any file.
        family: the target with its children as they come and go; None until they are looked for,
            and where they cannot be.
    """

    def __init__(self, pid: int, directory: str, *, interval_ns: int, guest: bool = False) -> None:
        self.pid = pid
        self.directory = directory
        self.interval_ns = interval_ns
        self.guest = guest
        self.family: Family | None = None


class Streams:
    """All streams of one recording, from their opening to their end."""

    def __init__(
        self,
        watched: Watched,
        opened: Callable[[Mapping[str, Mapping[str, object]], Sequence[str]], None],
        openers: Mapping[str, Opener] | None = None,
    ) -> None:
        """Nothing is opened yet.

        Args:
            watched: what is recorded.
            opened: takes the channels and missing sentences of a stream as it opens, in its thread.
            openers: by the name that stands for a stream until it is open; those of `STREAMS` by
                default.
        """
        if openers is None:
            openers = {module.rpartition(".")[2]: _opener(module) for module in STREAMS}
        self._watched = watched
        self._opened = opened
        self._ending = False
        self._glancing: list[tuple[Glancing, Told]] = []
        self._hosted = [
            Hosted(openers[name], watched, opened, name, self._join) for name in openers
        ]

    def start(self) -> None:
        """Start a thread for each. Never raises."""
        for hosted in self._hosted:
            hosted.start()

    def stop(self) -> None:
        """Tell all to read once more and to end, and wait for them, but not long."""
        self._ending = True
        for hosted in self._hosted:
            hosted.told.set()
        until = time.monotonic() + END_WITHIN_S
        for hosted in self._hosted:
            hosted.join(until)

    def glance(self, now_ns: int) -> int:
        """Ask each stream that wants it whether there is something to read, and wake it if so.

        In the host's thread, after a sample. Each takes some microseconds, and neither waits nor
        raises; a thread of its own that wakes as often to look takes a hundred.

        Returns:
            When it is worth to ask again.
        """
        pause = GLANCE_NS
        for stream, told in self._glancing:
            if stream.glance():
                told.wake()
            if stream.glance_ns < pause:
                pause = stream.glance_ns
        return now_ns + pause

    def _join(self, hosted: Hosted, stream: Stream, others: Sequence[Stream]) -> None:
        """A stream was opened, with others; in its thread."""
        if hasattr(stream, "glance"):
            glancing: Any = stream
            self._glancing.append((glancing, hosted.told))
        for other in others:
            self._host(other)

    def _host(self, stream: Stream) -> None:
        """Give one more stream a thread and a file of its own; in the thread that opened it."""
        hosted = Hosted(lambda _: stream, self._watched, self._opened, stream.name, self._join)
        self._hosted.append(hosted)
        hosted.start()
        if self._ending:  # it may have come too late to be told
            hosted.told.set()

    @property
    def rows(self) -> dict[str, int]:
        """How many rows each stream has, by its name."""
        return {hosted.name: hosted.rows for hosted in self._hosted if hosted.rows}

    def missing(self) -> list[str]:
        """What was found on the way not to be measured: a sentence for each."""
        return [sentence for hosted in self._hosted for sentence in hosted.missing()]


class Hosted:
    """One stream with its thread and its file.

    Attributes:
        name: the stream's; until it is open, what stands for it in a sentence.
        told: by which it is told to end.
        lost: a sentence why it ended early, or never began; empty while all is well.
    """

    def __init__(
        self,
        opener: Opener,
        watched: Watched,
        opened: Callable[[Mapping[str, Mapping[str, object]], Sequence[str]], None],
        name: str,
        joins: Callable[[Hosted, Stream, Sequence[Stream]], None],
    ) -> None:
        self.name = name
        self.told = Told()
        self.lost = ""
        self._opener = opener
        self._watched = watched
        self._opened = opened
        self._joins = joins
        self._thread = threading.Thread(target=self._run, name=f"timeline-{self.name}", daemon=True)
        self._stream: Stream | None = None
        self._writer: SampleWriter | None = None

    def start(self) -> None:
        """Start the thread."""
        try:
            self._thread.start()
        except RuntimeError as error:  # no room for another thread
            self.lost = f"no samples of {self.name}: {error}"

    def join(self, until: float) -> None:
        """Wait for the thread until ``until``, of `time.monotonic`."""
        if self._thread.ident is None:
            return
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            # Its file is left to it: closed from here, what it writes late could go to another.
            self.lost = f"samples of {self.name} end early: a reading took too long"

    @property
    def rows(self) -> int:
        """How many rows were written."""
        return self._writer.rows if self._writer is not None else 0

    def missing(self) -> list[str]:
        """The sentences about this stream that are known by now."""
        sentences = [self.lost] if self.lost else []
        if self._stream is not None:
            try:
                sentences += self._stream.missing()
            except Exception as error:
                sentences.append(f"{self.name}: {_named(error)}")
        return sentences

    def _run(self) -> None:
        try:
            found = self._opener(self._watched)
            stream, *others = found if isinstance(found, Sequence) else [found]
            self._stream = stream
            self._joins(self, stream, others)
            self._opened({}, stream.missing())
        except Exception as error:
            why = f"no samples of {self.name}: {_named(error)}"
            self.lost = str(error) if isinstance(error, Unavailable) else why
            # Where no summary will be written, the recording says so all the same.
            self._opened({}, [self.lost] if self.lost else [])
            self._close()
            return
        self.name = stream.name
        sampler = Sampler(
            stream,
            lambda *row: self._keep(stream, row),
            interval_ns=stream.interval_ns,
            now=time.monotonic_ns,
            wait=self.told.wait,
            share=stream.share,
            spent=time.thread_time_ns,
            paused=getattr(stream, "pauses", None),
        )
        try:
            if not sampler.run():
                self.lost = self._writer.lost if self._writer is not None else ""
        except Exception as error:
            self.lost = f"samples of {self.name} end early: {_named(error)}"
        finally:
            self._close()

    def _keep(self, stream: Stream, row: Row) -> bool:
        if self._writer is None:
            self._writer = self._begin(stream)
        return self._writer.append(*row)

    def _begin(self, stream: Stream) -> SampleWriter:
        """At the first row: what there is none of, such as children, needs no file."""
        # Before the file of samples: whoever reads it is to know its channels.
        self._opened(stream.channels(), [])
        path = os.path.join(self._watched.directory, samples_name(self.name))
        return SampleWriter(path, stream.fields, guest=self._watched.guest)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._stream is not None:
            try:
                self._stream.close()
            except Exception as error:
                self.lost = self.lost or f"{self.name} did not end well: {_named(error)}"


def _opener(module: str) -> Opener:
    def opened(watched: Watched) -> Stream | Sequence[Stream]:
        found: Stream | Sequence[Stream] = import_module(module).open_stream(watched)
        return found

    return opened


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
