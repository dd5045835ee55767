"""Every byte that torch's own allocators give and take on this thread, while somebody asks.

torch reports allocations to whichever profiler is on. Its oldest one keeps them in memory and
starts nothing else: no libkineto, which takes 60 MB, no threads, no file. It changes no operator
and no result. One profiler can be on in a thread: the program's own always goes first.

Operators are not told, though they would be most of the events: the vector that holds these grows
on the heap between the program's own blocks, which can then not be joined again when they are
freed. With operators a ResNet-18's weighed step peaked 200 MiB above its others.
"""

from __future__ import annotations

import sys
from typing import Any

_MARK = "timeline:tick"
_TOLD = "timeline:told"
_ERROR = 2


class Allocations:
    """The allocator's reports between `start` and `stop`, cut in stretches by `mark`.

    Attributes:
        why: why there are none; empty where there are.
    """

    def __init__(self) -> None:
        self.why = ""
        self._on = False
        torch: Any = sys.modules["torch"]
        try:
            self._autograd = torch._C._autograd
            self._tell_operators = self._autograd._enable_record_function
            self._level = _log_level(torch)
            profiler = torch._C._profiler
            self._make_mark = profiler._RecordFunctionFast
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
        with self._make_mark(_TOLD):
            pass
        self._tell_operators(False)
        self._said, self._level.value = self._level.value, max(self._level.value, _ERROR)

    def mark(self) -> None:
        """A stretch ends here and another begins."""
        if self._on:
            self._tell_operators(True)
            with self._make_mark(_MARK):
                pass
            self._tell_operators(False)

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
            self._tell_operators(True)
            self.why = f"temporaries: torch's profiler was ended by something else ({error})"
            return []
        # The program itself may have had none told.
        self._tell_operators(any(map(_has_told, threads)))
        return next((each for each in map(_stretches, threads) if each), [])

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


def _has_told(events: list[Any]) -> bool:
    """Whether operators were told before: whether the first mark is there."""
    return any(event.kind() == "push" and event.name() == _TOLD for event in events[:8])


def _stretches(events: list[Any]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    held = most = 0
    for event in events:
        kind = event.kind()
        if kind == "memory_alloc":
            held += event.cpu_memory_usage()
            if held > most:
                most = held
        elif kind == "push" and event.name() == _MARK:
            if not found:
                held = most = 0
            found.append((held, most))
            most = held
    return found
