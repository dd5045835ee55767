"""What holds for every Recording that can be loaded, whatever was in its files."""

from __future__ import annotations

import json

import numpy as np

from timeline.recording.format import LIMIT, SIZE_LIMIT
from timeline.recording.types import UNKNOWN, Kind, Recording


def check_invariants(recording: Recording) -> None:
    """Assert what the docstrings of timeline.recording.types promise."""
    run = recording.run
    assert recording.format in (0, 1)
    assert run.end in ("exited", "killed", "cut-off", "running")
    assert 0 <= run.started_ns <= run.ended_ns <= LIMIT
    assert run.started_time_ns >= 0
    assert run.interval_ns >= 0
    assert run.pid >= 0
    assert run.exit_code is None or run.end == "exited"
    assert run.signal is None or run.end == "killed"
    for name, series in recording.series.items():
        assert name == series.channel.name
        _check_series(series, run)
    _check_marks(recording.marks, run)
    texts = [*run.argv, run.cwd, run.host, run.backend, *run.facts, *run.facts.values()]
    texts += [*recording.missing, *recording.damage, *recording.marks.names, *recording.series]
    texts += [*recording.marks.details.values()]
    assert all(isinstance(text, str) for text in texts)
    json.dumps(texts, ensure_ascii=False).encode("utf-8")  # every text can be written
    assert len(set(recording.damage)) == len(recording.damage)


def _check_series(series, run) -> None:
    n = len(series)
    columns = (series.begun_ns, series.t_ns, series.value, series.high)
    assert all(column.shape == (n,) and column.dtype == np.int64 for column in columns)
    assert series.unseen.shape == (n,)
    assert series.unseen.dtype == np.int64
    assert (series.unseen >= 0).all()
    assert (series.begun_ns <= series.t_ns).all()
    assert (series.t_ns[1:] >= series.t_ns[:-1]).all()
    assert (series.begun_ns[1:] >= series.t_ns[:-1]).all()
    _check_sizes(series.value, series.high)
    if n:
        assert run.started_ns <= series.begun_ns[0]
        assert series.t_ns[-1] <= run.ended_ns
    if series.channel.exact:
        assert (series.high != UNKNOWN).all()
        assert series.channel.reason == "" or isinstance(series.channel.reason, str)


def _check_sizes(value, high) -> None:
    assert ((value >= UNKNOWN) & (value <= SIZE_LIMIT)).all()
    assert ((high == UNKNOWN) | (high >= value)).all()
    assert ((high >= UNKNOWN) & (high <= SIZE_LIMIT)).all()


def _check_marks(marks, run) -> None:
    m = len(marks)
    columns = (marks.begun_ns, marks.t_ns, marks.phase, marks.parent, marks.thread, marks.name)
    columns += (marks.rss, marks.high)
    assert all(column.shape == (m,) and column.dtype == np.int64 for column in columns)
    assert marks.kind.dtype == np.uint8
    assert marks.unseen.dtype == np.int64
    assert (marks.unseen >= 0).all()
    assert marks.kind.shape == marks.unseen.shape == (m,)
    assert (marks.begun_ns <= marks.t_ns).all()
    assert (marks.t_ns[1:] >= marks.t_ns[:-1]).all()
    _check_sizes(marks.rss, marks.high)
    assert len(set(marks.names)) == len(marks.names)
    if m:
        assert marks.kind.max() <= Kind.READING
        assert run.started_ns <= marks.begun_ns.min()
        assert marks.t_ns[-1] <= run.ended_ns
        assert UNKNOWN <= marks.name.min() <= marks.name.max() < len(marks.names)
    open_phases: dict[int, tuple] = {}
    begun: set[int] = set()
    for kind, phase, parent, name, thread in zip(
        *(c.tolist() for c in (marks.kind, marks.phase, marks.parent, marks.name, marks.thread)),
        strict=True,
    ):
        assert (phase == UNKNOWN) == (kind in (Kind.TEXT, Kind.READING))
        assert (name == UNKNOWN) == (kind == Kind.READING)
        if kind == Kind.BEGIN:
            assert phase not in begun
            begun.add(phase)
            open_phases[phase] = (parent, name, thread)
        elif kind == Kind.END:
            assert open_phases.pop(phase) == (parent, name, thread)
    parents = set(marks.parent.tolist()) - {UNKNOWN}
    assert parents <= begun
    assert set(marks.details) <= begun
    for mark in marks:
        assert mark.kind in Kind
