"""What would lower the peak of the weighed step, each with its figure from what was recorded.

No model is at hand, and none is needed: the recording has each storage's life and what torch's
allocator gave beside. A change takes some of that away, and what is highest then is found among
all moments. What cannot be told from the recording is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from timeline.analysis.advice.changes import changes, untried
from timeline.analysis.advice.moments import Moments
from timeline.analysis.advice.passage import Passage
from timeline.recording.anatomy import Anatomy
from timeline.theory.types import Advice

_LEAST = 100
"""A change that saves less than one part of so many of the peak is none to speak of."""


@dataclass(frozen=True, slots=True)
class Advised:
    """What would lower a peak.

    Attributes:
        path: the phase with the peak of tensors.
        peak: bytes of tensors at it.
        advice: the largest saving first.
        untried: changes that the recording tells nothing of, each in words.
    """

    path: str
    peak: int
    advice: tuple[Advice, ...]
    untried: tuple[str, ...] = ()


def why_not(weighed: Anatomy) -> str:
    """Why the weighed step's course cannot be followed; empty where it can."""
    followed = _followed(weighed)
    return followed if isinstance(followed, str) else ""


def _followed(weighed: Anatomy) -> Moments | str:
    """The moments of the step, or why there are none to follow."""
    elsewhere = sorted(set(weighed.devices) - {"cpu", "meta"})
    if elsewhere:
        return f"tensors were on {', '.join(elsewhere)}, and only those in host memory are followed"
    if weighed.coarse:
        return "the step was weighed coarsely"
    if weighed.course is None:
        return (
            "the step's course was not kept, as of one with more than 5,000 moments or 20,000 "
            "storages, or in a recording from before there was one"
        )
    moments = Moments(weighed.course)
    if not moments.known:
        return "torch's allocator was not heard in all of the step"
    return moments if int(moments.total.max()) > 0 else "the step held no tensors"


def advised(weighed: Anatomy) -> Advised | None:
    """What the weighed step's course tells; None where it cannot be followed."""
    moments = _followed(weighed)
    if isinstance(moments, str):
        return None
    now = int(moments.total.max())
    passage = Passage(moments)
    best: dict[tuple[str, str], Advice] = {}
    for each in changes(weighed, moments, passage):
        then = int(each.course.max())
        if (now - then) * _LEAST < now:
            continue
        told = Advice(each.kind, each.what, each.costs, now - then, then, each.layers)
        # Of the ways to do the same with layers, the one that saves most.
        key = (each.kind, "" if each.layers else each.what)
        if key not in best or best[key].saves < told.saves:
            best[key] = told
    found = sorted(best.values(), key=lambda each: -each.saves)
    path = moments.path[moments.peak()]
    return Advised(path, now, tuple(found), tuple(untried(weighed, passage)))
