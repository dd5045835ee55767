"""The recorder that many write themselves: a thread that asks psutil for the RSS each 10 ms.

``python psutil_thread.py OUT script.py args...`` runs the script so and writes (monotonic ns, RSS)
pairs of int64 to OUT.
"""

import array
import os
import runpy
import sys
import threading
import time

import psutil


def sample(readings, stop, interval_s=0.01):
    process = psutil.Process()
    while not stop.wait(interval_s):
        readings.extend((time.monotonic_ns(), process.memory_info().rss))


def main():
    out = sys.argv[1]
    del sys.argv[:2]
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
    readings = array.array("q")
    stop = threading.Event()
    thread = threading.Thread(target=sample, args=(readings, stop), daemon=True)
    thread.start()
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        stop.set()
        thread.join()
        with open(out, "wb") as file:
            readings.tofile(file)


if __name__ == "__main__":
    main()
