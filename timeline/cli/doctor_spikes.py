"""Tries on this machine whether a spike of memory between two readings is seen."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Literal

from timeline.recorder.probes import open_probe, resolve
from timeline.recorder.reading import open_own_memory
from timeline.units import MiB, format_bytes

if TYPE_CHECKING:
    from timeline.recorder.probes import Probe

Mark = Literal["yes", "no", "note"]
"""Whether something can be had, or is only worth knowing."""

_SPIKE = 32 * MiB
_SEEN = 24 * MiB
"""A spike of 32 MiB that shows by at least this much was seen."""

_SPIKING = f"""
import sys
sys.stdin.readline()
spike = b"x" * {_SPIKE}
del spike
print(flush=True)
sys.stdin.readline()
"""


def own_mark() -> tuple[Mark, str]:
    """Whether a process can read and reset its own high-water mark: the peaks of phases."""
    own, why = open_own_memory()
    if own is None:
        return "no", f"peaks of phases are the largest samples: {why}"
    try:
        own.read()
        spike = b"x" * _SPIKE
        del spike
        _, _, rss, high, _ = own.read()
        _, _, later_rss, later, _ = own.read()
    finally:
        own.close()
    return _verdict(
        high - rss, later - later_rss, "a process reads its own peak since the mark before"
    )


def mark_from_beside() -> tuple[Mark, str]:
    """Whether another process's mark can be read and reset: the peaks between two samples."""
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _SPIKING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        try:
            return _watch(child, open_probe(resolve("auto"), child.pid, exact=True))
        finally:
            child.kill()


def _watch(child: subprocess.Popen[str], probe: Probe) -> tuple[Mark, str]:
    assert child.stdin
    assert child.stdout
    try:
        if not probe.exact:
            return "no", f"peaks between two samples are not seen: {probe.reason}"
        probe.read()
        child.stdin.write("\n")
        child.stdin.flush()
        child.stdout.readline()
        during, after = probe.read(), probe.read()
    finally:
        probe.close()
    if during is None or after is None:
        return "no", "the process that was to be read ended at once"
    return _verdict(
        during[4] - during[3], after[4] - after[3], "the sampler reads the peak between two samples"
    )


def _verdict(seen: int, left: int, what: str) -> tuple[Mark, str]:
    size = format_bytes(_SPIKE)
    if seen < _SEEN:
        return "no", f"the kernel's high-water mark did not show a spike of {size}"
    if left >= _SEEN:
        return "no", "the kernel's high-water mark can be read but its reset had no effect"
    return "yes", f"{what}: a spike of {size} was seen, and the reset worked"
