"""How much slower a training is when it is recorded: two processes that take turns.

The machine's speed drifts by more than what is to be measured, within seconds when others use it.
So one bare and one recorded process of the same workload stand side by side and work in turns of
about a second, one waiting while the other works, and each recorded turn is compared with the bare
turns before and after it. While the bare one works, the recorder is stopped, and its target waits.

Where its memory happens to lie makes a process faster or slower for all of its life, by percents.
So there are several pairs, and between two pairs everything starts anew.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from measure import Failed

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Pair:
    """One bare and one recorded process.

    Attributes:
        wall: of each recorded turn, its wall time over that of the bare turns next to it.
        cpu: the same for the CPU time of the process.
    """

    wall: list[float]
    cpu: list[float]


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
        """Its wall and CPU time, in nanoseconds."""
        assert self._process.stdin
        self._process.stdin.write(f"{steps}\n")
        wall, cpu = map(int, self._read().split())
        return wall, cpu

    def rest(self) -> None:
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


def one_pair(workload: str, steps: int, turns: int, interval_s: float) -> Pair:
    """So many turns of so many steps, recorded and bare.

    Raises:
        Failed: one of the two did not start or end well.
    """
    script = str(HERE / "workloads" / f"{workload}.py")
    work = [script, str((turns * 2 + 2) * steps), "--turns"]
    with tempfile.TemporaryDirectory(prefix="timeline-bench-") as out:
        errors = open(f"{out}/errors", "w+b")
        record = ["-m", "timeline", "-o", f"{out}/run.timeline", "--no-charts"]
        record += ["--interval", str(interval_s)]
        bare = Worker([sys.executable, *work], out, errors)
        bare.wait_until_ready()
        recorded = Worker([sys.executable, *record, *work], out, errors)
        recorded.wait_until_ready()
        told, plain = [], []
        for number in range(turns + 1):
            recorded.rest()  # of the two processes that this is, the launcher, which samples
            plain.append(bare.work(steps))
            recorded.go_on()
            if number < turns:
                told.append(recorded.work(steps))
        if bare.end() or recorded.end():
            errors.seek(0)
            raise Failed(f"{workload} in turns failed:\n{errors.read().decode()}")
        errors.close()
    around = [
        ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2) for a, b in zip(plain, plain[1:], strict=False)
    ]
    # The first turn of both finds caches as the other's start left them.
    beside = list(zip(told, around, strict=True))[1:]
    return Pair([t[0] / a[0] for t, a in beside], [t[1] / a[1] for t, a in beside])


def measure_all(workload: str, *, quick: bool, interval_s: float = 0.01) -> dict[str, Any]:
    """Some pairs: the median of each, and the median of all turns."""
    steps = {"resnet18": 4, "mlp": 2000}[workload]
    pairs = []
    for number in range(2 if quick else 8):
        pairs.append(one_pair(workload, steps, 3 if quick else 16, interval_s))
        text = f"{workload:12} pair {number + 1}: {statistics.median(pairs[-1].wall):.3f}"
        print(text, file=sys.stderr, flush=True)
    return {
        "interval_s": interval_s,
        "wall": [statistics.median(pair.wall) for pair in pairs],
        "cpu": [statistics.median(pair.cpu) for pair in pairs],
        "turns": [pair.wall for pair in pairs],
    }


if __name__ == "__main__":
    found = measure_all(sys.argv[1], quick="--quick" in sys.argv)
    print({key: statistics.median(found[key]) for key in ("wall", "cpu")}, found["wall"])
