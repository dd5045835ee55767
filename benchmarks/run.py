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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import advice
import anatomy
import children
import large
import layers
import micro
import peaks
import ranks
import recorded_advice
import runners
import saved
import tables
import theory
import turns
from measure import Failed, Run, measure

HERE = Path(__file__).resolve().parent


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
        order = [runners.bare()]
        for _ in range(times):
            order += [*ours(), runners.bare()]
        order += [*peers(), runners.bare()]
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


def training(quick: bool, rounds: int) -> dict[str, Any]:
    steps = "5" if quick else "20"
    return {
        "turns": turns.measure_all("resnet18", quick=quick),
        "training": in_rounds("resnet18", [steps], rounds, times=1),
    }


def dispatch(quick: bool, rounds: int) -> dict[str, Any]:
    steps = "2000" if quick else "6000"
    # A run is up to a tenth faster or slower for all of its life, by where its memory lies.
    return {"dispatch": in_rounds("mlp", [steps], rounds, times=1 if quick else 5)}


def spikes(quick: bool, _: int) -> dict[str, Any]:
    count = "6" if quick else "24"
    return {
        "spikes": once_each("spikes", [count], [runners.bare(), *ours(), *peers()]),
        "phases": once_each("spikes-phases", [count, "--phases"], ours()),
    }


def gil(quick: bool, _: int) -> dict[str, Any]:
    pairs = "1000000" if quick else "3000000"
    bare = one("gil", [pairs, "0"], runners.bare())
    growth = str(bare.hwm - bare.rss["before"])
    # The longest gap is one unlucky moment of the machine: a median of a few runs says more.
    everyone = [*ours(), *peers()] * (1 if quick else 3)
    return {"gil": [bare, *once_each("gil", [pairs, growth], everyone)]}


PARTS: dict[str, Callable[[bool, int], dict[str, Any]]] = {
    "training": training,
    "dispatch": dispatch,
    "spikes": spikes,
    "gil": gil,
    "micro": lambda quick, _: {"micro": micro.measure_all(quick=quick)},
    "children": lambda quick, _: {"children": children.measure_all(quick=quick)},
    "large": lambda quick, _: {"large": large.measure_all(quick=quick)},
    "peaks": lambda quick, _: {"peaks": peaks.measure_all(quick=quick)},
    "layers": lambda quick, _: {"layers": layers.measure_all(quick=quick)},
    "saved": lambda quick, _: {"saved": saved.measure_all(quick=quick)},
    "theory": lambda quick, _: {"theory": theory.measure_all(quick=quick)},
    "advice": lambda quick, _: {"advice": advice.measure_all(quick=quick)},
    "recorded_advice": lambda quick, _: {"recorded": recorded_advice.measure_all(quick=quick)},
    "anatomy": lambda quick, _: {"anatomy": anatomy.measure_all(quick=quick)},
    "ranks": lambda quick, _: {"ranks": ranks.measure_all(quick=quick)},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only that everything runs")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="these parts alone")
    parser.add_argument("--rounds", type=int, default=None, help="rounds of timed runs (default 3)")
    args = parser.parse_args()
    rounds = args.rounds or (1 if args.quick else 3)

    results: dict[str, Any] = {"machine": machine(), "rounds": rounds}
    failed = []
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    path = folder / time.strftime("%Y%m%d-%H%M%S.json")
    for part in args.only:
        try:
            results.update(PARTS[part](args.quick, rounds))
        except Failed as error:
            failed.append(f"{part} was not measured: {error}")
        path.write_text(json.dumps(results, indent=1, default=Run.as_json))
    print(tables.document(results))
    if "peaks" in results:
        print(peaks.table(results["peaks"]))
    if "layers" in results:
        print(layers.table(results["layers"]))
    if "saved" in results:
        print(saved.table(results["saved"]))
    if "theory" in results:
        print(theory.table(results["theory"]))
    if "advice" in results:
        print(advice.table(results["advice"]))
    if "recorded" in results:
        print(recorded_advice.table(results["recorded"]))
    if "anatomy" in results:
        print(anatomy.table(results["anatomy"]))
    print(*failed, sep="\n", file=sys.stderr)
    print(f"every number: {path.relative_to(HERE.parent)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
