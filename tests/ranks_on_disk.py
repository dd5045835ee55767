"""Makes the directory of a few ranks as the recorder writes it, with what a test wants in it."""

from __future__ import annotations

import json
from pathlib import Path

from timeline.recording import format as layout
from timeline.recording.writer import SampleWriter, write_json

GROUP = {"world": 2, "run": "job7", "restart": 0, "master": "node0:29500"}

STARTED_S = 1_795_333_000
MS = 1_000_000


def write_rank(
    group: Path,
    rank: int,
    rows,
    *,
    world: int = 2,
    node: int = 0,
    boot_ns: int = 10**12,
    wrong_ns: int = 0,
    phases=(),
    ended: dict | None = None,
    place: str = "",
    devices: dict[int, int] | None = None,
    **more,
) -> Path:
    """Write the run directory of one rank.

    Args:
        group: the directory of all.
        rows: ``(t_ns, rss, hwm)`` since the start.
        boot_ns: the monotonic clock at the start.
        wrong_ns: how far the wall clock is ahead.
        phases: ``(path, begin_ns, end_ns)``; None is an end that never came.
        ended: keys of ``summary.json``; exit code 0 by default, and no file where it is empty.
        place: of the file system, with a date by its clock in the anchor.
        devices: what is used of each GPU, by its number.
        more: keys of ``meta.json``'s ``rank``.
    """
    own = group / layout.rank_name(rank)
    own.mkdir(parents=True)
    pid = 4000 + rank
    writer = SampleWriter(str(own / layout.samples_name("host")), layout.HOST_FIELDS)
    for t, rss, hwm in rows:
        writer.append(boot_ns + t, 1000, layout.HIGH_IS_KNOWN, rss, hwm)
    writer.close()
    lines = []
    for number, (path, begin, end) in enumerate(phases):
        known = {"d": 1000, "rss": 1, "hwm": 1}
        first = {"k": "b", "i": number, "p": path, "th": 1, "t": boot_ns + begin, **known}
        lines.append(first)
        if end is not None:
            lines.append({"k": "e", "i": number, "t": boot_ns + end, **known})
    lines.sort(key=lambda line: line["t"])
    last = max([t for t, _, _ in rows] + [line["t"] - boot_ns for line in lines], default=0)
    ended = {"end": "exited", "exit_code": 0} if ended is None else ended
    lines.insert(0, {"k": "start", "t": boot_ns, "pid": pid, "python": "3.11.7"})
    if ended.get("end") == "exited":
        lines.append({"k": "stop", "t": boot_ns + last, "d": 0, "rss": 1, "hwm": 1})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (own / layout.events_name(pid)).write_text(text)

    def clocks(t: int) -> dict[str, int]:
        wall = STARTED_S * 10**9 + t
        dated = {"file_ns": wall} if place else {}
        return {"time_ns": wall + wrong_ns, "monotonic_ns": boot_ns + t, **dated}

    channels = {}
    for number, used in (devices or {}).items():
        stream = f"gpu{number}"
        writer = SampleWriter(
            str(own / layout.samples_name(stream)), (("t_ns", "<i8"), ("used", "<i8"))
        )
        writer.append(boot_ns + 1, used)
        writer.close()
        channels[f"{stream}.used"] = {"stream": stream, "value": "used", "unit": "byte"}
    channel = {"stream": "host", "value": "rss", "high": "hwm", "unit": "byte", "exact": True}
    write_json(
        str(own),
        layout.META,
        {
            "timeline": layout.FORMAT_VERSION,
            "argv": ["train.py"],
            "cwd": "/home/me",
            "host": f"node{node}",
            "boot": f"boot{node}",
            "pid": pid,
            "sampler_pid": pid + 1,
            "started": clocks(0),
            "interval_ns": 10 * MS,
            "backend": "linux",
            "channels": {"host.rss": channel, **channels},
            "missing": [],
            "facts": {},
            "rank": {**GROUP, "world": world, "rank": rank, "node": node, "place": place, **more},
        },
    )
    if ended:
        write_json(
            str(own),
            layout.SUMMARY,
            {"timeline": 1, "ended": clocks(last), "signal": None, **ended},
        )
    return own
