"""timeline beside its peers on the same workloads, and the figures that it has to reach.

    python benchmarks/run.py [--quick] [--only PART ...] [--rounds N]

Prints Markdown and keeps every number in ``benchmarks/results/``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import large
import micro
import runners
import tables
from measure import Run, measure

HERE = Path(__file__).resolve().parent
PARTS = ("training", "dispatch", "spikes", "gil", "micro", "large")


def peers() -> list[runners.Runner]:
    return [
        runners.mprof(0.1),
        runners.psrecord(0.01),
        runners.memray(),
        runners.psutil_thread(),
    ]


def ours() -> list[runners.Runner]:
    return [runners.timeline(0.01), runners.timeline(0.1)]


def in_rounds(workload: str, arguments: list[str], rounds: int, times: int) -> list[list[Run]]:
    """Rounds of runs, each of them with a bare run before, between and after.

    The machine's speed drifts by tens of percent within minutes, so a run is compared with the bare
    runs next to it, and every other round goes backwards. The recorder that this project is about
    is run ``times`` times a round.
    """
    done = []
    for number in range(rounds):
        order = [*ours() * times, runners.bare(), *peers()]
        if times > 1:
            order.insert(len(ours()), runners.bare())
        order = [runners.bare(), *order, runners.bare()]
        done.append([one(workload, arguments, r) for r in order[:: -1 if number % 2 else 1]])
    return done


def once_each(workload: str, arguments: list[str], which: list[runners.Runner]) -> list[Run]:
    return [one(workload, arguments, runner) for runner in which]


def one(workload: str, arguments: list[str], runner: runners.Runner) -> Run:
    began = time.monotonic()
    run = measure(workload, arguments, runner)
    took = time.monotonic() - began
    text = f"{workload:12} {runner.name:20} loop {run.loop_ns / 1e9:6.2f} s, all {took:5.1f} s"
    print(text, file=sys.stderr, flush=True)
    return run


def machine() -> dict[str, str]:
    """What the numbers depend on."""
    cpu = "unknown"
    memory = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal"):
            memory = f"{int(line.split()[1]) / 2**20:.0f} GiB"
    return {
        "cpu": f"{os.cpu_count()} x {cpu}",
        "memory": memory,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load before": f"{os.getloadavg()[0]:.2f}",
        "date": time.strftime("%Y-%m-%d"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only that everything runs: 2 minutes")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="these parts alone")
    parser.add_argument("--rounds", type=int, default=None, help="rounds of timed runs")
    args = parser.parse_args()
    quick, parts = args.quick, args.only
    rounds = args.rounds or (1 if quick else 4)
    times = 1 if quick else 2
    everyone = [runners.bare(), *ours(), *peers()]

    results: dict[str, Any] = {"machine": machine(), "rounds": rounds}
    if "training" in parts:
        results["training"] = in_rounds("resnet18", ["5" if quick else "20"], rounds, times)
    if "dispatch" in parts:
        results["dispatch"] = in_rounds("mlp", ["2000" if quick else "8000"], rounds, times)
    if "spikes" in parts:
        count = "6" if quick else "24"
        results["spikes"] = once_each("spikes", [count], everyone)
        results["phases"] = once_each("spikes-phases", [count, "--phases"], ours())
    if "gil" in parts:
        pairs = "1000000" if quick else "3000000"
        first = one("gil", [pairs, "0"], runners.bare())
        growth = str(first.hwm - first.rss["before"])
        results["gil"] = [first, *once_each("gil", [pairs, growth], [*ours(), *peers()])]
    if "micro" in parts:
        results["micro"] = micro.measure_all(quick=quick)
    if "large" in parts:
        results["large"] = large.measure_all(quick=quick)

    print(tables.document(results))
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    path = folder / time.strftime("%Y%m%d-%H%M%S.json")
    path.write_text(json.dumps(results, indent=1, default=Run.as_json))
    print(f"\nevery number: {path.relative_to(HERE.parent)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
