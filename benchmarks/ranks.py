"""A thousand ranks of an hour at 10 Hz in one directory: what they take, and merging them.

    python benchmarks/ranks.py [--quick] [--read DIR | --write DIR RANKS]

``--write`` only makes such a directory, to look at; ``--read`` only merges one that is there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

INTERVAL_NS = 100_000_000
LENGTH_NS = 3600 * 10**9
STEP_NS = 5 * 10**9
RANKS, ON_A_HOST = 1000, 8
MiB = 1 << 20

PHASES = (("data", 0.02), ("step/forward", 0.3), ("step/backward", 0.6), ("step/optimizer", 0.07))
"""Of a step, with the share of its time that each takes; a rest lies between two steps."""


def write_ranks(directory: Path, ranks: int, *, length_ns: int = LENGTH_NS) -> None:
    """Write the recordings of a made-up job, as docs/format.md has them.

    Every host has booted at a time of its own, and its wall clock is wrong by up to two seconds.
    Rank 7 needs most, rank 3 is late into each backward, and the last rank is killed half-way.
    """
    from timeline.recording import format as layout
    from timeline.recording.writer import SampleWriter, write_json

    directory.mkdir(parents=True)
    group = {"world": ranks, "run": "simulated", "restart": 0, "master": "node0:29500"}
    write_json(str(directory), layout.RANKS, {"timeline": 1, **group})
    rng = np.random.default_rng(0)
    began = 1_795_333_000 * 10**9
    steps = length_ns // STEP_NS
    for rank in range(ranks):
        node = rank // ON_A_HOST
        boot = (node * 7919 + 1000) * 10**9 + 123
        wrong = 0 if node == 0 else (node * 37 % 41 - 20) * 10**8
        own = directory / layout.rank_name(rank)
        own.mkdir()
        dies = rank == ranks - 1
        length = length_ns // 2 if dies else length_ns
        count = length // INTERVAL_NS
        t = boot + np.arange(count) * INTERVAL_NS + rng.integers(0, 10**6, count)
        rows = np.zeros(count, list(layout.HOST_FIELDS))
        rows["t_ns"], rows["read_ns"], rows["flags"] = t, 20_000, layout.HIGH_IS_KNOWN
        tooth = ((t - boot) % STEP_NS) / STEP_NS
        size = (2000 + 1500 * np.minimum(tooth, 0.6) + rank % 97) * MiB
        rows["rss"] = size.astype(np.int64) + rng.integers(0, MiB, count)
        rows["hwm"] = rows["rss"] + rng.integers(0, 20, count) * MiB
        if rank == 7:
            rows["hwm"][count * 2 // 3] = 5000 * MiB
        path = own / layout.samples_name("host")
        SampleWriter(str(path), layout.HOST_FIELDS).close()
        with path.open("ab") as file:
            rows.tofile(file)
        # All leave the all-reduce at the end of backward at one moment, within a millisecond.
        lines = [{"k": "start", "t": boot, "pid": 4711, "python": "3.11.7", "version": "0.1.0"}]
        number = after = 0
        late = 30_000_000 if rank == 3 else 0
        for step in range(steps if not dies else steps // 2):
            at = boot + step * STEP_NS
            for name, share in PHASES:
                end = at + int(share * STEP_NS)
                begin = at + int(rng.integers(0, 20_000_000)) + late * (name == "step/backward")
                begin = max(begin, after + 1000)  # of one thread: one phase after the other
                size = int(rows["rss"][min((at - boot) // INTERVAL_NS, count - 1)])
                reading = {"d": 5000, "rss": size, "hwm": size}
                lines.append({"k": "b", "i": number, "p": name, "th": 1, "t": begin, **reading})
                after = end + int(rng.integers(0, 1_000_000))
                lines.append({"k": "e", "i": number, "t": after, **reading})
                number += 1
                at = end + 21_000_000 * (name == "step/optimizer")
        if not dies:
            lines.append({"k": "stop", "t": boot + length})
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        (own / layout.events_name(4711)).write_text(text, encoding="ascii")
        anchor = {"time_ns": began + wrong, "monotonic_ns": boot}
        channel = {"stream": "host", "value": "rss", "high": "hwm", "unit": "byte", "exact": True}
        meta = {
            "timeline": layout.FORMAT_VERSION,
            "argv": ["train.py", "--epochs", "100"],
            "cwd": "/home/me",
            "host": f"node{node}",
            "boot": f"boot-{node}",
            "pid": 4711,
            "sampler_pid": 4710,
            "started": anchor,
            "interval_ns": INTERVAL_NS,
            "backend": "linux",
            "channels": {"host.rss": {**channel, "reason": ""}},
            "missing": [],
            "facts": {"python": "3.11.7"},
            "rank": {"rank": rank, "local": rank % ON_A_HOST, "node": node, **group},
        }
        write_json(str(own), layout.META, meta)
        end = boot + length
        summary = {
            "timeline": layout.FORMAT_VERSION,
            "end": "killed" if dies else "exited",
            "exit_code": None if dies else 0,
            "signal": "SIGKILL" if dies else None,
            "ended": {"time_ns": began + wrong + length, "monotonic_ns": end},
            "samples": {"host": count},
            "hwm": int(rows["hwm"].max()),
        }
        write_json(str(own), layout.SUMMARY, summary)


def measure_all(*, quick: bool) -> dict[str, Any]:
    """Write the ranks and merge them; a quick run has a tenth of them."""
    with tempfile.TemporaryDirectory() as folder:
        group = Path(folder, "ranks.timeline")
        begun = time.perf_counter()
        write_ranks(group, RANKS // 10 if quick else RANKS)
        print(f"ranks        written in {time.perf_counter() - begun:.1f} s", file=sys.stderr)
        return measure(group)


def measure(group: Path) -> dict[str, Any]:
    """What a directory of ranks takes, and merging it: the table alone, then every view."""
    files = [path for path in group.rglob("*") if path.is_file()]
    ranks = sum(path.is_dir() for path in group.iterdir())
    said: dict[str, Any] = {
        "ranks": ranks,
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
    }
    with tempfile.TemporaryDirectory() as out:
        page = Path(out, "report.html")
        said["merge"] = _merged(group)
        said["views"] = _merged(group, "-o", str(page), "-o", str(Path(out, "report.png")))
        said["html_bytes"] = page.stat().st_size
    return said


def _merged(group: Path, *options: str) -> dict[str, float]:
    """Seconds by the clock and of the processors, and the most memory of all its processes.

    Of shared pages each process counts its part (PSS), read every 0.3 s.
    """
    command = [sys.executable, "-m", "timeline", "report", str(group), "--json", *options]
    before = os.times()
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    whole = psutil.Process(process.pid)
    most = 0
    while process.poll() is None:
        most = max(most, _pss(whole))
        time.sleep(0.3)
    took = time.perf_counter() - begun
    after = os.times()
    cpu = sum(after[i] - before[i] for i in (2, 3))
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return {"wall_s": took, "cpu_s": cpu, "bytes": most}


def _pss(process: psutil.Process) -> int:
    total = 0
    try:
        for each in (process, *process.children(recursive=True)):
            total += each.memory_full_info().pss
    except psutil.Error:
        pass
    return total


def main() -> int:
    """The command line."""
    words = sys.argv[1:]
    if "--write" in words:
        at = words.index("--write")
        write_ranks(Path(words[at + 1]), int(words[at + 2]))
    elif "--read" in words:
        print(json.dumps(measure(Path(words[words.index("--read") + 1])), indent=1))
    else:
        print(json.dumps(measure_all(quick="--quick" in words), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
