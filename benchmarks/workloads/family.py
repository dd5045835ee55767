"""A program with forked workers that share its memory and have some of their own.

    python family.py WORKERS SHARED_MIB OWN_MIB SECONDS

At rest it reads the RSS and the PSS of all of them by itself, and what its parent, the sampler when
it is recorded, has spent of the CPU; it prints both as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time


def rollup(pid: int) -> dict[str, int]:
    """RSS and PSS, in bytes, by the kernel's walk over all pages."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        lines = dict(line.split(":", 1) for line in file if line[:4] in ("Rss:", "Pss:"))
    return {key: int(value.split()[0]) << 10 for key, value in lines.items()}


def cpu_s(pid: int) -> float:
    """CPU time of a process and all its threads."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def work(own_mib: int, ready: int) -> None:
    """A worker: memory of its own, and a little more and less of it all the time."""
    kept = os.urandom(own_mib << 20)
    os.write(ready, b".")
    while True:
        batch = bytearray(2 << 20)
        time.sleep(0.05)
        del batch
        time.sleep(0.05)
    del kept


def main() -> None:
    workers, shared_mib, own_mib, seconds = (int(word) for word in sys.argv[1:5])
    shared = os.urandom(1 << 20) * shared_mib
    listen, ready = os.pipe()
    pids = []
    for _ in range(workers):
        pid = os.fork()
        if not pid:
            work(own_mib, ready)
        pids.append(pid)
    for _ in pids:
        os.read(listen, 1)
    time.sleep(seconds / 4)
    spent, began = cpu_s(os.getppid()), time.monotonic()
    time.sleep(seconds)
    share = (cpu_s(os.getppid()) - spent) / (time.monotonic() - began)
    begun = time.monotonic_ns()
    own = rollup(os.getpid())
    read = [rollup(pid) for pid in pids]
    seen = {
        "share": share,
        "begun_ns": begun,
        "ended_ns": time.monotonic_ns(),
        "host": own,
        "children": {key: sum(each[key] for each in read) for key in own},
    }
    time.sleep(0.3)
    for pid in pids:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    print(json.dumps(seen))
    del shared


if __name__ == "__main__":
    main()
