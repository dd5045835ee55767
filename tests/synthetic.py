"""Recordings of any size, made of numbers, for tests of the analysis and the views."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from timeline.recording.types import (
    Channel,
    End,
    Kind,
    Marks,
    Process,
    Recording,
    Run,
    Series,
)

MiB = 1 << 20
MS = 1_000_000

PATHS = ("load", "data", "step/forward", "step/backward", "step/optimizer")


def recording(
    samples: int = 300,
    phases: int = 3,
    *,
    interval_ns: int = 10 * MS,
    paths: tuple[str, ...] = PATHS,
    exact: bool = True,
    gap: bool = False,
    end: End = "exited",
    seed: int = 0,
) -> Recording:
    """A training-like saw tooth: `phases` phases one after the other over the whole run.

    Every phase begins and ends with a reading of its own, some samples carry a spike that only
    their high-water mark tells, and with `gap` a fifth of the samples is missing in the middle.
    """
    rng = np.random.default_rng(seed)
    start = 5_000_000_000_000
    duration = samples * interval_ns
    t = (
        start
        + (np.arange(samples, dtype=np.int64) * interval_ns)
        + rng.integers(0, interval_ns // 4, samples)
    )
    wave = _wave((t - start) / duration, phases)
    value = wave + rng.integers(0, MiB, samples)
    high = value + np.where(
        rng.random(samples) < 0.02, rng.integers(0, 300, samples) * MiB, 0
    ).astype(np.int64)
    if gap:
        keep = (np.arange(samples) < samples * 2 // 5) | (np.arange(samples) > samples * 3 // 5)
        t, value, high = t[keep], value[keep], high[keep]
    if not exact:
        high = np.full(len(t), -1, np.int64)
    channel = Channel(
        "host.rss",
        "byte",
        "linux" if exact else "psutil",
        exact,
        "" if exact else "psutil reads no high-water mark: peaks are the largest samples",
    )
    series = Series(channel, t - 20_000, t, value, high, np.zeros(len(t), bool))
    return Recording(
        path=None,
        format=1,
        run=Run(
            argv=("train.py", "--epochs", "1"),
            cwd="/home/me",
            host="node7",
            pid=4711,
            started_ns=start,
            started_time_ns=1_795_333_000_000_000_000,
            ended_ns=start + duration,
            interval_ns=interval_ns,
            backend=channel.source,
            end=end,
            exit_code=0 if end == "exited" else None,
            signal="SIGKILL" if end == "killed" else None,
            seen_to_end=end == "exited",
            facts={"python": "3.11.7", "torch": "2.14.1"},
        ),
        series={"host.rss": series},
        marks=_marks(phases, start, duration, paths, exact),
        missing=("no GPU: this version records host memory only",),
    )


def with_children(
    recorded: Recording,
    names: tuple[str, ...],
    count: int,
    *,
    pss: bool = True,
    own: bool = True,
) -> Recording:
    """The recording with `count` children called by these names in turn, some of which overlap.

    The i-th has a peak of i + 1 MiB and lives a fifth of the run; nine tenths of what it has is
    shared with the target.
    """
    run = recorded.run
    step = (run.ended_ns - run.started_ns) // 10
    processes = []
    for i in range(count):
        found = run.started_ns + step + (i % 7) * step
        t = found + np.array([0, step], np.int64)
        marks = np.array([(i + 1) * MiB // 2, (i + 1) * MiB], np.int64)
        processes.append(
            Process(
                number=i + 1,
                pid=5000 + i,
                up=0,
                name="python",
                command=names[i % len(names)],
                forked=False,
                began_ns=found - 4 * MS,
                found_ns=found,
                runs_since_ns=found,
                gone_ns=found + 2 * step if i % 7 < 6 else 0,
                peak=-1,
                t_ns=t,
                rss=marks,
                mark=marks,
                pss_t_ns=t[1:],
                pss=marks[1:] // 10,
            )
        )
    t = run.started_ns + step * np.arange(1, 10, dtype=np.int64)
    host = recorded.series["host.rss"]
    held = host.value[np.searchsorted(host.t_ns, t).clip(0, len(host) - 1)]
    alive = [sum(p.found_ns <= at < (p.gone_ns or 1 << 60) for p in processes) for at in t.tolist()]
    rss = np.array(alive, np.int64) * 40 * MiB
    series = dict(recorded.series)
    columns = {"children.rss": rss, "total.rss": held + rss}
    if pss:
        columns |= {"children.pss": rss // 10, "host.pss": held, "total.pss": held + rss // 10}
    if pss and own:
        columns["children.own"] = rss // 10
    for name, value in columns.items():
        channel = Channel(name, "byte", "linux", False, "peaks are the largest samples")
        none = np.full(len(t), -1, np.int64)
        series[name] = Series(channel, t, t, value, none, np.zeros(len(t), np.int64))
    return replace(recorded, series=series, processes=tuple(processes))


def _wave(x: np.ndarray, phases: int) -> np.ndarray:
    tooth = (x * max(phases, 1) / 3) % 1.0
    return (400 * MiB + 500 * MiB * np.minimum(x * 8, 1) + 600 * MiB * tooth).astype(np.int64)


def _marks(phases: int, start: int, duration: int, paths: tuple[str, ...], exact: bool) -> Marks:
    if not phases:
        return Marks.none()
    edges = np.linspace(0, 1, phases + 1)
    begin = start + (edges[:-1] * duration).astype(np.int64) + 1_000
    end = start + (edges[1:] * duration).astype(np.int64) - 1_000
    t = np.stack((begin, end), axis=1).ravel()
    kind = np.tile(np.array([Kind.BEGIN, Kind.END], np.uint8), phases)
    number = np.repeat(np.arange(phases, dtype=np.int64), 2)
    rss = _wave((t - start) / duration, phases) if exact else np.full(2 * phases, -1, np.int64)
    return Marks(
        kind=kind,
        begun_ns=t - (3_000 if exact else 0),
        t_ns=t,
        phase=number,
        parent=np.full(2 * phases, -1, np.int64),
        thread=np.full(2 * phases, 1, np.int64),
        name=number % len(paths),
        rss=rss,
        high=rss + (5 * MiB if exact else 0),
        unseen=np.zeros(2 * phases, np.int64),
        names=tuple(paths),
    )
