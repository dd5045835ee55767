"""One phase's peak, taken apart: each part with a measurement of its own.

What is left when all of them are taken from the peak is ``unexplained``, and is never spread over
the others. docs/anatomy.md has the reasoning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from timeline.analysis.expected import is_unwalked
from timeline.analysis.later import Later
from timeline.recording.anatomy import Anatomy, Moment, WeighedLayer, WeighedPhase
from timeline.recording.types import UNKNOWN
from timeline.recording.weighed.facts import CATEGORIES

BEFORE = "before_model"
IMPORTED = "imported"
FILES = "mapped_files"
KEPT = "kept_by_malloc"
KERNELS = "inside_kernels"
UNTOUCHED = "untouched"
UNEXPLAINED = "unexplained"

PARTS = (BEFORE, *CATEGORIES, KERNELS, IMPORTED, FILES, KEPT, UNTOUCHED, UNEXPLAINED)
"""Of a peak, in the order in which every view shows them; ``untouched`` is 0 or less."""

_PYTHONS = 1 << 20
"""Python gives its objects' memory back in pieces of this size (Objects/obmalloc.c, ARENA_SIZE):
less than that may be its own."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a phase's peak; bytes, None where it is not known.

    Attributes:
        category: one of `PARTS`.
        estimated: by theory.
        measured: what was weighed or read.
        residual: measured less estimated.
    """

    category: str
    estimated: int | None
    measured: int | None
    residual: int | None


@dataclass(frozen=True, slots=True)
class Composition:
    """The peak of one phase, taken apart. The parts that are known add up to ``peak``.

    Attributes:
        path, what: the phase, and the class of the module or optimizer that was weighed.
        peak: of all instances in the run, as the table of phases has it.
        weighed: of the weighed instance.
        higher: what another instance of the run went above it.
        later: of that, what looks at the heap explain: parts of ``kept_by_malloc`` and
            ``mapped_files``. The rest is a part of ``unexplained``.
        grown: the peak less what was there before the model.
        in_heap: of ``unexplained``, how much more the heap had in use than tensors are known of:
            other objects of the program; None where it is not known.
        outside_heap: of ``unexplained``, how much more was resident that is neither on the heap nor
            mapped from files: objects of Python, stacks, what libraries map for themselves.
        parts: one of each of `PARTS`.
        layers: bytes of activations by layer, at the peak.
    """

    path: str
    what: str
    peak: int
    weighed: int
    higher: int
    later: Later
    grown: int
    in_heap: int | None
    outside_heap: int | None
    parts: tuple[Part, ...]
    layers: tuple[tuple[WeighedLayer, int], ...]

    @property
    def unweighed(self) -> int:
        """What of ``higher`` nothing explains."""
        return self.higher - self.later.kept - self.later.files

    def __getitem__(self, category: str) -> Part:
        return self.parts[PARTS.index(category)]


def composed(
    phase: WeighedPhase, weighed: Anatomy, peak: int, later: Later, theory: Mapping[str, int]
) -> Composition:
    """Take the peak of a phase apart.

    Args:
        phase: as it was weighed.
        weighed: the step.
        peak: of all instances in the run; bytes.
        later: what looks at the heap tell of instances after the weighed one.
        theory: bytes by category that formulas expect.
    """
    before, at = weighed.before, phase.at
    measured: dict[str, int | None] = dict(phase.categories)
    if phase.rise is None:
        measured["temporary"] = None
    if not measured["activation"] and is_unwalked(weighed, phase):
        measured["activation"] = None
    measured[BEFORE] = before.rss - weighed.held if before.rss != UNKNOWN else None
    measured[FILES] = None
    if UNKNOWN not in (before.file, at.file):
        # Tensors in shared memory are counted with their category.
        measured[FILES] = at.file - before.file - phase.shared + later.files
    measured[KEPT] = None
    unfollowed = 0
    if UNKNOWN not in (before.free, at.free):
        # What torch was given more and resident memory did not follow came out of what was kept.
        reused = max((phase.rise or 0) - max(phase.high - at.rss, 0), 0)
        measured[KEPT] = max(at.free - reused, 0) - before.free + later.kept
        unfollowed = max(reused - at.free, 0)
    measured[KERNELS] = _inside_kernels(phase)
    in_heap = None
    if UNKNOWN not in (before.in_use, at.in_use):
        tensors = sum(phase.categories.values()) - (phase.rise or 0) - phase.shared
        in_heap = at.in_use - before.in_use - tensors + weighed.held
    elsewhere = None
    measured[IMPORTED] = measured[UNTOUCHED] = None
    if in_heap is not None and UNKNOWN not in (*_known(before), *_known(at)):
        elsewhere = _outside(at) - _outside(before)
        done = [each for each in weighed.imports if each.t_ns <= at.t_ns]
        # Of the heap no more than is in use: what an import made may have gone since. Beside it
        # nobody knows: there blocks that no kernel has touched yet are missing, too.
        on_heap = min(max(sum(each.heap for each in done), 0), max(in_heap, 0))
        beside = max(sum(each.beside for each in done), 0)
        in_heap, elsewhere = in_heap - on_heap, elsewhere - beside
        measured[IMPORTED] = on_heap + beside
        measured[UNTOUCHED] = 0
        fallen = _fallen(weighed, at)
        lacking = unfollowed - elsewhere - max(in_heap, 0)
        if min(lacking, unfollowed + fallen) >= _PYTHONS:
            measured[UNTOUCHED] = -unfollowed - fallen
            elsewhere += fallen
    explained = sum(size for size in measured.values() if size is not None)
    measured[UNEXPLAINED] = peak - explained
    parts = []
    for name in PARTS:
        size, estimated = measured[name], theory.get(name)
        residual = size - estimated if size is not None and estimated is not None else None
        parts.append(Part(name, estimated, size, residual))
    known = [pair for pair in phase.layers if pair[0] < len(weighed.layers)]
    return Composition(
        path=phase.path,
        what=phase.what,
        peak=peak,
        weighed=phase.high,
        higher=max(peak - phase.high, 0),
        later=later,
        grown=peak - (measured[BEFORE] or 0),
        in_heap=in_heap,
        outside_heap=elsewhere,
        parts=tuple(parts),
        layers=tuple((weighed.layers[number], size) for number, size in known),
    )


def _inside_kernels(phase: WeighedPhase) -> int | None:
    """What memory rose beyond what torch asked for, between two moments, and was given back.

    Kernels take buffers of their own for as long as they run, such as oneDNN's for a convolution in
    another order. Where these come out of what malloc kept they are a part of that.
    """
    at, after = phase.at, phase.after
    if phase.rise is None or phase.stays is None or UNKNOWN in (*_known(at), *_known(after)):
        return None
    beyond = max(phase.high - at.rss - phase.rise, 0)
    files = max(after.file - at.file, 0)
    others = max(after.in_use - at.in_use - phase.stays, 0)
    return max(beyond - files - others, 0)


def _fallen(weighed: Anatomy, at: Moment) -> int:
    """By how much less is resident beside heap and files than was at some moment of the step.

    Of a block with a mapping of its own malloc counts all as in use as soon as it is given, and the
    kernel what was written: what is missing was never written. Only what the step itself shows
    counts, since before it Python may have given back what its imports took.
    """
    moments = [moment for each in weighed.phases for moment in (each.begin, each.at)]
    earlier = [
        _outside(each) for each in moments if each.t_ns <= at.t_ns and UNKNOWN not in _known(each)
    ]
    return max([*earlier, _outside(at)]) - _outside(at)


def _known(moment: Moment) -> tuple[int, ...]:
    return moment.rss, moment.file, moment.in_use, moment.free


def _outside(moment: Moment) -> int:
    """Resident bytes that are neither mapped from files nor on the heap."""
    return moment.rss - moment.file - moment.in_use - moment.free
