"""What memory imports take between a program's first model and the end of its weighed step.

Much is imported there: making the first optimizer of a program imports torch's compiler and, with
it, 907 modules (torch 2.14), whose code and classes take some 77 MiB that no tensor tells of.
Memory is read where an outermost import begins and where it has ended; what an import brings in
beside is within.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from timeline.recorder.hooks.importing import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_MOST = 64
"""So many imports are told one by one; what comes after them adds to the last."""

_MOST_UNKNOWN = 1000
"""Of modules that are not there, so many names are kept, not to look for them twice."""


class Imports(Watcher):
    """Reads memory around each outermost import, in whichever thread.

    Attributes:
        taken: of each that has ended its time (monotonic ns), and by how many bytes what is in use
            of the heap grew in it, and what is resident beside heap and files.
    """

    def __init__(self, private: Callable[[], tuple[int, int] | None]) -> None:
        """``private`` gives the two figures of now; None where they are not known."""
        self.taken: list[tuple[int, int, int]] = []
        self._private = private
        self._before: tuple[int, int] | None = None
        self._runs = False  # an import does
        self._spec: ModuleSpec | None = None
        self._unknown: set[str] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The others' spec, outside of other imports alone."""
        if self._runs or name in self._unknown:
            return None
        spec = self.others(name, path, target)
        if spec is None:
            # They will be asked again, by whoever looks for it.
            if len(self._unknown) < _MOST_UNKNOWN:
                self._unknown.add(name)
            return None
        # The last one may only have been looked up.
        self.not_at_end_of(self._spec)
        self._spec = spec
        self.at_end_of(spec)
        return spec

    def began(self) -> None:
        """An import begins to run its module's code."""
        if not self._runs:
            self._runs, self._before = True, self._read()

    def ended(self) -> None:
        """An import has ended, well or not."""
        before, self._before, self._spec = self._before, None, None
        self._runs = False
        now = self._read() if before is not None else None
        if before is None or now is None:
            return
        t, heap, beside = time.monotonic_ns(), now[0] - before[0], now[1] - before[1]
        if len(self.taken) == _MOST:
            _, other_heap, other_beside = self.taken.pop()
            heap, beside = heap + other_heap, beside + other_beside
        self.taken.append((t, heap, beside))

    def give_up(self) -> None:
        """What is being imported builds models or calls them: it is no mere import."""
        if self._runs:
            self._runs, self._before = False, None
            self.not_at_end_of(self._spec)

    def stop(self) -> None:
        """Read no more, and leave nothing behind."""
        self.give_up()
        self.not_at_end_of(self._spec)
        self._spec = None
        self.leave()

    def _read(self) -> tuple[int, int] | None:
        try:
            return self._private()
        except (OSError, ValueError, IndexError):  # a program that closes every descriptor
            return None
