"""Every byte that torch's own allocators give and take on this thread, while somebody asks.

torch reports allocations to whichever profiler is on. Its oldest one keeps them in memory and
starts nothing else: no libkineto, which takes 60 MB, no threads, no file. It changes no operator
and no result. One profiler can be on in a thread: the program's own always goes first.

Operators are not told, though they would be most of the events: what holds these grows on the heap
between the program's own blocks, which can then not be joined again when they are freed. With
operators a ResNet-18's weighed step peaked 200 MiB above its others. For the same reason no event
of ours is among them: with one at each tick, whose name takes 64 bytes on the heap, forward peaked
23 MiB higher. Where a stretch ends is told by the time instead.
"""

from __future__ import annotations

import sys
import time
from typing import Any

_TOLD = "timeline:told"
_BEGIN = "__start_profile"
_ERROR = 2


class Allocations:
    """The allocator's reports between `start` and `stop`, cut in stretches by `mark`.

    Attributes:
        why: why there are none; empty where there are.
    """

    def __init__(self, *, told: bool = True) -> None:
        """``told``: whether operators are told in this thread, as `operators_told` says."""
        self.why = ""
        self._on = False
        self._told = told
        self._cuts: list[int] = []
        torch: Any = sys.modules["torch"]
        try:
            self._autograd = torch._C._autograd
            self._tell_operators = self._autograd._enable_record_function
            self._level = _log_level(torch)
            profiler = torch._C._profiler
            self._config = profiler.ProfilerConfig(
                profiler.ProfilerState.CPU,
                False,  # input shapes
                True,  # memory
                False,  # stacks
                False,  # flops
                False,  # modules
                profiler._ExperimentalConfig(),
            )
        except (AttributeError, TypeError, OSError, ValueError) as error:
            self.why = f"temporaries: this torch does not tell its allocations ({error})"

    def start(self) -> None:
        """Begin; where it cannot be, `why` says so."""
        if self.why:
            return
        try:
            if self._autograd._profiler_enabled():
                self.why = "temporaries: the program's own profiler was on"
                return
            self._autograd._enable_profiler_legacy(self._config)
        except (AttributeError, RuntimeError) as error:
            self.why = f"temporaries: this torch does not tell its allocations ({error})"
            return
        self._on = True
        self._tell_operators(False)
        self._said, self._level.value = self._level.value, max(self._level.value, _ERROR)

    def mark(self) -> None:
        """A stretch ends here and another begins."""
        if self._on:
            self._cuts.append(time.time_ns())  # the clock that torch's events have, too

    def stop(self) -> list[tuple[int, int]]:
        """End.

        Returns:
            For each `mark` the bytes of CPU memory held more than at the first one, and the most
            that was held more in the stretch that ends there; empty where nothing was told.
        """
        if not self._on:
            return []
        self._on = False
        self._level.value = self._said
        # The program itself may have had none told.
        self._tell_operators(self._told)
        try:
            threads = self._autograd._disable_profiler_legacy()
        except RuntimeError as error:
            self.why = f"temporaries: torch's profiler was ended by something else ({error})"
            return []
        for events in threads:
            if any(event.name() == _BEGIN for event in events[:1]):
                found = _stretches(events, self._cuts)
                if found is None:
                    self.why = "temporaries: the clock was set while the step was weighed"
                return found or []
        return []

    def step_aside(self) -> None:
        """End, because the program starts a profiler of its own."""
        self.stop()
        self.why = "temporaries: the program's own profiler began"


def _log_level(torch: Any) -> Any:
    """torch's level of logging on stderr, which can be set.

    Its allocator warns there of each thousandth block that is given back while a profiler is on and
    was taken before: of every program's. Warnings of Python's kind are none of these.
    """
    import ctypes
    import os

    library = os.path.join(os.path.dirname(torch.__file__), "lib", "libc10.so")
    return ctypes.c_int.in_dll(ctypes.CDLL(library), "FLAGS_caffe2_log_level")


def operators_told() -> bool:
    """Whether this thread's operators are told to profilers, which a program may have ended.

    There is no other way to ask than to have one told.
    """
    trial = Allocations()
    if trial.why:
        return True
    torch: Any = sys.modules["torch"]
    try:
        if trial._autograd._profiler_enabled():
            return True
        trial._autograd._enable_profiler_legacy(trial._config)
        with torch._C._profiler._RecordFunctionFast(_TOLD):
            pass
        threads = trial._autograd._disable_profiler_legacy()
    except (AttributeError, RuntimeError):
        return True
    return any(event.name() == _TOLD for events in threads for event in events)


def _stretches(events: list[Any], cuts: list[int]) -> list[tuple[int, int]] | None:
    """For each cut what `Allocations.stop` returns; None where time went backwards meanwhile."""
    if any(later < earlier for earlier, later in zip(cuts, cuts[1:], strict=False)):  # noqa: RUF007
        return None
    found: list[tuple[int, int]] = []
    held = most = 0
    before = 0.0
    for event in events:
        if event.kind() != "memory_alloc":
            continue
        now = event.start_us()
        if now < before:
            return None
        before = now
        while len(found) < len(cuts) and cuts[len(found)] <= now * 1000:
            held, most = _cut(found, held, most)
        held += event.cpu_memory_usage()
        if held > most:
            most = held
    while len(found) < len(cuts):
        held, most = _cut(found, held, most)
    return found


def _cut(found: list[tuple[int, int]], held: int, most: int) -> tuple[int, int]:
    """A stretch ends; the next one begins with what is held."""
    if not found:
        held = most = 0
    found.append((held, most))
    return held, held
