"""What the peak of each phase of a run is made of, and what to know about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from timeline.analysis.advice.advising import Advised, advised, why_not
from timeline.analysis.anatomy_notes import noted
from timeline.analysis.composition import Composition, composed
from timeline.analysis.expected import expected
from timeline.analysis.later import kept_later
from timeline.analysis.readings import Readings
from timeline.analysis.types import HOST, Instances, PhaseSummary
from timeline.recording.anatomy import Anatomy, HeapLook, WeighedPhase
from timeline.recording.weighed.facts import SAME_PEAK


@dataclass(frozen=True, slots=True)
class Anatomized:
    """The weighed step, and what it says of the peaks.

    Attributes:
        weighed: as it was read.
        phases: one for each path that was weighed, in the order of the step.
        notes: a sentence for each thing to know about these figures.
        advised: what would lower the step's peak; None where the recording does not tell.
        unadvised: why it does not.
    """

    weighed: Anatomy
    phases: tuple[Composition, ...]
    notes: tuple[str, ...]
    advised: Advised | None = None
    unadvised: str = ""

    def of(self, path: str | None) -> Composition | None:
        """What the peak of a phase is made of; None where the phase was not weighed."""
        return next((each for each in self.phases if each.path == path), None)


def take_apart(
    weighed: Anatomy | None,
    phases: Sequence[PhaseSummary],
    instances: Instances,
    start_ns: int,
    heaps: Sequence[HeapLook] = (),
    readings: Readings | None = None,
) -> Anatomized | None:
    """Take the peaks of a run's phases apart by its weighed step; None where none was.

    Args:
        weighed: the step.
        phases: of the run, for their peaks.
        instances: of the run, to tell the weighed step from those after it.
        start_ns: when the run began, monotonic: 0 of the instances' times.
        heaps: looks at the heap in later steps.
        readings: all of the host's memory, with those that the sampler took during the step.
    """
    if weighed is None:
        return None
    peaks = {each.path: each.peak[HOST].bytes for each in phases if HOST in each.peak}
    highest: dict[str, WeighedPhase] = {}
    for each in weighed.phases:
        each = _with_readings(each, readings)
        known = highest.get(each.path)
        if each.path in peaks and (known is None or each.high > known.high + SAME_PEAK):
            highest[each.path] = each
    compositions = tuple(
        composed(
            each,
            weighed,
            peaks[path],
            kept_later(each, instances, heaps, weighed.heap_most, tuple(highest.values())),
            expected(weighed, each),
        )
        for path, each in highest.items()
    )
    step = weighed.began_ns - start_ns, weighed.ended_ns - start_ns
    highest_of_run = max(peaks.values(), default=0)
    notes = noted(weighed, compositions, tuple(highest.values()), highest_of_run, instances, step)
    told = advised(weighed)
    why = "" if told is not None else why_not(weighed)
    return Anatomized(weighed, compositions, notes, told, why)


def _with_readings(phase: WeighedPhase, readings: Readings | None) -> WeighedPhase:
    """With how high memory went by the readings of others between its two moments."""
    if readings is None or phase.after.t_ns <= phase.at.t_ns:
        return phase
    first, last = np.searchsorted(readings.t_ns, (phase.at.t_ns, phase.after.t_ns), side="right")
    if last <= first:
        return phase
    return replace(phase, high=max(phase.high, int(readings.high[first:last].max())))
