"""The counters of torch's CUDA allocator, read and reset so that the program does not notice.

The allocator keeps the peak of each of its figures since `reset_peak_memory_stats`. A mark reads
the peaks and resets them, as it does with the kernel's high-water mark, so that the next mark tells
the maximum in between, exactly and at any rate: the allocator counts in host memory, at each call,
and no GPU has to be waited for. What the program asks for itself goes through the two functions of
``torch._C`` that are exchanged here for as long: they know the peaks that were reset, and forget
them where the program resets.
"""

from __future__ import annotations

import os
from _thread import RLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

FIGURES = ("allocated_bytes", "reserved_bytes", "active_bytes", "inactive_split_bytes")
"""What a reading tells of a device, each now and at its largest (docs/format.md)."""

COUNTS = ("num_alloc_retries", "num_ooms")

_STATS = ("_cuda_memoryStats", "_accelerator_getDeviceStats")
_RESETS = ("_cuda_resetPeakMemoryStats", "_accelerator_resetPeakStats")

Path = tuple[object, ...]


class Allocator:
    """Reads the devices' counters. One for a process, since it stands between torch and all.

    Attributes:
        exact: whether `read` resets the peaks.
        handed_out: how many blocks were handed out since the start, on the busiest device, when
            they were last read.
    """

    def __init__(self, torch: Any) -> None:
        """Nothing is exchanged yet.

        Args:
            torch: the module, with CUDA built in.

        Raises:
            AttributeError: this torch has no such counters.
        """
        self.exact = True
        self.handed_out = 0
        self._pid = os.getpid()
        self._c = torch._C
        self._stats = torch._C._cuda_memoryStats
        self._reset = torch._C._cuda_resetPeakMemoryStats
        self._current = torch._C._cuda_getDevice
        self._count = torch._C._cuda_getDeviceCount
        self._one_at_a_time = RLock()
        self._exchanged: dict[str, tuple[Any, Any]] = {}
        self._in_use: set[int] = set()
        self._paths: list[tuple[str, str]] = []
        self._open_ended: list[str] = []
        # By device: the peaks that were reset here since the program last did, and what it reset
        # itself since our last reading.
        self._taken: dict[int, dict[Path, int]] = {}
        self._unread: dict[int, list[int]] = {}

    def exchange(self) -> None:
        """Stand between torch and whoever asks it for its peaks."""
        with self._one_at_a_time:
            for names, ours in ((_STATS, self._told), (_RESETS, self._forget)):
                for name in names:
                    real = getattr(self._c, name, None)
                    if real is not None and name not in self._exchanged:
                        mine = _like(real, ours)
                        self._exchanged[name] = real, mine
                        setattr(self._c, name, mine)

    def restore(self) -> None:
        """Give torch its functions back, unless what they tell has become too little.

        A forked child, which has no device any more, gets them back anyway.
        """
        if os.getpid() != self._pid:
            self._one_at_a_time = RLock()  # it may have been held by a thread of the parent
            self._taken.clear()
        with self._one_at_a_time:
            if self._taken:
                return
            for name, (real, mine) in self._exchanged.items():
                if getattr(self._c, name, None) is mine:
                    setattr(self._c, name, real)
            self._exchanged.clear()

    def read(self) -> list[tuple[int, list[int]]]:
        """Each device in use with its figures, now and since the reading before, and its counts.

        Raises:
            Exception: whatever torch raises where its allocator keeps no counters.
        """
        with self._one_at_a_time:
            self._in_use.add(self._current())
            return [(device, self._read(device)) for device in sorted(self._in_use)]

    def look(self) -> list[tuple[int, list[int]]]:
        """As `read`, of all devices that hold anything, and without a reset.

        A thread of its own calls this, beside others that allocate: what these take and give back
        between a read and a reset would be lost.
        """
        with self._one_at_a_time:
            found = []
            for device in range(self._count()):
                stats = self._stats(device)
                if device in self._in_use or stats["reserved_bytes"]["all"]["peak"]:
                    self._in_use.add(device)
                    found.append((device, self._row(device, stats)))
            return found

    def _read(self, device: int) -> list[int]:
        stats = self._stats(device)
        row = self._row(device, stats)
        self.handed_out = max(self.handed_out, stats["allocation"]["all"]["allocated"])
        if self.exact and self._keep(device, stats):
            self._reset(device)
        self._unread.pop(device, None)
        return row

    def _row(self, device: int, stats: dict[str, Any]) -> list[int]:
        row: list[int] = []
        unread = self._unread.get(device)
        for i, name in enumerate(FIGURES):
            figure = stats[name]["all"]
            # Without a reset it is the program's own peak, which may be of long ago.
            high = figure["peak"] if self.exact else -1
            if unread is not None and unread[i] > high:
                high = unread[i]
            row += (figure["current"], high)
        return row + [stats.get(name, 0) for name in COUNTS]

    def _keep(self, device: int, stats: dict[str, Any]) -> bool:
        """Note the peaks that a reset takes away. False where it would change nothing."""
        taken = self._taken.get(device)
        over = False
        for name, pool in self._paths or self._find_paths(stats):
            figure = stats[name][pool] if pool else stats[name]
            peak = figure["peak"]
            if peak > figure["current"]:
                over = True
                if taken is None:
                    taken = self._taken[device] = {}
                if peak > taken.get((name, pool), -1):
                    taken[name, pool] = peak
        for name in self._open_ended:
            for path, figure in _figures(stats[name], (name,)):
                if figure["peak"] > figure["current"]:
                    over = True
                    taken = self._taken.setdefault(device, {})
                    taken[path] = max(figure["peak"], taken.get(path, -1))
        return over

    def _find_paths(self, stats: dict[str, Any]) -> list[tuple[str, str]]:
        """Where this torch's figures are: one for each pool, or, of blocks over a size, one."""
        for name, inner in stats.items():
            if type(inner) is not dict:
                continue
            if "peak" in inner:
                self._paths.append((name, ""))
            elif inner and all(type(each) is dict and "peak" in each for each in inner.values()):
                self._paths += [(name, pool) for pool in inner]
            else:
                # Of private pools, which come and go.
                self._open_ended.append(name)
        return self._paths

    def _told(self, real: Any, device: int) -> Any:
        """What the program gets in place of the counters: with the peaks that were reset here."""
        stats = real(device)
        taken = self._taken.get(device)
        if taken:
            with self._one_at_a_time:
                for path, figure in _figures(stats):
                    peak = taken.get(path if len(path) > 1 else (*path, ""), -1)
                    if peak > figure["peak"]:
                        figure["peak"] = peak
        return stats

    def _forget(self, real: Any, device: int) -> None:
        """The program resets the peaks: ours of before are over, what nobody read is kept."""
        with self._one_at_a_time:
            try:
                row = self._row(device, self._stats(device))
                self._unread[device] = row[1 : 2 * len(FIGURES) : 2]
            except Exception:
                # A device that is not there, or no counters: torch says so itself.
                pass
            real(device)
            self._taken.pop(device, None)


def _figures(stats: dict[Any, Any], path: Path = ()) -> Iterator[tuple[Path, dict[str, int]]]:
    """Every figure with a peak, in however many dictionaries: pools are added by new versions."""
    for name, inner in stats.items():
        if type(inner) is dict:
            if "peak" in inner:
                yield (*path, name), inner
            else:
                yield from _figures(inner, (*path, name))


def _like(real: Any, ours: Any) -> Any:
    """A function that is called as the real one is, and answers by ours."""

    def exchanged(*args: Any) -> Any:
        # What is asked for wrongly gets torch's own answer.
        return ours(real, *args) if len(args) == 1 else real(*args)

    exchanged.__name__ = exchanged.__qualname__ = getattr(real, "__name__", "exchanged")
    exchanged.__doc__ = getattr(real, "__doc__", None)
    return exchanged
