"""What a mark is compared with: it shows what this machine takes for the same few calls."""

import os
import resource
import tempfile
import time


def prototype():
    """The least that a mark with an exact reading can be: two reads, a reset, one line written."""
    statm = os.open("/proc/self/statm", os.O_RDONLY)
    clear_refs = os.open("/proc/self/clear_refs", os.O_WRONLY)
    file = tempfile.TemporaryFile("wb", buffering=0)  # noqa: SIM115 (until the process ends)

    def mark():
        rss = int(os.pread(statm, 64, 0).split(None, 2)[1]) * 4096
        high = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        os.write(clear_refs, b"5")
        line = f'{{"k":"b","i":1,"p":"step","t":{time.monotonic_ns()},"rss":{rss},"hwm":{high}}}\n'
        os.write(file.fileno(), line.encode())

    return mark
