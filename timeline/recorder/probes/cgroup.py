"""The stream of the cgroup with the tightest limit: what the kernel counts against that limit.

Page cache, children and the kernel's own memory count too, so that no process's RSS tells how near
the limit is.
"""

from __future__ import annotations

import os
import time

from timeline.recorder.reading import out_of_the_way
from timeline.recorder.streams import Unavailable
from timeline.recorder.surroundings import Surroundings, has_ended

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from timeline.recorder.streams import Watched
    from timeline.recording.cgroups import Cgroup
    from timeline.recording.format import Fields

INTERVAL_NS = 50_000_000
"""Three small files, 20 µs together. Memory that grows by 1 GiB a second gains 50 MiB meanwhile,
and the kernel's own maximum tells the rest."""

_REASON = "the kernel keeps one maximum for all time: of lower ones only the samples tell"


def open_stream(watched: Watched) -> CgroupStream:
    """The stream of the target's tightest cgroup.

    Raises:
        Unavailable: no cgroup has a limit that this machine could reach. The sentence is empty:
            nothing is missing.
    """
    cgroup = Surroundings(watched.pid).tightest
    if cgroup is None:
        raise Unavailable("")
    return CgroupStream(cgroup, watched.pid, max(watched.interval_ns, INTERVAL_NS))


class CgroupStream:
    """Rows of the used bytes and, where it has risen since the row before, of their maximum."""

    name = "cgroup"
    fields: Fields = (("t_ns", "<i8"), ("read_ns", "<u4"), ("used", "<i8"), ("most", "<i8"))
    share = 0.01

    def __init__(self, cgroup: Cgroup, pid: int, interval_ns: int) -> None:
        """Open its files.

        Raises:
            OSError: it is gone.
        """
        self.interval_ns = interval_ns
        self._pid = pid
        self._source = f"cgroup v{cgroup.version}"
        self._used = _open(cgroup.file("used"))
        try:
            self._peak = _open(cgroup.file("peak"))  # version 2 has it since Linux 5.19
        except OSError:
            self._peak = -1
        self._highest = self._read(self._peak)

    def channels(self) -> Mapping[str, Mapping[str, object]]:
        """``cgroup.used``, with its maximum where the kernel keeps one."""
        channel = {"stream": self.name, "value": "used", "unit": "byte", "source": self._source}
        high = {"high": "most"} if self._peak >= 0 else {}
        return {"cgroup.used": {**channel, **high, "exact": False, "reason": _REASON}}

    def missing(self) -> Sequence[str]:
        """Nothing."""
        return ()

    def read(self) -> tuple[int, ...] | None:
        """A row; None once the cgroup is gone, or the target is."""
        begun = time.monotonic_ns()
        used = self._read(self._used)
        peak = self._read(self._peak)
        t = time.monotonic_ns()
        if used < 0 or has_ended(self._pid):
            return None
        rose, self._highest = peak > self._highest, max(peak, self._highest)
        return t, t - begun, used, max(peak, used) if rose else -1

    def close(self) -> None:
        """Close the files."""
        for fd in (self._used, self._peak):
            if fd >= 0:
                os.close(fd)
        self._used = self._peak = -1

    def _read(self, fd: int) -> int:
        try:
            return int(os.pread(fd, 32, 0)) if fd >= 0 else -1
        except (OSError, ValueError):
            return -1


def _open(path: str) -> int:
    return out_of_the_way(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
