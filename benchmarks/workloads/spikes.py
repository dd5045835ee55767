"""Spikes of 200 MiB to 1 GiB that stand for 3 to 15 ms, a fifth of a second apart.

``--phases`` puts each of them in a phase of timeline.
"""

import contextlib
import sys
import time

import numpy
from witness import Witness

APART_S = 0.25


def main(count, phases):
    witness = Witness()
    if phases:
        from timeline import phase
    else:
        phase = contextlib.nullcontext
    time.sleep(APART_S)
    with witness.loop(count):
        for i in range(count):
            # Neighbours differ by more than any tolerance, so that none is taken for another.
            mib = 200 + (i * 389) % 825
            stands_s = (3 + (i * 5) % 13) / 1000
            with phase(f"spike {i}"):
                begun = time.monotonic_ns()
                spike = numpy.full(mib << 20, 1, numpy.uint8)
                top = witness.rss()
                top_ns = time.monotonic_ns()
                time.sleep(stands_s)
                del spike
                ended = time.monotonic_ns()
            witness.spike(begun, top_ns, top, ended)
            time.sleep(APART_S)
    witness.close(until_ns=time.monotonic_ns())


if __name__ == "__main__":
    main(int(sys.argv[1]), "--phases" in sys.argv)
