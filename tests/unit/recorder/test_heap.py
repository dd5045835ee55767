"""What glibc tells of its heap, held against the kernel's own list of mappings."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from timeline.recorder.hooks.heap import heap_reader

PROGRAM = """
import json
from timeline.recorder.hooks.heap import heap_reader, largest_reader

heap, largest = heap_reader(), largest_reader()

def told():
    # The first arena's own mapping: one thread has no other.
    (line,) = [each for each in open("/proc/self/maps") if each.endswith("[heap]\\n")]
    low, high = line.split()[0].split("-")
    return [*heap(), largest(), int(high, 16) - int(low, 16)]

before = told()
blocks = [bytes(3000) for _ in range(20_000)]
there = told()
del blocks
print(json.dumps([before, there, told()]))
"""

pytestmark = pytest.mark.skipif(heap_reader() is None, reason="this C library tells no heap")


def test_the_heap_and_the_largest_that_it_has_been_are_the_kernels_own_figures():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    before, there, after = json.loads(done.stdout)
    for in_use, free, size, largest, mapped in (before, there, after):
        assert size <= largest
        assert in_use + free >= size  # pieces with mappings of their own are in use, too
        assert 0 <= mapped - size <= 1 << 16
    assert there[0] - before[0] >= 20_000 * 3000
    assert there[3] == there[2]
    # Given back to the program's heap, and mostly to the system, unless some small block stands at
    # its top; what it had been stays.
    assert after[0] - before[0] < 2 << 20
    assert after[2] <= there[2]
    assert after[3] == there[3]
