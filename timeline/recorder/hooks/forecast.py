"""Whether to weigh a step in full takes longer than the step: told before it begins.

What weighing takes goes by how many modules are called; what a step takes is what those before it
took. Where weighing in full would take longer, the step is weighed coarsely (`coarse`).
"""

from __future__ import annotations

import time
import weakref
from typing import Any

from timeline.recorder.hooks.keras_layers import modules_in, parameters_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_BASE_NS = 3_000_000
_LAYER_NS = 150_000
"""To weigh in full takes so long by itself, and so much for each module that is called: 3.5 ms for
5 modules, 7 to 11 for 45, 33 for 209 (benchmarks/README.md)."""

_SHARE = 8
"""And one part in so many of the step, for the moments that are looked at."""

_SLOWER = 25
"""A first step takes up to so many times as long as others, since libraries load and make their
code: five times with linear layers, eighteen with an LSTM."""

_SETTLING = 4, 3
"""And the second one still takes up to so much longer."""

_MOST_KNOWN = 1000

NEVER = 1 << 62

FULLY, LATER, COARSELY = range(3)


class Forecast:
    """Counts the modules that are called in each step before the weighed one, and its time.

    By the thread's own time, in which other programs do not count; by the clock where tensors are
    on another device, for which a thread may wait.

    Attributes:
        shortest_ns: the least that a step took.
    """

    def __init__(self, now: Callable[[], tuple[int, int]] | None = None) -> None:
        """``now`` gives the thread's own time and the clock's, in ns."""
        self._now = now or _now
        self.shortest_ns = NEVER
        self._layers_ns = 0
        self._steps = 0
        self._modules = self._modules_before = 0
        self._first: tuple[int, int] | None = None
        self._began: tuple[int, int] | None = None
        self._counts: dict[int, tuple[Any, int]] = {}  # by id, a reference and its modules
        self._elsewhere = False

    def called(self, model: Any) -> None:
        """A model is called, in a step that is not weighed."""
        if self._began is None:
            self._began = self._now()
            self._first = self._first or self._began
        known = self._counts.get(id(model))
        if known is None or known[0]() is not model:
            known = weakref.ref(model), self._count(model)
            if len(self._counts) < _MOST_KNOWN:
                self._counts[id(model)] = known
        self._modules += known[1]

    def stepped(self) -> None:
        """A step has ended, and another begins."""
        before, self._began = self._began, self._now()
        modules = self._modules_before = self._modules
        self._modules = 0
        if before is None:
            return
        took = self._began[self._elsewhere] - before[self._elsewhere]
        self._steps += 1
        self.shortest_ns = min(self.shortest_ns, took)
        self._layers_ns = _LAYER_NS * modules

    def begin_anew(self, *, known: bool) -> None:
        """Another optimizer takes turns with those before: what was a step is a part of one.

        Where it is ``known``, the first step has all turns, from the first call until now.
        """
        self._steps = 0
        self.shortest_ns = NEVER
        self._modules += self._modules_before
        self._began = self._first if known else None
        self.stepped()

    def says(self) -> int:
        """How to weigh the step that begins; `LATER` where a first step alone cannot tell."""
        if not self._steps:
            return LATER
        if not self._fits(self.shortest_ns):
            return COARSELY
        if self._steps == 1 and not self._fits(self.shortest_ns // _SLOWER):
            return LATER
        return FULLY

    def _fits(self, took_ns: int) -> bool:
        more, than = _SETTLING
        return self.needs_ns(took_ns) * more <= took_ns * than

    def needs_ns(self, took_ns: int) -> int:
        """What to weigh a step in full takes that takes so long by itself."""
        return _BASE_NS + self._layers_ns + took_ns // _SHARE

    def sentence(self, step: int) -> str:
        """Why a step is weighed coarsely, and what to do."""
        needs, took = self.needs_ns(self.shortest_ns) / 1e6, self.shortest_ns / 1e6
        return (
            f"step {step} was weighed coarsely: in full it would take some {needs:.1f} ms more, "
            f"and a step takes {took:.1f} ms or less. What was held only in between, such as "
            "temporaries, and what formulas expect of activations is not known; at a peak it is a "
            f"part of what is unexplained. --anatomy {step} weighs this step in full"
        )

    def _count(self, model: Any) -> int:
        modules = [module for _, module in modules_in(model)]
        own = (each for module in modules for _, each in parameters_of(module))
        first = next((each for each in own if each is not None), None)
        self._elsewhere |= first is not None and not first.is_cpu
        return len(modules)


def _now() -> tuple[int, int]:
    return time.thread_time_ns(), time.monotonic_ns()
