"""Samples one process into one run directory, from a thread of its own, to whatever end."""

from __future__ import annotations

import os
import sys
import threading
import time

from timeline.errors import RecordingError
from timeline.recorder.host_sampler import HostSampler
from timeline.recorder.pace import Pace
from timeline.recorder.probes import open_probe, resolve
from timeline.recorder.say import say
from timeline.recorder.streams import Streams, Watched
from timeline.recorder.surroundings import Surroundings
from timeline.recorder.target import words_of
from timeline.recording.alive import writer_identity
from timeline.recording.format import (
    FORMAT_VERSION,
    HIGH_IS_KNOWN,
    HOST_FIELDS,
    META,
    SUMMARY,
    WEIGHED,
    pid_of,
    samples_name,
)
from timeline.recording.writer import SampleWriter, keep_room, write_json, write_last_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from timeline.recorder.overall import Overall

RISE = 64 << 10
"""Below this a rise over the largest reading is not worth a row, and may be none: the kernel's word
after the end comes from the quick counters."""

HELD_NS, MOST_HELD = 80_000_000, 64
"""Rows that tell nothing new wait for so long, and so many of them, to be written together."""

ENDS_WITHIN_S = 5.0
"""A reading takes well under a millisecond, and one by ``ps`` some 20."""


class Beside:
    """The sampler of one recording: its thread, and the files of a recording that it writes.

    It has the life of the recording: `start`, then `stop`, each once. Where the sampler is lost on
    the way, by a full disk or by an error, one line says so, the recording holds the reason, and
    everything else goes on.
    """

    def __init__(
        self,
        pid: int,
        directory: str,
        *,
        argv: Sequence[str],
        cwd: str,
        interval_ns: int = 10_000_000,
        exact: bool = True,
        backend: str = "auto",
        overall: Overall | None = None,
        facts: Mapping[str, str] | None = None,
        missing: Sequence[str] = (),
        rank: Mapping[str, object] | None = None,
        guest: bool = False,
    ) -> None:
        """Open the process and the file of samples.

        Args:
            pid: the process to sample.
            directory: the run directory; it exists.
            argv: the target's command as the user wrote it.
            cwd: where it runs.
            interval_ns: time between two samples, over 0.
            exact: whether to reset the kernel's high-water mark.
            backend: a name of `timeline.recorder.probes.BACKENDS`.
            overall: where the largest mark is kept for the process itself to see.
            facts: more that is worth showing.
            missing: a sentence for each thing that is already known not to be measurable.
            rank: which of several processes the target is, as `Rank.document` says it.
            guest: whether this is a thread of somebody's program, which may close any file.

        Raises:
            UsageError: there is no such backend, or it cannot be used here.
            OSError: the process is gone, or cannot be read.
            RecordingError: the file cannot be made.
        """
        self._directory = directory
        self._pid = pid
        self._surroundings: Surroundings | None = None
        self._source = resolve(backend)
        self._probe = open_probe(self._source, pid, exact=exact, overall=overall)
        path = os.path.join(directory, samples_name("host"))
        self._writer = SampleWriter(path, HOST_FIELDS, guest=guest)
        self._path = path
        # Other backends may take longer than an interval to read.
        self._pace = Pace(interval_ns, timer=self._source == "linux" and not guest)
        self._watched = Watched(pid, directory, interval_ns=interval_ns, guest=guest)
        self._streams = Streams(self._watched, self._add)
        self._meta_lock = threading.Lock()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="timeline-sampler", daemon=True)
        self._lost = ""
        self._gone: dict[str, int] | None = None
        self._sampler = HostSampler(
            self._probe.readings(),
            self._writer.extend,
            self._pace,
            self._streams.glance,
            # A thread of the program ends with it, and the last rows are those that matter then.
            held=1 if guest else max(1, min(HELD_NS // interval_ns, MOST_HELD)),
        )
        self._channels: dict[str, Mapping[str, object]] = {
            "host.rss": {
                "stream": "host",
                "value": "rss",
                "high": "hwm",
                "unit": "byte",
                "source": self._source,
                "exact": self._probe.exact,
                "reason": self._probe.reason,
            }
        }
        self._missing = list(missing)
        self._meta: dict[str, object] = {
            "timeline": FORMAT_VERSION,
            "argv": list(argv),
            "cwd": cwd,
            **writer_identity(),
            "pid": pid,
            "started": _clocks(path),
            "interval_ns": interval_ns,
            "backend": self._source,
            "channels": self._channels,
            "missing": self._missing,
            "facts": {**_own_facts(), **(facts or {})},
            **({"rank": dict(rank)} if rank else {}),
        }

    def start(self) -> None:
        """Write ``meta.json`` and begin to sample.

        Raises:
            RecordingError: it cannot be written.
        """
        # First the samples: the program is running already.
        self._thread.start()
        try:
            around = self._surroundings = Surroundings(self._pid)
            self._meta |= {"limits": around.limits, "kernel": around.counted()}
            with self._meta_lock:
                write_json(self._directory, META, self._meta)
            keep_room(self._directory)
        except BaseException:
            self._pace.set()
            raise
        self._streams.start()

    def stop(
        self,
        *,
        end: str,
        exit_code: int | None = None,
        signal: str | None = None,
        waited: bool = True,
        last: int = 0,
        missing: Sequence[str] = (),
    ) -> None:
        """Take the last sample, close the file and write ``summary.json``.

        Args:
            end: ``exited`` or ``killed``.
            exit_code: of an exited process.
            signal: name of the signal that killed it, such as ``SIGKILL``.
            waited: whether who says this has waited for the process, or is the process. Else the
                kernel's notices may know better.
            last: by the kernel's word after the end the most since the last reading, and before
                an exec, in bytes; 0 where it said nothing.
            missing: a sentence for each thing that was found not to have been measured.

        Raises:
            RecordingError: it cannot be written.
        """
        self._pace.set()
        self._thread.join(ENDS_WITHIN_S)
        ended = _clocks(self._path)
        self._streams.stop()
        with self._meta_lock:
            self._ended = True
        how: dict[str, object] = {"end": end, "exit_code": exit_code, "signal": signal}
        if not waited:
            # The sampler saw it go before anyone else looked.
            ended = self._gone or ended
            family = self._watched.family
            if end == "killed" and signal is None and family is not None:
                how |= words_of(family.status)
        last = last if self._probe.exact else 0
        # The kernel's word has no moment and no RSS beside it, and tells of the program before an
        # exec as well. Only what no reading has seen becomes a row; else it is a bound and no more.
        high = self._sampler.high
        if last > high + RISE:
            high = last
            self._writer.append(ended["monotonic_ns"], 0, HIGH_IS_KNOWN, self._sampler.rss, last)
        self._writer.close()
        if not self._thread.is_alive():
            self._probe.close()
            self._pace.close()
        lost = self.lost
        write_last_json(
            self._directory,
            SUMMARY,
            {
                "timeline": FORMAT_VERSION,
                **how,
                "ended": ended,
                "samples": {"host": self._writer.rows, **self._streams.rows},
                "hwm": high,
                "last": min(last, high),
                "events": _sizes_of_events(self._directory),
                "kernel": self._surroundings.counted() if self._surroundings else {},
                "missing": [*([lost] if lost else []), *self._streams.missing(), *missing],
            },
        )

    def settle(self) -> None:
        """Sum up the weighed step, where one was: its process wrote down what it read, and no more.

        After `stop`, and in a process that nobody waits for: a step of many phases takes seconds.
        Where nobody does it, whoever reads the recording does it for himself.
        """
        if os.path.exists(os.path.join(self._directory, WEIGHED)):
            try:
                from timeline.recording.weighed.file import settle

                settle(self._directory)
            except Exception:  # a recording that is complete is not to end badly for it
                pass

    @property
    def lost(self) -> str:
        """Why samples end early, as a sentence; empty where they do not."""
        return self._lost or self._writer.lost

    def _run(self) -> None:
        try:
            if not self._sampler.run():
                self._lost = self._writer.lost or "samples end early: a row could not be written"
            elif not self._pace.is_set:
                self._gone = _clocks(self._path)
        except Exception as error:
            self._lost = f"samples end early: {type(error).__name__}: {error}"
        if self._lost:
            say(self._lost)

    def _add(self, channels: Mapping[str, Mapping[str, object]], missing: Sequence[str]) -> None:
        """What a stream says of itself as it opens; in its thread."""
        with self._meta_lock:
            if self._ended:  # the directory may be another recording's by now
                return
            new = [sentence for sentence in missing if sentence not in self._missing]
            if not new and not channels:
                return
            self._channels.update(channels)
            self._missing += new
            try:
                write_json(self._directory, META, self._meta)
            except RecordingError:
                # It is there without them, and a stream names its own fields.
                pass


def _sizes_of_events(directory: str) -> dict[str, int]:
    """The bytes of each file of marks: a file cut between two lines tells by nothing else."""
    sizes = {}
    try:
        for entry in os.scandir(directory):
            if pid_of(entry.name) is not None:
                sizes[entry.name] = entry.stat().st_size
    except OSError:
        pass
    return sizes


def _clocks(path: str) -> dict[str, int]:
    """This moment on every clock, with that of the file system, which may be a server's.

    Hosts whose wall clocks differ by seconds have that one in common; what is copied afterwards
    loses its dates, so they are written down.
    """
    now = {"time_ns": time.time_ns(), "monotonic_ns": time.monotonic_ns()}
    if hasattr(time, "CLOCK_BOOTTIME"):  # goes on while the machine sleeps
        now["boottime_ns"] = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    try:
        os.utime(path)  # the server's now, where the file lies on one
        return {**now, "file_ns": os.stat(path).st_mtime_ns}
    except OSError:
        return now


def _own_facts() -> dict[str, str]:
    # Not by platform, which reads the C library to find its version: 15 ms without a sample.
    system = os.uname() if hasattr(os, "uname") else None
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "platform": f"{system.sysname}-{system.release}-{system.machine}"
        if system
        else sys.platform,
    }
