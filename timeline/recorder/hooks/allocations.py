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
from bisect import bisect_left
from itertools import accumulate
from typing import Any

_TOLD = "timeline:told"
_BEGIN = "__start_profile"
_ERROR = 2
_FIRST = 8
"""Among so many events is the one that was asked for first."""

_SET_NS = 1_000_000
"""By so much the clock has moved that was set."""

_NONE = "temporaries: this torch does not tell its allocations"


class Allocations:
    """The allocator's reports between `start` and `stop`, again and again, cut in stretches.

    Attributes:
        why: why there are none; empty where there are.
    """

    def __init__(self) -> None:
        self.why = ""
        self._on = False
        self._told = True  # whether operators are, where nobody weighs
        self._asks = True  # whether that is yet to be found out
        self._cuts: list[int] = []
        torch: Any = sys.modules["torch"]
        try:
            self._autograd = torch._C._autograd
            self._tell_operators = self._autograd._enable_record_function
            self._level = _log_level(torch)
            profiler = torch._C._profiler
            self._trial = profiler._RecordFunctionFast(_TOLD)
            self._config = profiler.ProfilerConfig(
                profiler.ProfilerState.CPU,
                False,  # input shapes
                True,  # memory
                False,  # stacks
                False,  # flops
                False,  # modules
                profiler._ExperimentalConfig(),
            )
        except (AttributeError, ImportError, TypeError, OSError, ValueError) as error:
            self.why = f"{_NONE} ({error})"

    def ask_again(self) -> None:
        """Another step begins, perhaps in another thread: operators may be told there, or not."""
        self._asks = True

    def start(self) -> None:
        """Begin; where it cannot be, `why` says so."""
        if self.why.startswith(_NONE):
            return
        self.why = ""
        try:
            if self._autograd._profiler_enabled():
                self.why = "temporaries: the program's own profiler was on"
                return
            self._autograd._enable_profiler_legacy(self._config)
        except (AttributeError, RuntimeError) as error:
            self.why = f"{_NONE} ({error})"
            return
        self._on = True
        if self._asks:
            # A program may have ended that operators are told, which is as it is afterwards. There
            # is no other way to ask than to have one told.
            with self._trial:
                pass
        self._cuts = []
        self._offset = _since_boot()
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
        try:
            threads = self._autograd._disable_profiler_legacy()
        except RuntimeError as error:
            self._tell_operators(self._told)
            self.why = f"temporaries: torch's profiler was ended by something else ({error})"
            return []
        events = next((each for each in threads if each and each[0].name() == _BEGIN), None)
        if self._asks and events is not None:
            self._asks = False
            self._told = any(event.name() == _TOLD for event in events[1:_FIRST])
        # The program itself may have had none told.
        self._tell_operators(self._told)
        if events is None:
            self.why = f"{_NONE} (it told nothing of the thread that is weighed)"
            return []
        if abs(_since_boot() - self._offset) > _SET_NS:
            self.why = "temporaries: the clock was set while the step was weighed"
            return []
        return _stretches(events, self._cuts)

    def step_aside(self) -> None:
        """End, because the program starts a profiler of its own."""
        self.stop()
        self.why = "temporaries: the program's own profiler began"


def _since_boot() -> int:
    """What the clock of torch's events is ahead of the one that nobody sets."""
    return time.time_ns() - time.monotonic_ns()


def _log_level(torch: Any) -> Any:
    """torch's level of logging on stderr, which can be set.

    Its allocator warns there of each thousandth block that is given back while a profiler is on and
    was taken before: of every program's. Warnings of Python's kind are none of these.
    """
    import ctypes
    import os

    # Not by ctypes.CDLL, which builds a class for the functions of a library: half of the time.
    from _ctypes import dlopen, dlsym

    library = os.path.join(os.path.dirname(torch.__file__), "lib", "libc10.so")
    return ctypes.c_int.from_address(dlsym(dlopen(library, 0), "FLAGS_caffe2_log_level"))


def _stretches(events: list[Any], cuts: list[int]) -> list[tuple[int, int]]:
    """For each cut what `Allocations.stop` returns."""
    # 0 for what is no event of memory, or of another device.
    held = list(accumulate([event.cpu_memory_usage() for event in events]))
    found: list[tuple[int, int]] = []
    begin = first = before = 0
    for cut in cuts:
        end = bisect_left(events, cut, begin, key=_began_ns)
        now = held[end - 1] if end else 0
        if not found:
            first = before = now
        most = max(max(held[begin:end], default=before), before) if found else now
        found.append((now - first, most - first))
        begin, before = end, now
    return found


def _began_ns(event: Any) -> int:
    return int(event.start_us() * 1000)
