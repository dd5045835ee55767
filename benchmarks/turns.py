"""How much slower the sampler makes a training: turns with it and without, in one process.

The machine's speed drifts by more than what is to be measured, within seconds when others use it,
and where its memory happens to lie makes a process up to a tenth faster or slower for all of its
life. So one recorded process works in turns of one step, every other one with the sampler's process
stopped, and each turn is compared with those before and after it. What that leaves out is
the marks, which the process makes in both: their number is told, and `micro.py` has their cost.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

from measure import Failed

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Turns:
    """The turns of one process.

    Attributes:
        wall: of each turn beside a sampler, its wall time over that of the turns next to it.
        cpu: the same for the CPU time of the process.
        marks_a_step: lines that the process wrote for each step.
        step_ns: a step without a sampler, in the median.
    """

    wall: list[float]
    cpu: list[float]
    marks_a_step: float
    step_ns: float


class Worker:
    """A process that works when told to."""

    def __init__(self, command: list[str], cwd: str, errors: IO[bytes]) -> None:
        environment = {**os.environ, "WITNESS": os.devnull}
        self._process = subprocess.Popen(
            command, cwd=cwd, env=environment, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
        )  # fmt: skip

    def wait_until_ready(self) -> None:
        while (line := self._read()) != "ready\n":
            if not line:
                raise Failed("a workload ended before its first turn")

    def work(self, steps: int) -> tuple[int, int]:
        """So many steps: their wall and CPU time, in nanoseconds."""
        assert self._process.stdin
        self._process.stdin.write(f"{steps}\n")
        wall, cpu = map(int, self._read().split())
        return wall, cpu

    def rest(self) -> None:
        """Stop the launcher, which samples; the workload is a child of it, and goes on."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> int:
        assert self._process.stdin
        self._process.stdin.close()
        return self._process.wait(60)

    def _read(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()


def one_process(workload: str, steps: int, turns: int, interval_s: float) -> Turns:
    """So many turns of so many steps with a sampler, and one more without.

    Raises:
        Failed: the workload did not start or end well.
    """
    script = str(HERE / "workloads" / f"{workload}.py")
    all_steps = (turns * 2 + 2) * steps
    work = [script, str(all_steps), "--turns"]
    with tempfile.TemporaryDirectory(prefix="timeline-bench-") as out:
        record = ["-m", "timeline", "-o", f"{out}/run.timeline", "--no-charts"]
        record += ["--interval", str(interval_s)]
        with open(f"{out}/errors", "w+b") as errors:
            worker = Worker([sys.executable, *record, *work], out, errors)
            worker.wait_until_ready()
            worker.work(steps)
            beside, alone = [], []
            # What fell due while the sampler was stopped is read as it goes on, and costs no turn:
            # in a recording that time would have had these readings. So that both begin alike, the
            # workload waits as long before a turn alone.
            settles_s = max(2 * interval_s, 0.02)
            for number in range(turns + 1):
                worker.rest()
                time.sleep(settles_s)
                alone.append(worker.work(steps))
                worker.go_on()
                if number < turns:
                    time.sleep(settles_s)
                    beside.append(worker.work(steps))
            if worker.end():
                errors.seek(0)
                raise Failed(f"{workload} in turns failed:\n{errors.read().decode()}")
        marks = sum(
            len(file.read_bytes().splitlines())
            for file in Path(out, "run.timeline").glob("events.*.jsonl")
        )
    around = [((a[0] + b[0]) / 2, (a[1] + b[1]) / 2) for a, b in pairwise(alone)]
    pairs = list(zip(beside, around, strict=True))
    return Turns(
        [turn[0] / two[0] for turn, two in pairs],
        [turn[1] / two[1] for turn, two in pairs],
        marks / all_steps,
        statistics.median(turn[0] for turn in alone) / steps,
    )


def measure_all(workload: str, *, quick: bool, interval_s: float = 0.01) -> dict[str, Any]:
    """Some processes: the median of all their turns, and of each."""
    steps = {"resnet18": 1, "mlp": 500}[workload]
    found = []
    for number in range(2 if quick else 12):
        found.append(one_process(workload, steps, 10 if quick else 90, interval_s))
        text = f"{workload:12} process {number + 1}: {statistics.median(found[-1].wall):.3f}"
        print(text, file=sys.stderr, flush=True)
    return {
        "interval_s": interval_s,
        "wall": [ratio for one in found for ratio in one.wall],
        "cpu": [ratio for one in found for ratio in one.cpu],
        "by_process": [statistics.median(one.wall) for one in found],
        "marks_a_step": found[0].marks_a_step,
        "step_ns": statistics.median(one.step_ns for one in found),
    }


def interval(ratios: list[float]) -> tuple[float, float]:
    """Where the median of such ratios lies, in 19 of 20 cases: the sign test's order statistics."""
    ranked = sorted(ratios)
    off = 0.98 * len(ranked) ** 0.5
    low, high = int(len(ranked) / 2 - off), int(len(ranked) / 2 + off)
    return ranked[max(low, 0)], ranked[min(high, len(ranked) - 1)]


if __name__ == "__main__":
    result = measure_all(sys.argv[1], quick="--quick" in sys.argv)
    for key in ("wall", "cpu"):
        low, high = interval(result[key])
        print(f"{key:4} {statistics.median(result[key]):.4f}, 95 % {low:.4f} to {high:.4f}")
    print(f"{len(result['wall'])} turns, a step {result['step_ns'] / 1e6:.0f} ms alone")
