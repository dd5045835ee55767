"""What the smallest things cost: importing timeline, an idle phase, a mark, a module's call."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measure import Failed

HERE = Path(__file__).resolve().parent
HEAVY = ("torch", "numpy", "matplotlib", "bokeh", "pandas", "psutil", "memory_profiler")

# One line of statements, in a fresh interpreter, between two looks at the clock and the RSS.
AROUND = """
import os, sys, time
page, statm = os.sysconf("SC_PAGE_SIZE"), os.open("/proc/self/statm", os.O_RDONLY)
rss = lambda: int(os.pread(statm, 64, 0).split()[1]) * page
rss(); before, begun = rss(), time.perf_counter_ns()
{statement}
ended, after = time.perf_counter_ns(), rss()
heavy = [name for name in {heavy!r} if name in sys.modules]
print(ended - begun, after - before, ",".join(heavy) or "-")
"""


def fresh(statement: str, times: int) -> dict[str, Any]:
    """Time and RSS of a statement in interpreters of its own, after one that warms the caches."""
    code = AROUND.format(statement=statement, heavy=HEAVY)
    rows = []
    for number in range(times + 1):
        printed = output([sys.executable, "-c", code])
        ns, rss, heavy = printed.split()
        if number:
            rows.append((int(ns) / 1e6, int(rss) / 2**20, heavy))
    ms = sorted(row[0] for row in rows)
    return {
        "ms": statistics.median(ms),
        "ms_best": ms[0],
        "mib": statistics.median(row[1] for row in rows),
        "heavy": sorted({row[2] for row in rows} - {"-"}),
    }


def modules(times: int, repeats: int) -> dict[str, dict[str, float]]:
    """Calls of modules: bare, recorded, and the difference in the median of paired runs."""
    script = str(HERE / "workloads" / "modules.py")
    pairs = []
    for _ in range(times):
        bare = json.loads(output([sys.executable, script, str(repeats)]))
        with tempfile.TemporaryDirectory() as folder:
            options = ["-o", f"{folder}/run.timeline", "--no-charts"]
            command = [sys.executable, "-m", "timeline", *options, script, str(repeats)]
            lines = output(command).splitlines()
            recorded = json.loads(next(line for line in lines if line.startswith("{")))
        pairs.append((bare, recorded))
    middle = statistics.median
    return {
        "bare": {key: middle(b[key] for b, _ in pairs) for key in pairs[0][0]},
        "added": {key: middle(r[key] - b[key] for b, r in pairs) for key in pairs[0][0]},
    }


def measure_all(*, quick: bool) -> dict[str, Any]:
    times = 5 if quick else 40
    with tempfile.TemporaryDirectory() as folder:
        script = str(HERE / "workloads" / "marks.py")
        # By a shell: ru_maxrss begins with what the process was before its exec, and where that is
        # a copy of us it stands above all that this small program ever has, so that each mark
        # would read `status` as well.
        command = [sys.executable, script, f"{folder}/run.timeline", str(5 if quick else 20)]
        printed = output(["/bin/sh", "-c", '"$@"; exit $?', "sh", *command])
        marks = json.loads(next(line for line in printed.splitlines() if line.startswith("{")))
    return {
        "import": fresh("import timeline", times),
        "import all": fresh("from timeline import record, phase, mark, Recorder", times),
        **marks,
        "modules": modules(1 if quick else 3, 3 if quick else 10),
    }


def output(command: list[str]) -> str:
    ended = subprocess.run(
        command,
        cwd=HERE.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if ended.returncode:
        raise Failed(f"{' '.join(command[:2])} failed:\n{ended.stdout}{ended.stderr}")
    return ended.stdout


if __name__ == "__main__":
    print(json.dumps(measure_all(quick="--quick" in sys.argv), indent=1))
