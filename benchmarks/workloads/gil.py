"""One C call that keeps the GIL for seconds while memory grows by hundreds of MiB, and falls again.

It is ``len`` of what json's scanner parsed, by way of ``map``: no line of Python runs between the
parsing and the freeing of what was parsed, so no other thread does.
"""

import json
import sys
import time

from witness import Witness


def main(pairs, growth):
    witness = Witness()
    text = "[" + ",".join(["[1.5,2.5]"] * pairs) + "]"
    parse = json.JSONDecoder().scan_once
    time.sleep(0.3)
    witness.memory("before")
    with witness.loop(1):
        begun = time.monotonic_ns()
        list(map(len, map(parse, [text], [0])))
        ended = time.monotonic_ns()
    time.sleep(0.3)
    # Nothing of this process can look while the call runs. The bare run before this one was told
    # by the kernel's high-water mark how far memory grows.
    witness.spike(begun, ended, witness.said["rss"]["before"] + growth, ended)
    witness.close(until_ns=ended)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
