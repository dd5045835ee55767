"""Kills the target, the launcher or the helper at random moments, and looks at what is left.

    python benchmarks/kills.py [200] [SEED]

The program marks a number and then says on a pipe that it did; before the kill the rows of samples
are counted. Afterwards the recording must open, hold every mark that was said and every row that
was counted, and tell how it ended; no process may be left; and a program whose recorder was killed
must have gone on to its end. The exit code is 1 where one of these fails.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from timeline import analyze, load  # noqa: E402
from timeline.recording.format import HEADER_BYTES, HOST_FIELDS  # noqa: E402

VICTIMS = ("target", "launcher", "helper", "target of a helper")
ROW_BYTES = sum(int(kind[-1]) for _, kind in HOST_FIELDS)
TOKEN = "KILLS_OF_TIMELINE"

LAUNCHED = """
import os, sys, time
from timeline import mark, phase
said = int(os.environ["SAID"])
number = 0
while not os.path.exists("enough"):
    with phase("step/forward"):
        kept = bytearray(1 << 20)
        time.sleep(0.001)
    mark(f"number {number}")
    os.write(said, b"%d\\n" % number)
    number += 1
os.write(said, b"end\\n")
"""
INSIDE = """
from timeline import Recorder
with Recorder(sys.argv[1], charts=False):
""" + "\n".join("    " + line for line in LAUNCHED.splitlines()[3:-1])
HELPED = (
    LAUNCHED.splitlines()[1]
    + "\n"
    + LAUNCHED.splitlines()[2]
    + INSIDE
    + "\nos.write(said, b'end\\n')\n"
)


class Wrong(Exception):
    """What was left is not as it must be; the message says what."""


def one(place: Path, victim: str, dice: random.Random) -> str:
    """One run and its kill. Returns how the recording ended, as the report has it."""
    run = place / "run.timeline"
    helped = "helper" in victim
    script = place / "program.py"
    script.write_text(HELPED if helped else LAUNCHED)
    command = [sys.executable, str(script), str(run)]
    if not helped:
        command[1:1] = ["-m", "timeline", "-o", str(run), "--no-charts"]
    hear, say = os.pipe()
    token = f"{os.getpid()}-{dice.random()}"
    environment = {**os.environ, "SAID": str(say), TOKEN: token}
    environment["PYTHONPATH"] = str(ROOT)
    process = subprocess.Popen(
        command, env=environment, pass_fds=(say,), stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, cwd=place,
    )  # fmt: skip
    os.close(say)
    meta = _meta(run)
    time.sleep(dice.uniform(0, 0.6))
    pid = {"launcher": meta["sampler_pid"], "helper": meta["sampler_pid"]}.get(victim, meta["pid"])
    rows = (os.path.getsize(run / "samples.host.npy") - HEADER_BYTES) // ROW_BYTES
    os.kill(pid, signal.SIGKILL)
    time.sleep(dice.uniform(0, 0.2))
    (place / "enough").touch()
    said = _heard(hear, 30)
    os.close(hear)
    process.wait(30)
    _nobody_left(token)
    numbers = [int(each) for each in said if each != b"end"]
    if "target" not in victim and said[-1:] != [b"end"]:
        raise Wrong("the program did not go on to its end")
    recording = load(run)
    analysis = analyze(recording)
    texts = {mark.name for mark in recording.marks}
    lost = [number for number in numbers if f"number {number}" not in texts]
    if lost:
        raise Wrong(f"{len(lost)} of {len(numbers)} marks are lost, the first {lost[0]}")
    if len(recording.series["host.rss"]) < rows:
        raise Wrong(f"{len(recording.series['host.rss'])} rows of samples of {rows}")
    expected = {"launcher": ("cut-off",), "helper": ("exited", "cut-off")}
    if recording.run.end not in expected.get(victim, ("killed",)):
        raise Wrong(f"it ended as {recording.run.end}")
    return analysis.ending.split(" at ")[0].rstrip(",")


def _meta(run: Path) -> dict[str, int]:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            meta: dict[str, int] = json.loads((run / "meta.json").read_bytes())
        except (OSError, ValueError):
            time.sleep(0.005)
        else:
            return meta
    raise Wrong("no recording began")


def _heard(fd: int, within_s: float) -> list[bytes]:
    """The lines on a pipe until nobody holds its other end, the last one whole or not there."""
    heard, end = b"", time.monotonic() + within_s
    while time.monotonic() < end:
        if not select.select([fd], [], [], 0.1)[0]:
            continue
        part = os.read(fd, 1 << 16)
        if not part:
            return heard.splitlines() if heard.endswith(b"\n") else heard.splitlines()[:-1]
        heard += part
    raise Wrong("the program did not end")


def _nobody_left(token: str) -> None:
    end = time.monotonic() + 10
    while left := [pid for pid in filter(str.isdigit, os.listdir("/proc")) if _has(pid, token)]:
        if time.monotonic() > end:
            raise Wrong(f"processes are left: {', '.join(left)}")
        time.sleep(0.02)


def _has(pid: str, token: str) -> bool:
    try:
        return f"{TOKEN}={token}".encode() in Path("/proc", pid, "environ").read_bytes()
    except OSError:
        return False


def main(rounds: int, seed: int) -> int:
    """Kill that often; prints a table. Returns the exit code."""
    outcomes: Counter[tuple[str, str]] = Counter()
    wrong = 0
    for number in range(rounds):
        victim = VICTIMS[number % len(VICTIMS)]
        with tempfile.TemporaryDirectory(prefix="timeline-kills-") as place:
            try:
                outcome = one(Path(place), victim, random.Random(seed + number))
            except Exception as error:
                wrong += 1
                outcome = f"WRONG: {type(error).__name__}: {error}"
                print(f"round {number}, {victim}: {outcome}", file=sys.stderr)
        outcomes[victim, outcome] += 1
    for (victim, outcome), count in sorted(outcomes.items()):
        print(f"{count:6d}  {victim:20s} {outcome}")
    print(f"{rounds} kills, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:]]
    sys.exit(main(numbers[0] if numbers else 200, numbers[1] if len(numbers) > 1 else 0))
