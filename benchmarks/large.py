"""A recording of a million samples and three thousand phases: reading it and making its views.

    python benchmarks/large.py [--write DIR]

``--write`` only makes such a recording, to look at.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import micro
import numpy as np
import page
from numpy.typing import NDArray

INTERVAL_NS = 10_000_000
STEP = ("data", "step/forward", "step/backward", "step/optimizer")
MiB = 1 << 20


def write_recording(
    directory: Path, samples: int, phases: int, interval_ns: int = INTERVAL_NS
) -> None:
    """Write a recording of a made-up training, as docs/format.md has it.

    Memory climbs in each phase of a step and falls at its end, a spike that no sample sees stands
    in every hundredth row, and one of them is the run's peak.
    """
    from timeline.recording import format as layout
    from timeline.recording.writer import SampleWriter, new_run_directory, write_json

    new_run_directory(str(directory))
    rng = np.random.default_rng(0)
    start = 81_000_000_000_000
    number = np.arange(samples, dtype=np.int64)
    t_ns = start + number * interval_ns + rng.integers(0, interval_ns // 10, samples)
    rows = np.zeros(samples, list(layout.HOST_FIELDS))
    rows["t_ns"], rows["read_ns"], rows["flags"] = t_ns, 20_000, layout.HIGH_IS_KNOWN
    rows["rss"] = _rss((t_ns - start) / (samples * interval_ns), phases, rng)
    rows["hwm"] = rows["rss"]
    rows["hwm"][50::100] += rng.integers(0, 300, len(rows[50::100])) * MiB
    rows["hwm"][samples * 2 // 3] = 5000 * MiB + 12345
    path = directory / layout.samples_name("host")
    SampleWriter(str(path), layout.HOST_FIELDS).close()
    with path.open("ab") as file:
        rows.tofile(file)

    started = {"time_ns": 1_795_333_000_000_000_000, "monotonic_ns": start}
    channel = {"stream": "host", "value": "rss", "high": "hwm", "unit": "byte", "exact": True}
    meta = {
        "timeline": layout.FORMAT_VERSION,
        "argv": ["train.py", "--epochs", "100"],
        "cwd": "/home/me",
        "host": "node7",
        "pid": 4711,
        "sampler_pid": 4710,
        "started": started,
        "interval_ns": interval_ns,
        "backend": "linux",
        "channels": {"host.rss": {**channel, "reason": ""}},
        "missing": [],
        "facts": {"python": "3.11.7"},
    }
    write_json(str(directory), layout.META, meta)
    _write_events(directory / layout.events_name(4711), rows, phases, interval_ns)
    ended = start + samples * interval_ns
    summary = {
        "timeline": layout.FORMAT_VERSION,
        "end": "exited",
        "exit_code": 0,
        "signal": None,
        "ended": {"time_ns": started["time_ns"] + ended - start, "monotonic_ns": ended},
        "samples": {"host": samples},
        "hwm": int(rows["hwm"].max()),
    }
    write_json(str(directory), layout.SUMMARY, summary)


def _rss(at: NDArray[np.float64], phases: int, rng: np.random.Generator) -> NDArray[np.int64]:
    in_phase = at * phases
    step = in_phase // len(STEP)
    climb = (in_phase - step * len(STEP)) / len(STEP)
    tooth = np.where(climb < 0.6, climb / 0.6, 1 - (climb - 0.6) / 0.4)
    return ((800 + 1500 * tooth + 100 * at) * MiB).astype(np.int64) + rng.integers(0, MiB, len(at))


def _write_events(path: Path, rows: NDArray[np.void], phases: int, interval_ns: int) -> None:
    start, end = int(rows["t_ns"][0]), int(rows["t_ns"][-1])
    first = {"k": "start", "t": start, "pid": 4711, "python": "3.11.7", "version": "0.1.0"}
    with path.open("w", encoding="ascii") as file:
        file.write(json.dumps(first) + "\n")
        for i in range(phases):
            begin, stop = (start + (end - start) * k // phases + 1 for k in (i, i + 1))
            for kind, t, more in (
                ("b", begin, {"p": STEP[i % len(STEP)], "th": 1}),
                ("e", stop - 1000, {}),
            ):
                row = rows[min(int((t - start) // interval_ns), len(rows) - 1)]
                rss = int(row["rss"])
                line = {"k": kind, "i": i, **more, "t": t, "d": 5000, "rss": rss, "hwm": rss}
                file.write(json.dumps(line, separators=(",", ":")) + "\n")
        file.write(json.dumps({"k": "stop", "t": end}) + "\n")


VIEWS = """
import json, os, sys, time
from pathlib import Path
run, out = Path(sys.argv[1]), Path(sys.argv[2])
said = {}
def timed(name, call):
    begun = time.perf_counter()
    value = call()
    said[name] = time.perf_counter() - begun
    return value
def door():
    from timeline import load, analyze
    return load, analyze
load, analyze = timed("import", door)
recording = timed("load", lambda: load(run))
analysis = timed("analyze", lambda: analyze(recording))
def png():
    from timeline.views import png
    png.write(analysis, out / "report.png", theme="light")
def html():
    from timeline.views import html
    html.write(analysis, out / "report.html")
timed("png", png)
timed("html", html)
said["html_bytes"] = (out / "report.html").stat().st_size
said["peak"] = max(c.peak for c in analysis.channels)
print(json.dumps(said))
"""


def measure_all(*, quick: bool) -> dict[str, Any]:
    """Times in seconds, each with its imports, in the median of fresh interpreters."""
    with tempfile.TemporaryDirectory() as folder:
        run, out = Path(folder, "run.timeline"), Path(folder)
        begun = time.perf_counter()
        write_recording(run, 1_000_000, 3_000)
        print(f"large        written in {time.perf_counter() - begun:.1f} s", file=sys.stderr)
        command = [sys.executable, "-c", VIEWS, str(run), str(out)]
        rows = [json.loads(micro.output(command)) for _ in range(1 if quick else 5)]
        said: dict[str, Any] = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        said["page"] = page.measure(out / "report.html", said["peak"])
    return said


if __name__ == "__main__":
    if "--write" in sys.argv:
        write_recording(Path(sys.argv[sys.argv.index("--write") + 1]), 1_000_000, 3_000)
    else:
        print(json.dumps(measure_all(quick="--quick" in sys.argv), indent=1))
