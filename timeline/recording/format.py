"""The names and numbers of the run directory, for its writers and its reader. See docs/format.md.

Standard library only, and nothing heavy: the sampler's process imports it.
"""

from __future__ import annotations

FORMAT_VERSION = 1
"""The version that is written, in ``meta.json`` under ``timeline``; every smaller one is read.

1 (0.1.0): the first. Streams of rows as .npy, marks as one JSON object a line.

A change that an older reader would misread makes a new version: add a line here and in
docs/format.md, and keep a recording of each version in tests/data/.
"""

META = "meta.json"
SUMMARY = "summary.json"
ROOM = "summary.room"
"""Blanks that give way to the summary where the disk is full by then."""
ROOM_BYTES = 8192
PROCESSES = "processes.jsonl"
PROCESS_STREAMS = ("processes", "processes_pss")
"""Streams whose rows are of one process each, by its number in ``processes.jsonl``."""
WEIGHED = "weighed.json"
"""What was read in the weighed step, until `BREAKDOWN` has been made of it."""
BREAKDOWN = "breakdown.json"
LINES = "lines.json"
CHARTS = ("report.png", "report.html")
RANKS = "ranks.json"
"""In the directory of all ranks of a run: whose it is."""

FACTS = (META, SUMMARY, PROCESSES, WEIGHED, BREAKDOWN, LINES, RANKS)
"""What a recording consists of beside its streams and marks, and nothing can make again."""

HEADER_BYTES = 256
"""Of every ``samples.<stream>.npy``, so that rows begin at the same offset in all of them."""

Fields = tuple[tuple[str, str], ...]
"""The names and NumPy types of a stream's columns, in the order of their bytes."""

HOST_FIELDS: Fields = (
    ("t_ns", "<i8"),
    ("read_ns", "<u4"),
    ("flags", "<u4"),
    ("rss", "<i8"),
    ("hwm", "<i8"),
)
CHILDREN_FIELDS: Fields = (
    ("t_ns", "<i8"),
    ("read_ns", "<u4"),
    ("rss", "<i8"),
    ("total", "<i8"),
    ("count", "<u4"),
)
PSS_FIELDS: Fields = (
    ("t_ns", "<i8"),
    ("read_ns", "<u4"),
    ("host", "<i8"),
    ("children", "<i8"),
    ("total", "<i8"),
    ("own", "<i8"),
)
PROCESS_FIELDS: Fields = (("t_ns", "<i8"), ("process", "<u4"), ("rss", "<i8"), ("peak", "<i8"))
PROCESS_PSS_FIELDS: Fields = (("t_ns", "<i8"), ("process", "<u4"), ("pss", "<i8"))
HIGH_IS_KNOWN = 1
"""Bit of ``flags``: ``hwm`` is the maximum since the reading before, whoever took that."""
BLIND = 2
"""Bit of ``flags``: memory moved between the read and the reset, where no ``hwm`` will tell it."""
UNSEEN_SHIFT, UNSEEN_UNIT = 2, 64 << 10
"""The bits of ``flags`` above `BLIND`: the most that RSS can have grown there, in units of
64 KiB; 0 where that is not known."""
UNSEEN_MOST = (1 << 32 - UNSEEN_SHIFT) - 1

LIMIT = 1 << 60
"""No time (36 years, in ns) is larger: what is, was not written by us. Sums and differences of a
few such numbers still fit 64 bits."""

SIZE_LIMIT = 1 << 47
"""No size is larger: 128 TiB is all that a process can address with page tables of four levels."""


def samples_name(stream: str) -> str:
    """The file of a stream of samples."""
    return f"samples.{stream}.npy"


def events_name(pid: int) -> str:
    """The file of one process's marks."""
    return f"events.{pid}.jsonl"


def stream_of(name: str) -> str | None:
    """The stream of a file of samples; None for any other file."""
    return _between("samples.", name, ".npy")


def pid_of(name: str) -> int | None:
    """The process of a file of marks; None for any other file."""
    digits = _between("events.", name, ".jsonl")
    plain = digits is not None and digits.isascii() and digits.isdigit() and len(digits) < 20
    return int(digits) if digits is not None and plain else None


def rank_name(rank: int) -> str:
    """The run directory of one rank, in the directory of all."""
    return f"rank-{rank:04d}"


def rank_number(name: str) -> int | None:
    """The rank of a run directory of that name; None for any other name."""
    digits = _between("rank-", name, "")
    plain = digits is not None and digits.isascii() and digits.isdigit() and 4 <= len(digits) < 8
    return int(digits) if digits is not None and plain else None


SNAPSHOTS = ("snapshot.oom.pickle", "snapshot.peak.pickle")
"""Torch's own history of GPU memory: where an allocation failed, and of the peak."""


def temporary_name(name: str) -> str:
    """Where a file is written before it is renamed to its name."""
    return f"{name}.new"


def is_ours(name: str) -> bool:
    """Whether a file of that name in a run directory is one that timeline writes."""
    whole = (META, SUMMARY, ROOM, PROCESSES, WEIGHED, BREAKDOWN, LINES, *CHARTS, *SNAPSHOTS)
    return (
        name in whole
        or name in map(temporary_name, whole)
        or stream_of(name) is not None
        or pid_of(name) is not None
    )


def _between(start: str, name: str, end: str) -> str | None:
    long_enough = len(name) > len(start) + len(end)
    if long_enough and name.startswith(start) and name.endswith(end):
        return name[len(start) : len(name) - len(end)]
    return None
