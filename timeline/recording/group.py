"""The directory of all ranks of a run: which are there, and what ``meta.json`` says of each."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from timeline.errors import NoRecordingError
from timeline.recording.documents import Document, read_document
from timeline.recording.format import META, RANKS, SUMMARY, rank_number
from timeline.recording.types import UNKNOWN, Anchor, Rank

MOST_RANKS = 1_000_000

_WALL_LIMIT = 1 << 62


@dataclass(frozen=True, slots=True)
class Glance:
    """What the small files of one rank's run directory say, without a look at what was read.

    Attributes:
        host, clock, anchors, rank: as in `timeline.recording.types.Run`.
    """

    host: str
    clock: str
    anchors: tuple[Anchor, ...]
    rank: Rank | None


@dataclass(frozen=True, slots=True)
class Group:
    """The ranks of a run that are in one directory.

    Attributes:
        path: the directory.
        world: how many ranks the run had, by all that is there.
        ranks: the run directory of each rank that has one, in the order of ranks.
    """

    path: Path
    world: int
    ranks: dict[int, Path]

    @property
    def absent(self) -> tuple[int, ...]:
        """The ranks that have no directory here."""
        return tuple(rank for rank in range(self.world) if rank not in self.ranks)


def find_group(path: str | os.PathLike[str]) -> Group | None:
    """The ranks in a directory; None where there are none, or where it is a recording itself."""
    directory = Path(path)
    try:
        names = os.listdir(directory)
    except (OSError, ValueError):
        return None
    ranks: dict[int, Path] = {}
    for name in sorted(names):
        number = rank_number(name)
        if number is not None and (directory / name).is_dir():
            ranks.setdefault(number, directory / name)
    if META in names or not (ranks or RANKS in names):
        return None
    told = _document(directory / RANKS).integer("world", 0, high=MOST_RANKS)
    if not told:
        # Directories that were copied together by hand: any of them knows.
        worlds = (glance(ranks[each]).rank for each in list(ranks)[:3])
        told = max((each.world for each in worlds if each), default=0)
    world = max([told, *(number + 1 for number in ranks)])
    return Group(directory, world, dict(sorted(ranks.items())))


def glance(path: Path) -> Glance:
    """Look at the small files of a run directory, which may be damaged or not there."""
    meta, summary = _document(path / META), _document(path / SUMMARY)
    return Glance(meta.text("host"), read_clock(meta), read_anchors(meta, summary), read_rank(meta))


def read_rank(meta: Document) -> Rank | None:
    """The rank that a ``meta.json`` speaks of, or None."""
    if "rank" not in meta.found:
        return None
    rank = meta.inner("rank")
    number, world = rank.integer("rank", UNKNOWN), rank.integer("world", 0, high=MOST_RANKS)
    if not 0 <= number < world:
        return None
    return Rank(
        rank=number,
        world=world,
        local=rank.integer("local", UNKNOWN),
        node=rank.integer("node", UNKNOWN),
        run=rank.text("run"),
        restart=rank.integer("restart", 0),
        place=rank.text("place"),
    )


def read_clock(meta: Document) -> str:
    """What tells the recording's monotonic clock apart from others; empty if nothing does."""
    boot = meta.text("boot")
    return f"{boot} {meta.text('clock')}".strip() if boot else ""


def read_anchors(meta: Document, summary: Document) -> tuple[Anchor, ...]:
    """The moments that were written down on all clocks."""
    out = []
    for document, key in ((meta, "started"), (summary, "ended")):
        moment = document.inner(key)
        monotonic = moment.integer("monotonic_ns", 0)
        wall = moment.integer("time_ns", 0, high=_WALL_LIMIT)
        if monotonic and wall:
            out.append(Anchor(monotonic, wall, moment.integer("file_ns", 0, high=_WALL_LIMIT)))
    return tuple(out)


def _document(path: Path) -> Document:
    try:
        return read_document(path)
    except NoRecordingError:
        return Document({})
