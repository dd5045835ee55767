"""What tensors held at each moment of a weighed step, and what of it a change would touch.

A moment goes from one tick to the next. What stood at its begin is known storage by storage, and
torch's allocator told how much more there was at its highest. So a change of some storages gives
the whole course anew, and with it the next peak.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from timeline.recording.course import Course
from timeline.recording.weighed.facts import CATEGORIES

Bytes = npt.NDArray[np.int64]

PARAMETER, BUFFER, GRADIENT, STATE, ACTIVATION, INPUT, TEMPORARY = range(len(CATEGORIES))


class Moments:
    """The moments of a step in which torch's allocator was listened to.

    Attributes:
        course: as it was weighed.
        count: how many moments there are.
        path: of each, the innermost phase; empty between phases.
        start: of each, the first moment of the outermost phase.
        known: whether the allocator told all of it.
    """

    def __init__(self, course: Course) -> None:
        self.course = course
        self.count = len(course.held)
        self.known = bool(course.held) and None not in course.held and None not in course.most
        self.path = [""] * self.count
        self.start = np.zeros(self.count, np.int64)
        self.turn = np.zeros(self.count, np.int64)
        self._end = np.zeros(self.count, np.int64)
        # The longest first, so that what is inside writes over what is around it.
        spans = sorted(course.spans, key=lambda each: each.first - each.last)
        covered = np.zeros(self.count, bool)
        for each in spans:
            inside = slice(each.first, each.last + 1)
            if not covered[each.first]:
                self.start[inside] = each.first
                self._end[inside] = each.last
            covered[inside] = True
            self.turn[inside] = each.turn
            for i in range(each.first, each.last + 1):
                self.path[i] = each.path
        self.known = self.known and bool(covered.all())

    def sums(self, sizes: Sequence[int]) -> Bytes:
        """At each moment the sum of a figure of each storage over those that are there."""
        steps = np.zeros(self.count + 1, np.int64)
        for size, each in zip(sizes, self.course.lives, strict=True):
            if size and each.first < each.last:
                steps[each.first] += size
                steps[each.last] -= size
        return np.cumsum(steps)[: self.count]

    def gone(self, sizes: Sequence[int]) -> Bytes:
        """What there would be less without so much of each storage.

        What is saved was made before it was: within the moment before the first tick at which it is
        known, where it is a part of what the allocator gave.
        """
        found = self.sums(sizes)
        before = np.zeros(self.count, np.int64)
        for size, each in zip(sizes, self.course.lives, strict=True):
            if size > 0 and 0 < each.first < each.last:
                before[each.first - 1] += size
        result: Bytes = found + np.minimum(before, self.loose + self.rise)
        return result

    def of(self, *categories: int) -> Bytes:
        """Bytes of some categories."""
        lives = self.course.lives
        return self.sums([each.size if each.category in categories else 0 for each in lives])

    def whether(self, *ends: str) -> npt.NDArray[np.bool_]:
        """The moments of phases whose paths end so."""
        return np.array([path.endswith(ends) for path in self.path], bool)

    @cached_property
    def standing(self) -> Bytes:
        """What is known storage by storage."""
        return self.sums([each.size for each in self.course.lives])

    @cached_property
    def rise(self) -> Bytes:
        """What was asked for since the tick, at most."""
        held = np.array([each or 0 for each in self.course.held], np.int64)
        most = np.array([each or 0 for each in self.course.most], np.int64)
        found = np.zeros(self.count, np.int64)
        found[:-1] = np.maximum(most[1:] - held[:-1], 0)
        found[self._end == np.arange(self.count)] = 0
        return found

    @cached_property
    def loose(self) -> Bytes:
        """What was there at the tick, given by the allocator and none of the known storages."""
        held = np.array([each or 0 for each in self.course.held], np.int64)
        told = self.sums([each.size if each.told else 0 for each in self.course.lives])
        since = held - held[self.start] - (told - told[self.start])
        return np.maximum(since, 0)

    @cached_property
    def called(self) -> Bytes:
        """The last call of a layer that made any node by the end of each moment."""
        begun = np.array(self.course.call, np.int64)
        found = begun.copy()
        found[:-1] = begun[1:]
        at_end = self._end == np.arange(self.count)
        found[at_end] = begun[at_end]
        return found

    @cached_property
    def total(self) -> Bytes:
        """All that tensors held at the highest of each moment."""
        return self.standing + self.loose + self.rise

    @cached_property
    def made(self) -> Bytes:
        """Of the rise, gradients and states that are there from the next tick on."""
        found = np.zeros(self.count, np.int64)
        for category in (GRADIENT, STATE):
            there = self.of(category)
            found[:-1] += np.maximum(there[1:] - there[:-1], 0)
        return np.minimum(found, self.rise)

    @cached_property
    def passing(self) -> Bytes:
        """What goes with the batch though nothing names it: values and gradients under way."""
        found = self.loose + self.rise - self.made
        found[self.whether("optimizer")] = 0
        return found

    def peak(self) -> int:
        """The moment with most."""
        return int(np.argmax(self.total))
