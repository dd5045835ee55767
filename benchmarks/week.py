"""A week at ten samples a second with a million phases: what it takes to keep, to read and to show.

    python benchmarks/week.py [--page]

Six million rows and two million marks are written as a recorder would have, then loaded, analysed
and drawn in a fresh interpreter. Apart from that, what a recorder holds in memory is read before
and after it has written as many. ``--page`` opens the page in Chromium as well.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import large  # noqa: E402

SAMPLES, PHASES, INTERVAL_NS = 6_048_000, 1_000_000, 100_000_000

SHOW = """
import json, sys, time
from pathlib import Path
run, out = Path(sys.argv[1]), Path(sys.argv[2])
said = {}
def timed(name, call):
    wall, cpu = time.perf_counter(), time.process_time()
    value = call()
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split(None, 1)[0]) >> 10
    said[name] = [time.perf_counter() - wall, time.process_time() - cpu, peak]
    return value
from timeline import analyze, load
from timeline.views import html, json as document, png, text
recording = timed("load", lambda: load(run))
analysis = timed("analyze", lambda: analyze(recording))
timed("table", lambda: text.render(analysis))
timed("document", lambda: document.render(analysis))
timed("png", lambda: png.write(analysis, out / "report.png"))
timed("page", lambda: html.write(analysis, out / "report.html"))
said["peak"] = analysis.channels[0].peak
print(json.dumps(said))
"""

RECORD = """
import os, sys, tempfile
from timeline.recorder import session
from timeline.recording.format import HOST_FIELDS
from timeline.recording.writer import SampleWriter
def rss():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4
place = tempfile.mkdtemp(dir=sys.argv[1])
own = session.Session(place, exact=True)
rows = SampleWriter(os.path.join(place, "samples.host.npy"), HOST_FIELDS, guest=False)
session.activate(own)
names = ("data", "step/forward", "step/backward", "step/optimizer")
for part in range(5):
    for i in range(int(sys.argv[2]) // 5):
        session.leave(session.enter(names[i % 4]))
    for i in range(int(sys.argv[3]) // 5):
        rows.append(i, 20000, 1, 1 << 30, 1 << 30)
    print(rss(), flush=True)
"""


def main(with_page: bool) -> int:
    """Measure and print. Returns the exit code."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory(prefix="timeline-week-") as folder:
        run = Path(folder, "run.timeline")
        large.write_recording(run, SAMPLES, PHASES, INTERVAL_NS)
        for file in sorted(run.iterdir()):
            print(f"{file.stat().st_size / 1e6:10.1f} MB  {file.name}")
        command = [sys.executable, "-c", SHOW, str(run), folder]
        said = json.loads(subprocess.check_output(command, env=environment))
        peak = said.pop("peak")
        for name, (wall, cpu, most) in said.items():
            print(f"{wall:10.1f} s   {cpu:6.1f} s of CPU, {most} MiB at the most: {name}")
        for view in ("png", "html"):
            print(f"{Path(folder, f'report.{view}').stat().st_size / 1e6:10.1f} MB  report.{view}")
        if with_page:
            import page

            print(f"page: {page.measure(Path(folder, 'report.html'), peak)}")
        command = [sys.executable, "-c", RECORD, folder, str(PHASES), str(SAMPLES)]
        kib = subprocess.check_output(command, env=environment, text=True).split()
        print(f"a recorder's process after each fifth of it, in KiB: {', '.join(kib)}")
    return 0


if __name__ == "__main__":
    sys.exit(main("--page" in sys.argv))
