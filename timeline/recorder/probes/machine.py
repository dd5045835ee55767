"""The stream of what else counts against a limit, at a slow pace.

The memory that the machine has in use, what the cgroup's is made of, and, where the address space
is limited, how much of it the target has.
"""

from __future__ import annotations

import time

from timeline.recorder.streams import Unavailable
from timeline.recorder.surroundings import (
    Surroundings,
    has_ended,
    memory_of_machine,
    memory_of_process,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from timeline.recorder.streams import Watched
    from timeline.recording.format import Fields

INTERVAL_NS = 1_000_000_000
"""Three files that the kernel writes anew at each look, 50 to 200 µs each."""

_CHANNELS = {
    "machine.used": "machine", "machine.swap": "swap",
    "cgroup.anon": "anon", "cgroup.cache": "cache", "cgroup.shared": "shared",
    "cgroup.kernel": "kernel",
    "host.virtual": "virtual", "host.data": "data",
}  # fmt: skip
"""By channel, its column. Not all fit into one header, nor are all ever there together."""
_MOST_COLUMNS = 8
_VIRTUAL = {"virtual": "RLIMIT_AS", "data": "RLIMIT_DATA"}


def open_stream(watched: Watched) -> MachineStream:
    """The stream of this machine.

    Raises:
        Unavailable: nothing of it can be read here. The sentence is empty: it is no loss.
    """
    stream = MachineStream(watched)
    if not stream.channels():
        raise Unavailable("")
    return stream


class MachineStream:
    """Rows of everything, -1 for what is not there; channels for what is."""

    name = "machine"
    share = 0.01

    def __init__(self, watched: Watched) -> None:
        """Look once, to know what there is."""
        self.interval_ns = max(watched.interval_ns, INTERVAL_NS)
        self._pid = watched.pid
        around = Surroundings(watched.pid)
        self._cgroup = around.tightest
        limited = {limit["name"] for limit in around.limits}
        self._unlimited = {key for key, name in _VIRTUAL.items() if name not in limited}
        there = self._figures()
        order = ("virtual", "most", *_CHANNELS.values())
        columns = [name for name in dict.fromkeys(order) if name in there][:_MOST_COLUMNS]
        self.fields: Fields = (("t_ns", "<i8"), ("read_ns", "<u4"), *((c, "<i8") for c in columns))

    def channels(self) -> Mapping[str, Mapping[str, object]]:
        """One for each figure that can be read."""
        there = [name for name, _ in self.fields]
        out = {}
        for name, field in _CHANNELS.items():
            if field in there:
                channel: dict[str, object] = {"stream": self.name, "value": field, "unit": "byte"}
                if field == "virtual":
                    channel["high"] = "most"
                reason = "it was only sampled, once a second"
                out[name] = {**channel, "source": "linux", "exact": False, "reason": reason}
        return out

    def missing(self) -> Sequence[str]:
        """Nothing."""
        return ()

    def read(self) -> tuple[int, ...] | None:
        """A row; None once nothing of it can be read, or the target is gone."""
        begun = time.monotonic_ns()
        found = self._figures()
        t = time.monotonic_ns()
        if not found or has_ended(self._pid):
            return None
        columns = (name for name, _ in self.fields[2:])
        return t, min(t - begun, (1 << 32) - 1), *(found.get(name, -1) for name in columns)

    def close(self) -> None:
        """Nothing is held open."""

    def _figures(self) -> dict[str, int]:
        found = memory_of_machine()
        if self._cgroup is not None:
            found |= self._cgroup.parts()
        if len(self._unlimited) < len(_VIRTUAL):
            found |= memory_of_process(self._pid)
        return {name: size for name, size in found.items() if name not in self._unlimited}
