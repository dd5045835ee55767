"""Writes the golden recording of the format that this version writes: see README.md.

python tests/data/make.py [DIRECTORY]
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from timeline.recording.format import (
    BLIND,
    FORMAT_VERSION,
    HIGH_IS_KNOWN,
    HOST_FIELDS,
    META,
    SUMMARY,
)
from timeline.recording.writer import SampleWriter, new_run_directory, write_json

MiB = 1 << 20
MS = 1_000_000
STARTED = 81_234_567_890
WALL = 1_795_333_000_000_000_000
SAMPLES = 60

CHILDREN_FIELDS = (("t_ns", "<i8"), ("read_ns", "<u4"), ("flags", "<u4"), ("rss", "<i8"))


def main(directory: str) -> None:
    new_run_directory(directory, force=True)
    write_json(
        directory,
        META,
        {
            "timeline": FORMAT_VERSION,
            "argv": ["train.py", "--epochs", "1", "--name", "größe"],
            "cwd": "/home/me",
            "host": "node7",
            "boot": "8d9f6c1e-0000-4000-8000-000000000000",
            "pid": 4711,
            "sampler_pid": 4710,
            "started": {"time_ns": WALL, "monotonic_ns": STARTED},
            "interval_ns": 10 * MS,
            "backend": "linux",
            "channels": {
                "host.rss": {
                    "stream": "host",
                    "value": "rss",
                    "high": "hwm",
                    "unit": "byte",
                    "exact": True,
                    "reason": "",
                },
                "children.rss": {
                    "stream": "children",
                    "value": "rss",
                    "unit": "byte",
                    "exact": False,
                    "reason": "the kernel keeps no common mark of several processes",
                },
            },
            "missing": ["no GPU: driver not loaded"],
            "facts": {"python": "3.11.7", "platform": "Linux-6.1-x86_64"},
        },
    )
    largest = samples(directory)
    marks(directory)
    write_json(
        directory,
        SUMMARY,
        {
            "timeline": FORMAT_VERSION,
            "end": "exited",
            "exit_code": 3,
            "signal": None,
            "ended": {"time_ns": WALL + 600 * MS, "monotonic_ns": STARTED + 600 * MS},
            "samples": {"host": SAMPLES, "children": SAMPLES // 5},
            "hwm": largest,
        },
    )


def samples(directory: str) -> int:
    """A ramp with a spike between two samples, seen by the mark alone, and one blind reading."""
    host = SampleWriter(f"{directory}/samples.host.npy", HOST_FIELDS)
    children = SampleWriter(f"{directory}/samples.children.npy", CHILDREN_FIELDS)
    largest = 0
    for i in range(SAMPLES):
        t = STARTED + 5 * MS + i * 10 * MS + (i * 7919) % 90_000
        rss = 200 * MiB + i * 3 * MiB
        high = rss + (512 * MiB if i == 31 else (i % 4) * 4096)
        flags = HIGH_IS_KNOWN | (BLIND if i == 40 else 0)
        host.append(t, 18_000 + i, flags, rss, high)
        if i % 5 == 0:
            children.append(t + 40_000, 30_000, 0, 50 * MiB + i * MiB)
        largest = max(largest, high)
    host.close()
    children.close()
    return largest


def marks(directory: str) -> None:
    """Two processes, every kind of line; phases nested, open, and without readings."""

    def reading(ms: float, rss: int | None = None, over: int = 0, unseen: bool = False) -> str:
        t = STARTED + int(ms * MS)
        if rss is None:
            return f'"t":{t}'
        x = ',"x":1' if unseen else ""
        return f'"t":{t},"d":1900,"rss":{rss * MiB},"hwm":{(rss + over) * MiB}{x}'

    first = [
        f'{{"k":"start",{reading(1)},"pid":4711,"python":"3.11.7","version":"0.1.0"}}',
        f'{{"k":"r",{reading(2, 199)}}}',
        f'{{"k":"fact",{reading(3)},"name":"torch","value":"2.14.1"}}',
        f'{{"k":"b","i":0,"p":"load","th":1,"w":"ResNet",{reading(10, 203)}}}',
        f'{{"k":"e","i":0,{reading(98, 227, 64)}}}',
        f'{{"k":"m","p":"learning rate \\u2193","th":1,{reading(100, 228)}}}',
        f'{{"k":"b","i":1,"p":"epoch","th":1,{reading(110, 232)}}}',
    ]
    number = 2
    for step in range(4):
        at = 120 + step * 100
        for path, begin, length in (("step/forward", 0, 30), ("step/backward", 40, 35)):
            first += [
                f'{{"k":"b","i":{number},"p":"{path}","up":1,"th":1,'
                f"{reading(at + begin, 236 + step * 30, 1)}}}",
                f'{{"k":"e","i":{number},'
                f"{reading(at + begin + length, 246 + step * 30, 8, unseen=step == 2)}}}",
            ]
            number += 1
    first += [
        f'{{"k":"b","i":{number},"p":"dense","up":1,"th":2,{reading(530)}}}',
        f'{{"k":"e","i":{number},{reading(530.2)}}}',
        f'{{"k":"b","i":{number + 1},"p":"never ends","up":1,"th":1,{reading(540, 370)}}}',
        f'{{"k":"missing",{reading(541)},"p":"marks were too dense for readings of their own"}}',
        f'{{"k":"stop",{reading(590)}}}',
    ]
    second = [
        f'{{"k":"start",{reading(200)},"pid":4720,"python":"3.11.7","version":"0.1.0"}}',
        f'{{"k":"b","i":0,"p":"load","th":1,{reading(210, 40)}}}',
        f'{{"k":"e","i":0,{reading(260, 90, 5)}}}',
        f'{{"k":"stop",{reading(270)}}}',
    ]
    for pid, lines in ((4711, first), (4720, second)):
        text = "".join(line + "\n" for line in lines)
        Path(directory, f"events.{pid}.jsonl").write_bytes(text.encode("ascii"))


if __name__ == "__main__":
    here = Path(__file__).parent / f"format-{FORMAT_VERSION}.timeline"
    main(sys.argv[1] if len(sys.argv) > 1 else str(here))
