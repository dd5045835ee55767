"""Recordings for the page: nested phases, threads, marks, several channels, hostile names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from synthetic import MS, MiB, recording

from timeline.recording.types import UNKNOWN, Channel, Kind, Marks, Recording, Series

# A phase: begin and end as shares of the run, its path, the place of the one around it, a detail.
Phase = tuple[float, float, str, int, str]

TRAINING: list[Phase] = [
    (0.00, 0.15, "load", -1, "ResNet"),
    (0.16, 0.92, "epoch", -1, ""),
    *(
        (0.16 + 0.095 * step + begin, 0.16 + 0.095 * step + end, path, 1, detail)
        for step in range(8)
        for begin, end, path, detail in (
            (0.001, 0.012, "data", "DataLoader"),
            (0.014, 0.04, "step/forward", "ResNet"),
            (0.042, 0.078, "step/backward", ""),
            (0.08, 0.093, "step/optimizer", "AdamW"),
        )
    ),
    (0.93, 0.99, "inference", -1, "ResNet"),
]

HOSTILE = (
    "</script><script>window.broken = 1</script>",
    '<img src=x onerror="window.broken = 2">',
    "'\"><b onmouseover=window.broken=3>",
    "$$\\frac{1}{2}$$ \\(x\\) \\[y\\]",
    "<!-- <script>",
    "{{title}} &amp; &lt;b&gt;",
    "\ud800 \x00 \x1b[31m \u2028 \u202e reversed",
    "__proto__",
    "constructor",
    " ",
    "",
    "名前 " * 300,
)


def with_marks(
    base: Recording,
    phases: list[Phase],
    texts: list[tuple[float, str]] = [],  # noqa: B006 - never changed
    open_: tuple[int, ...] = (),
) -> Recording:
    """The recording with these phases and texts in place of its own."""
    start, duration = base.run.started_ns, base.run.ended_ns - base.run.started_ns
    names = list(dict.fromkeys([p[2] for p in phases] + [text for _, text in texts]))
    rows = []
    for number, (begin, end, path, parent, _) in enumerate(phases):
        rows.append((begin, Kind.BEGIN, number, parent, names.index(path)))
        if number not in open_:
            rows.append((end, Kind.END, number, parent, names.index(path)))
    rows += [(t, Kind.TEXT, UNKNOWN, UNKNOWN, names.index(text)) for t, text in texts]
    rows.sort(key=lambda row: row[0])
    columns = np.array([row[1:] for row in rows], np.int64).reshape(-1, 4)
    t = start + np.array([int(row[0] * duration) for row in rows], np.int64)
    series = base.series["host.rss"]
    rss = np.interp(t, series.t_ns, series.value).astype(np.int64)
    marks = Marks(
        kind=columns[:, 0].astype(np.uint8),
        begun_ns=t - 3_000,
        t_ns=t,
        phase=columns[:, 1],
        parent=columns[:, 2],
        thread=np.ones(len(t), np.int64),
        name=columns[:, 3],
        rss=rss,
        high=rss + MiB,
        unseen=np.zeros(len(t), np.int64),
        names=tuple(names),
        details={i: phase[4] for i, phase in enumerate(phases) if phase[4]},
    )
    return replace(base, marks=marks)


def with_channel(base: Recording, name: str, share: float) -> Recording:
    """The recording with one more channel, read at every tenth sample and not exact."""
    host = base.series["host.rss"]
    t = host.t_ns[::10]
    channel = Channel(name, "byte", "linux", False, f"{name} has no high-water mark")
    value = (host.value[::10] * share).astype(np.int64)
    unknown = np.full(len(t), UNKNOWN, np.int64)
    series = Series(channel, t, t, value, unknown, np.zeros(len(t), bool))
    return replace(base, series={**base.series, name: series})


def training() -> Recording:
    """Twelve seconds of training with all that a page can show."""
    base = recording(1200, 3, gap=True, interval_ns=10 * MS)
    marked = with_marks(
        base, TRAINING, [(0.155, "first batch"), (0.4, "learning rate 0.01"), (0.925, "test")]
    )
    return with_channel(with_channel(marked, "children.rss", 0.4), "host.pss", 0.8)


def hostile() -> Recording:
    """Every text that comes from a user is one of `HOSTILE`."""
    base = recording(400, 3)
    count = len(HOSTILE)
    phases: list[Phase] = [
        (i / count, (i + 0.9) / count, path, -1, path) for i, path in enumerate(HOSTILE)
    ]
    texts = [((i + 0.95) / count, text) for i, text in enumerate(HOSTILE)]
    marked = with_marks(base, phases, texts)
    bad = HOSTILE[0] + HOSTILE[1]
    run = replace(
        marked.run,
        argv=(bad, *HOSTILE),
        cwd=bad,
        host=bad,
        backend=bad,
        facts={text: text for text in HOSTILE},
    )
    named = {
        name: replace(series, channel=replace(series.channel, source=bad, reason=bad))
        for name, series in with_channel(marked, bad, 0.5).series.items()
    }
    return replace(marked, run=run, series=named, missing=HOSTILE, damage=HOSTILE)
