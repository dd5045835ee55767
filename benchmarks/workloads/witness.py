"""What a workload says of itself, so that every runner is judged by the same words.

The workload times its own loop, so that starting up counts for nobody, and reads its own memory at
fixed places. It never reads `VmHWM` in between, which a recorder may reset: it notes how high each
spike is while it stands.
"""

import contextlib
import json
import os
import sys
import time


def take_turns(step):
    """For each line of stdin, a number: so many steps, then their wall and CPU time on stdout."""
    print("ready", flush=True)
    for line in sys.stdin:
        cpu, begun = time.process_time_ns(), time.monotonic_ns()
        for _ in range(int(line)):
            step()
        print(time.monotonic_ns() - begun, time.process_time_ns() - cpu, flush=True)


class Witness:
    """Notes what happens and writes it to the file named by ``$WITNESS``, as JSON."""

    def __init__(self):
        self._statm = os.open("/proc/self/statm", os.O_RDONLY)
        self._page = os.sysconf("SC_PAGE_SIZE")
        self.said = {
            "pid": os.getpid(),
            "time_ns": time.time_ns(),
            "monotonic_ns": time.monotonic_ns(),
            "rss": {},
            "spikes": [],
        }
        self.memory("start")

    def rss(self):
        """The resident set size now, in bytes; 2 µs."""
        return int(os.pread(self._statm, 64, 0).split()[1]) * self._page

    def memory(self, when):
        """Note the resident set size at a named place."""
        self.said["rss"][when] = self.rss()

    @contextlib.contextmanager
    def loop(self, steps):
        """Time the block, which is so many steps, in wall and CPU time of this process."""
        cpu = time.process_time_ns()
        begun = time.monotonic_ns()
        yield
        ended = time.monotonic_ns()
        self.said["loop"] = {
            "steps": steps,
            "begun_ns": begun,
            "ended_ns": ended,
            "cpu_ns": time.process_time_ns() - cpu,
        }

    def spike(self, begun_ns, top_ns, top, ended_ns):
        """A spike began, stood at ``top`` bytes of RSS from ``top_ns``, and ended."""
        self.said["spikes"].append([begun_ns, top_ns, top, ended_ns])

    def close(self, **more):
        """Note the memory at the end and write everything."""
        self.memory("end")
        with open("/proc/self/status") as status:
            kib = next(line.split()[1] for line in status if line.startswith("VmHWM"))
        self.said["hwm"] = int(kib) * 1024
        self.said.update(more)
        with open(os.environ["WITNESS"], "w") as file:
            json.dump(self.said, file)
