"""A process, its marks and a sampler beside it, step by step, with the truth about its memory.

The oracle of the analysis: what the kernel, the sampler and the marks do is acted out one step at
a time in any order that hypothesis comes up with, and the largest memory between two moments is
looked up in the list of what it was. Every step takes a microsecond, unless the sampler is held up.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from timeline.recording.format import LIMIT
from timeline.recording.types import Channel, Kind, Marks, Recording, Run, Series

US = 1_000
START = 10**12
HELD_UP = 300 * US


@dataclass
class World:
    """Memory and the kernel's high-water mark of it; all that was ever read."""

    clock: int = START
    level: int = 100
    mark: int = 100
    history: list = field(default_factory=lambda: [(START, 100)])
    samples: list = field(default_factory=list)
    marks: list = field(default_factory=list)
    open: list = field(default_factory=list)
    numbers: int = 0
    reading: list = field(default_factory=list)
    grown: int = 0

    def tick(self, ns=US):
        self.clock += ns
        return self.clock

    # The program

    def change(self, level):
        """Memory grows or shrinks. A sampler that this happens to in the middle is held up."""
        self.tick(HELD_UP if self.reading else US)
        self.grown += max(level - self.level, 0)
        self.level = level
        self.mark = max(self.mark, level)
        self.history.append((self.clock, level))

    def look(self, exact):
        begun = self.tick()
        if not exact:
            return begun, begun, -1, -1
        rss, high = self.level, self.mark
        self.tick()
        self.mark = self.level
        return begun, self.tick(), rss, high

    def begin(self, path, exact):
        up = self.open[-1][0] if self.open else -1
        self.open.append((self.numbers, path))
        self.marks.append((Kind.BEGIN, *self.look(exact), self.numbers, up, path))
        self.numbers += 1

    def end(self, exact, which=-1):
        """End the innermost phase, or one that others were begun in, as threads do."""
        if self.open:
            number, path = self.open.pop(which % len(self.open))
            self.marks.append((Kind.END, *self.look(exact), number, -1, path))

    # The sampler, in four steps

    def sampler(self):
        if not self.reading:
            self.reading = [self.tick()]
        elif len(self.reading) == 1:
            self.reading += [self.level, self.mark]
            self.grown = 0
            self.tick()
        elif len(self.reading) == 3:
            self.reading.append(self.tick())
        else:
            begun, rss, high, t = self.reading
            self.mark = self.level
            self.tick()
            # Now and then it is not known how much it was.
            unseen = LIMIT if self.grown and self.clock % 7 == 0 else self.grown
            self.samples.append((begun, t, rss, high, unseen))
            self.reading = []

    def sample(self):
        self.sampler()
        while self.reading:
            self.sampler()

    # The truth

    def highest(self, begin, end):
        """The largest memory of ``begin < t <= end``; None if there is no such time."""
        if end <= begin:
            return None
        before = [level for t, level in self.history if t <= begin]
        return max(before[-1:] + [level for t, level in self.history if begin < t <= end])

    def recording(self, **run):
        order = sorted(range(len(self.marks)), key=lambda i: self.marks[i][2])
        rows = [self.marks[i] for i in order]
        names = tuple(dict.fromkeys(row[7] for row in rows))
        number = [row[5] for row in rows]
        column = lambda values: np.array(list(values), np.int64)  # noqa: E731
        marks = Marks(
            kind=np.array([row[0] for row in rows], np.uint8),
            begun_ns=column(row[1] for row in rows),
            t_ns=column(row[2] for row in rows),
            phase=column(number),
            parent=column(row[6] for row in rows),
            thread=column(1 for _ in rows),
            name=column(names.index(row[7]) for row in rows),
            rss=column(row[3] for row in rows),
            high=column(row[4] for row in rows),
            unseen=np.zeros(len(rows), np.int64),
            names=names,
        )
        begun, t, rss, high, unseen = zip(*self.samples, strict=True) if self.samples else [()] * 5
        channel = Channel("host.rss", "byte", "linux", exact=True)
        series = Series(
            channel, column(begun), column(t), column(rss), column(high), column(unseen)
        )
        return make(series, marks, end=self.clock, **run)


def make(series, marks, *, start=START, end=START, interval=10_000_000, more=(), **run):
    """A recording of the series and marks."""
    return Recording(
        path=None,
        format=1,
        run=Run(
            argv=run.get("argv", ("train.py",)),
            cwd="/",
            host="node7",
            pid=1,
            started_ns=start,
            started_time_ns=0,
            ended_ns=end,
            interval_ns=interval,
            backend="linux",
            end=run.get("how", "exited"),
            exit_code=run.get("exit_code", 0),
            signal=run.get("signal"),
            seen_to_end=run.get("seen", run.get("how", "exited") == "exited"),
        ),
        series={each.channel.name: each for each in (series, *more) if each is not None},
        marks=marks,
    )
