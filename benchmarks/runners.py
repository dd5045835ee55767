"""The recorders that are measured: how each is started, and what it says it saw.

A runner is a function of the workload's command and a directory. It gives the command to run and a
function that reads what was recorded afterwards. Every reader gives times of ``CLOCK_MONOTONIC``,
so that they stand beside the workload's own; `align` moves wall-clock ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Seen:
    """What a recorder recorded of one run.

    Attributes:
        t_ns: [n] when each reading was taken, in the order of time.
        high: [n] bytes, the maximum that the reading tells of.
        sampled_ns: [s] times of the periodic samples alone, without what marks add.
        bytes: what its file takes on disk for the samples.
        phases: the exact peak of each phase by path, where the recorder knows phases.
    """

    t_ns: Ints
    high: Ints
    sampled_ns: Ints
    bytes: int
    phases: dict[str, int] = field(default_factory=dict)
    inexact: tuple[str, ...] = ()


Read = Callable[[dict[str, Any]], Seen]


@dataclass(frozen=True, slots=True)
class Runner:
    """One recorder.

    Attributes:
        name: as the table prints it.
        interval_ns: time between two samples that it was asked for, 0 for none.
        start: gives the command that runs a workload's command, and the reader of its recording.
    """

    name: str
    interval_ns: int
    start: Callable[[list[str], Path], tuple[list[str], Read | None]]


def align(witness: dict[str, Any], time_ns: Ints) -> Ints:
    """Monotonic times of wall-clock ones, by the pair that the workload noted."""
    return time_ns - (witness["time_ns"] - witness["monotonic_ns"])


def bare() -> Runner:
    """Plain ``python``."""
    return Runner("bare python", 0, lambda command, _: ([sys.executable, *command], None))


def timeline(interval_s: float) -> Runner:
    """``python -m timeline`` at that interval, without the charts at the end."""

    def start(command: list[str], out: Path) -> tuple[list[str], Read]:
        path = out / "run.timeline"
        options = ["-o", str(path), "--interval", str(interval_s), "--no-charts"]

        def read(_: dict[str, Any]) -> Seen:
            import timeline
            from timeline.analysis.types import HOST

            recording = timeline.load(path)
            analysis = timeline.analyze(recording)
            curve = analysis.curves[HOST]
            peaks = [phase for phase in analysis.phases if HOST in phase.peak]
            return Seen(
                curve.t_ns + recording.run.started_ns,
                curve.high,
                recording.series[HOST].t_ns,
                (path / "samples.host.npy").stat().st_size,
                {phase.path: phase.peak[HOST].bytes for phase in peaks},
                tuple(phase.path for phase in peaks if not phase.peak[HOST].exact),
            )

        return [sys.executable, "-m", "timeline", *options, *command], read

    return Runner(f"timeline {interval_s * 1000:.0f} ms", round(interval_s * 1e9), start)


def mprof(interval_s: float) -> Runner:
    """``mprof run``, which polls psutil from beside; its default interval is 0.1 s."""

    def start(command: list[str], out: Path) -> tuple[list[str], Read]:
        path = out / "mprofile.dat"
        tool = [sys.executable, "-m", "mprof", "run", "--nopython", "-T", str(interval_s)]

        def read(witness: dict[str, Any]) -> Seen:
            rows = [
                line.split()[1:3] for line in path.read_text().splitlines() if line[:4] == "MEM "
            ]
            mib, seconds = np.array(rows, float).T
            t_ns = align(witness, np.rint(seconds * 1e9).astype(np.int64))
            return Seen(t_ns, _bytes_of_mib(mib), t_ns, path.stat().st_size)

        return [*tool, "-o", str(path), sys.executable, *command], read

    return Runner(f"mprof run {interval_s * 1000:.0f} ms", round(interval_s * 1e9), start)


def psrecord(interval_s: float) -> Runner:
    """``psrecord``, from beside. Without an interval (its default) it polls in a busy loop.

    It starts the command by a shell and watches the shell: ``exec`` lets it see the program.
    """

    def start(command: list[str], out: Path) -> tuple[list[str], Read]:
        import shlex

        path = out / "psrecord.log"
        line = "exec " + shlex.join([sys.executable, *command])
        tool = [sys.executable, "-m", "psrecord", "--interval", str(interval_s)]

        def read(witness: dict[str, Any]) -> Seen:
            rows = np.loadtxt(path, ndmin=2)
            # It notes no wall clock, only the time since just before it made this file.
            t_ns = np.rint(rows[:, 0] * 1e9).astype(np.int64) + _born_ns(path)
            t_ns = align(witness, t_ns)
            return Seen(t_ns, _bytes_of_mib(rows[:, 2]), t_ns, path.stat().st_size)

        return [*tool, "--log", str(path), line], read

    return Runner(f"psrecord {interval_s * 1000:.0f} ms", round(interval_s * 1e9), start)


def _born_ns(path: Path) -> int:
    import subprocess

    command = ["stat", "--printf=%.9W", str(path)]
    seconds = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    whole, _, part = seconds.partition(".")
    return int(whole) * 1_000_000_000 + int(part)


def memray() -> Runner:
    """``memray run``: every allocation, and the RSS each 10 ms by a thread inside."""

    def start(command: list[str], out: Path) -> tuple[list[str], Read]:
        path = out / "memray.bin"

        def read(witness: dict[str, Any]) -> Seen:
            from memray import FileReader

            with FileReader(path, report_progress=False) as reader:
                rows = np.array([(s.time, s.rss) for s in reader.get_memory_snapshots()], np.int64)
            t_ns = align(witness, rows[:, 0] * 1_000_000)
            return Seen(t_ns, rows[:, 1], t_ns, path.stat().st_size)

        tool = [sys.executable, "-m", "memray", "run", "--quiet", "--force", "-o", str(path)]
        return [*tool, *command], read

    return Runner("memray run", 10_000_000, start)


def psutil_thread() -> Runner:
    """A thread inside that asks psutil each 10 ms."""

    def start(command: list[str], out: Path) -> tuple[list[str], Read]:
        path = out / "psutil.bin"

        def read(_: dict[str, Any]) -> Seen:
            rows = np.fromfile(path, np.int64).reshape(-1, 2)
            return Seen(rows[:, 0], rows[:, 1], rows[:, 0], path.stat().st_size)

        return [sys.executable, str(HERE / "psutil_thread.py"), str(path), *command], read

    return Runner("psutil thread 10 ms", 10_000_000, start)


def _bytes_of_mib(mib: NDArray[np.float64]) -> Ints:
    return np.rint(mib * (1 << 20)).astype(np.int64)
