"""One run of a workload under a recorder, and what can be judged from it."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from runners import Runner, Seen

HERE = Path(__file__).resolve().parent
CAUGHT = 0.95
"""A spike is caught if the recorder tells of this share of its height over what was before."""


class Failed(Exception):
    """A workload or a recorder failed; the text says which and what it printed."""


def rows_of(script: str, arguments: list[str], what: str) -> list[dict[str, Any]]:
    """The JSON lines that a benchmark prints when it is run as a process of its own.

    Raises:
        Failed: it did not end well; ``what`` says in the message what was measured.
    """
    command = [sys.executable, str(Path(script).resolve()), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        raise Failed(f"{what}: {ran.stderr[-500:]}")
    return [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]


def command_of(
    text: str,
    print_lines: Callable[[str, bool], None],
    whole: Callable[[list[str], bool], str],
) -> None:
    """The command line of a benchmark that goes from model to model.

    Args:
        text: its docstring.
        print_lines: prints lines of JSON for one model, quickly or whole: what ``--lines`` does, in
            a process of its own.
        whole: of the models that are named, or none for all, the table.
    """
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--lines", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.lines:
        print(whole(args.models, args.quick))
        return
    logging.disable(logging.CRITICAL)
    for name in args.models:
        print_lines(name, args.quick)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one workload under one recorder, in numbers that are worth keeping.

    Attributes:
        loop_ns, cpu_ns, step_ns: of the workload's own loop: wall time, CPU time of the process,
            median of a step (0 where it has no steps).
        rss: bytes at the places that the workload names.
        spikes, caught: how many there were, and how many the recorder saw.
        errors: for each spike (or the one stretch), bytes that the recorder tells of less the
            bytes that the workload itself saw at its top.
        seen_share: of the growth from before to the top, what the recorder told of; of the last.
        phase_errors: the same for the peaks of the phases that the spikes were in.
        inexact: phases whose peak the recorder calls inexact.
        longest_gap_ns: between two samples, while the loop ran.
        bytes_a_sample: on disk; 0 for none.
    """

    workload: str
    runner: str
    loop_ns: int
    cpu_ns: int
    step_ns: int
    rss: dict[str, int]
    hwm: int
    spikes: int = 0
    caught: int = 0
    errors: list[int] = field(default_factory=list)
    seen_share: float = 0.0
    phase_errors: list[int] = field(default_factory=list)
    inexact: list[str] = field(default_factory=list)
    peak: int = 0
    samples: int = 0
    longest_gap_ns: int = 0
    bytes_a_sample: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The fields, for the file of results."""
        return asdict(self)


def measure(workload: str, arguments: list[str], runner: Runner) -> Run:
    """Run the workload once.

    Raises:
        Failed: it did not end well.
    """
    out = Path(tempfile.mkdtemp(prefix="timeline-bench-"))
    try:
        script = str(HERE / "workloads" / f"{workload.partition('-')[0]}.py")
        command, read = runner.start([script, *arguments], out)
        environment = {**os.environ, "WITNESS": str(out / "witness.json")}
        ended = subprocess.run(
            command,
            cwd=out,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        if ended.returncode or not (out / "witness.json").exists():
            raise Failed(f"{runner.name} on {workload} failed:\n{ended.stdout}")
        witness = json.loads((out / "witness.json").read_text())
        seen = read(witness) if read else None
        return judge(workload, runner, witness, seen)
    finally:
        shutil.rmtree(out, ignore_errors=True)


def judge(workload: str, runner: Runner, witness: dict[str, Any], seen: Seen | None) -> Run:
    """Set what the recorder saw beside what the workload saw."""
    loop = witness["loop"]
    common: dict[str, Any] = {
        "workload": workload,
        "runner": runner.name,
        "loop_ns": loop["ended_ns"] - loop["begun_ns"],
        "cpu_ns": loop["cpu_ns"],
        "step_ns": witness.get("step_ns", 0),
        "rss": witness["rss"],
        "hwm": witness["hwm"],
    }
    if seen is None:
        return Run(**common, spikes=len(witness["spikes"]))
    errors, caught, share = [], 0, 0.0
    spikes = witness["spikes"]
    for i, (begun, _, top, _) in enumerate(spikes):
        # A recorder that notes the maximum says so with its next reading: whatever it tells of
        # until the next spike begins is about this one. The rest between two spikes is longer
        # than any interval here.
        until = spikes[i + 1][0] if i + 1 < len(spikes) else witness["until_ns"]
        inside = seen.high[(seen.t_ns >= begun) & (seen.t_ns < until)]
        told = int(inside.max()) if len(inside) else 0
        errors.append(told - top)
        before = witness["rss"].get("before", witness["rss"]["start"])
        share = (told - before) / (top - before)
        caught += share >= CAUGHT
    return Run(
        **common,
        spikes=len(spikes),
        caught=int(caught),
        errors=errors,
        seen_share=share,
        phase_errors=[
            seen.phases[f"spike {i}"] - spike[2]
            for i, spike in enumerate(spikes)
            if f"spike {i}" in seen.phases
        ],
        inexact=list(seen.inexact),
        peak=int(seen.high.max()) if len(seen.high) else 0,
        samples=len(seen.sampled_ns),
        longest_gap_ns=longest_gap(seen, loop["begun_ns"], loop["ended_ns"]),
        bytes_a_sample=seen.bytes / max(len(seen.sampled_ns), 1),
    )


def longest_gap(seen: Seen, begun_ns: int, ended_ns: int) -> int:
    """The longest time without a sample between two moments, its two ends included."""
    inside = (seen.sampled_ns > begun_ns) & (seen.sampled_ns < ended_ns)
    moments = np.concatenate(([begun_ns], seen.sampled_ns[inside], [ended_ns]))
    return int(np.diff(moments).max())
