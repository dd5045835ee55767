"""Children: whether their sums are right, and what it costs to read twenty processes.

python benchmarks/run.py --only children
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from measure import Failed

import timeline

HERE = Path(__file__).resolve().parent
FAMILY = HERE / "workloads" / "family.py"

WORKERS = (8, 300, 60)
"""Workers, MiB that they share with their parent, MiB of their own."""

TWENTY = (19, 50, 10)
"""With the program itself twenty processes."""


def measure_all(*, quick: bool) -> dict[str, Any]:
    """The errors of the sums with eight workers, and the sampler's CPU with twenty processes."""
    seconds = 6 if quick else 20
    eight = recorded((*WORKERS, seconds))
    return {
        "errors": errors(*eight),
        "share": recorded((*TWENTY, seconds))[0]["share"],
        "seconds": seconds,
    }


def recorded(arguments: tuple[int, ...]) -> tuple[dict[str, Any], timeline.Recording]:
    """What the program printed, and its recording at 10 ms."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "timeline", "--no-charts", "-o", f"{folder}/run.timeline",
            "--interval", "0.01", str(FAMILY), *map(str, arguments),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if not lines:
            raise Failed(f"family.py: {done.stderr[-500:]}")
        return json.loads(lines[0]), timeline.load(f"{folder}/run.timeline")


def errors(seen: dict[str, Any], recording: timeline.Recording) -> dict[str, float]:
    """By channel, how far off it was when the program read the same: parts of the whole."""
    host, children = seen["host"], seen["children"]
    true = {
        "children.rss": children["Rss"],
        "children.pss": children["Pss"],
        "total.rss": host["Rss"] + children["Rss"],
        "total.pss": host["Pss"] + children["Pss"],
    }
    moment = (seen["begun_ns"] + seen["ended_ns"]) // 2
    found = {}
    for name, size in true.items():
        series = recording.series[name]
        at = max(int(np.searchsorted(series.t_ns, moment)) - 1, 0)
        found[name] = (int(series.value[at]) - size) / size
    return found
