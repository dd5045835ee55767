"""What `phase` and a mark cost: idle first, then in a recording of its own.

``marks.py DIR REPEATS`` prints one JSON document.
"""

import json
import statistics
import sys
import time
from timeit import repeat

from least import prototype

import timeline
from timeline.recorder import session


def idle_ns(repeats, loops=200_000):
    """One ``with phase(...)`` with nothing recording, less the empty loop: best and median."""
    phase = timeline.phase
    block = repeat(
        "with phase('step'): pass", globals={"phase": phase}, repeat=repeats, number=loops
    )
    empty = repeat("pass", repeat=repeats, number=loops)
    spent = sorted((b - e) / loops * 1e9 for b, e in zip(block, empty, strict=True))
    return {"best": spent[0], "median": statistics.median(spent)}


def marks_us(repeats):
    """A mark with its reading, the least that it can be, and one that carries time alone.

    The first two in turns, in a loop that does nothing else and after a rest, so that both find
    the machine alike; a mark carries time alone where marks are dense.
    """
    clock = time.perf_counter_ns
    exact, least, alone = [], [], []
    bare = prototype()
    for _ in range(repeats):
        time.sleep(0.4)
        for _ in range(200):
            a = clock()
            bare()
            least.append(clock() - a)
        for _ in range(100):
            a = clock()
            opened = session.enter("step/forward")
            b = clock()
            session.leave(opened)
            exact += [b - a, clock() - b]
        for _ in range(3000):
            session.leave(session.enter("dense"))
        for _ in range(100):
            a = clock()
            opened = session.enter("step/forward")
            b = clock()
            session.leave(opened)
            alone += [b - a, clock() - b]
    ranks = statistics.quantiles(exact, n=100)
    return {
        "exact": statistics.median(exact) / 1000,
        "exact_p90": ranks[89] / 1000,
        "prototype": statistics.median(least) / 1000,
        "alone": statistics.median(alone) / 1000,
    }


def main(directory, repeats):
    said = {"idle_ns": idle_ns(repeats)}
    with timeline.Recorder(directory, charts=False):
        said["mark_us"] = marks_us(repeats)
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
