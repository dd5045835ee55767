"""What telling of a model costs in seconds and memory, with what torch itself takes beside it.

    python benchmarks/theory.py [--quick]

A process for each model says what stood when torch was imported, when the model's library was, and
after the first call of `timeline.breakdown`; then the call is made again. The whole command, from
the shell and back, is run in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from measure import Failed

ROOT = Path(__file__).resolve().parent.parent

MODELS = {
    "ResNet-50, batch of 16": (
        ["torchvision:resnet50", "--input", "3x224x224", "--batch", "16"],
        "sgd,momentum=0.9",
        "sum",
    ),
    "6.7 billion parameters, plain torch": (
        ["examples.transformer_7b:make", "--input", "2048:int64", "--batch", "1"],
        "adamw",
        "cross_entropy",
    ),
    "6.7 billion parameters, transformers": (
        ["transformers:llama", "--input", "2048", "--batch", "1"],
        "adamw",
        "cross_entropy",
    ),
}

_STAGES = """
import json, sys, time
from pathlib import Path

def most():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

def stage(began):
    return {"wall_s": time.perf_counter() - began[0], "cpu_s": time.process_time() - began[1],
            "most": most()}

def now():
    return time.perf_counter(), time.process_time()

target, size, batch, optimizer, loss, again = sys.argv[1:]
out = {}
began = now()
import torch
out["torch"] = stage(began)
began = now()
import torch._dynamo, sympy
out["tables"] = stage(began)
began = now()
import timeline
from timeline.theory.targets import resolve
found = resolve(target, [size])
out["library"] = stage(began)
for name in ("first", *["again"] * int(again)):
    began = now()
    told = timeline.breakdown(found.make, optimizer, found.inputs, batch=int(batch), loss=loss)
    took = stage(began)
    if name not in out or took["cpu_s"] < out[name]["cpu_s"]:
        out[name] = took
out["parameters"] = told.parameters
print(json.dumps(out))
"""


def measure_all(*, quick: bool = False) -> dict[str, Any]:
    """By model: the stages of a process that tells of it, and the whole command.

    Raises:
        Failed: a process did not end well.
    """
    found = {}
    for name, (words, optimizer, loss) in MODELS.items():
        target, _, size, _, batch = words
        stages = [target, size, batch, optimizer, loss, "1" if quick else "5"]
        one = json.loads(_ran(["-c", _STAGES, *stages])[0])
        whole = ["-m", "timeline", "breakdown", *words, "--optimizer", optimizer, "--loss", loss]
        one["command"] = _ran(whole)[1]
        found[name] = one
        print(f"theory       {name}", file=sys.stderr, flush=True)
    return found


def _ran(words: list[str]) -> tuple[str, dict[str, float]]:
    """What a process of Python printed, its seconds and the most of its memory."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    out = process.stdout.read()
    errors = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Failed(f"theory: {errors[-300:]}")
    wall = time.perf_counter() - began
    cpu = used.ru_utime + used.ru_stime
    return out, {"wall_s": wall, "cpu_s": cpu, "most": used.ru_maxrss * 1024}


def table(results: dict[str, Any]) -> str:
    """Markdown: seconds of the CPU (and on the wall), and the most memory so far."""
    lines = [
        "## What telling of a model costs",
        "",
        "| model | import torch | its tables | the model's library "
        "| first call | called again | whole command |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, each in results.items():
        stages = ("torch", "tables", "library", "first", "again", "command")
        cells = [_cell(each[key]) for key in stages]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "Seconds of the CPU, on the wall in brackets; the process's most memory by then. "
        "Its tables are what torch loads to follow tensors without memory; the command keeps its "
        "compiler out.",
    ]
    return "\n".join(lines) + "\n"


def _cell(stage: dict[str, float]) -> str:
    took = f"{stage['cpu_s']:.2f} s ({stage['wall_s']:.2f})"
    return f"{took}, {stage['most'] / 2**20:.0f} MiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    print(table(measure_all(quick=parser.parse_args().quick)))


if __name__ == "__main__":
    main()
