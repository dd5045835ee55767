"""What the peak of each phase is made of, and what of it stays unexplained.

Each part has a measurement of its own; what is left when all of them are taken from the peak is
``unexplained``, and is never spread over the others. docs/anatomy.md has the reasoning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from timeline.analysis.advice.advising import Advised, advised, why_not
from timeline.analysis.expected import expected, is_unwalked
from timeline.analysis.formulas import Turn
from timeline.analysis.later import Later, kept_later
from timeline.analysis.models import of_one_class
from timeline.analysis.readings import Readings
from timeline.analysis.types import HOST, Instances, PhaseSummary
from timeline.recording.anatomy import (
    Anatomy,
    HeapLook,
    Moment,
    WeighedLayer,
    WeighedPhase,
)
from timeline.recording.types import UNKNOWN
from timeline.recording.weighed.facts import CATEGORIES, MOST_GIVEN, SAME_PEAK
from timeline.units import format_bytes

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

_TOLD = 0.01
"""Of the growth: a smaller difference between the weighed step and others needs no sentence."""


_MUCH = 0.05
"""Of the growth: a larger unexplained part needs a sentence on where it lies."""


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
        _composition(
            each,
            weighed,
            peaks[path],
            kept_later(each, instances, heaps, weighed.heap_most, tuple(highest.values())),
            expected(weighed, each),
        )
        for path, each in highest.items()
    )
    step = weighed.began_ns - start_ns, weighed.ended_ns - start_ns
    notes = [
        *_raised(compositions, max(peaks.values(), default=0), instances, step),
        *_higher(compositions),
        *of_one_class(weighed),
        *_untouched(compositions),
        *_without_formula(weighed),
        *_saved_elsewhere(weighed, compositions),
        *_without_gradient(weighed, compositions),
        *_inside_operators(compositions),
        *_returned(compositions, tuple(highest.values())),
        *_without_backward(weighed, tuple(highest.values())),
        *_torn(compositions, tuple(highest.values())),
        *_notes(weighed, compositions),
    ]
    told = advised(weighed)
    why = "" if told is not None else why_not(weighed)
    return Anatomized(weighed, compositions, tuple(notes), told, why)


def _with_readings(phase: WeighedPhase, readings: Readings | None) -> WeighedPhase:
    """With how high memory went by the readings of others between its two moments."""
    if readings is None or phase.after.t_ns <= phase.at.t_ns:
        return phase
    first, last = np.searchsorted(readings.t_ns, (phase.at.t_ns, phase.after.t_ns), side="right")
    if last <= first:
        return phase
    return replace(phase, high=max(phase.high, int(readings.high[first:last].max())))


def _composition(
    phase: WeighedPhase, weighed: Anatomy, peak: int, later: Later, theory: Mapping[str, int]
) -> Composition:
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


def _raised(
    compositions: Sequence[Composition], highest: int, instances: Instances, step: tuple[int, int]
) -> Iterator[str]:
    """Whether the highest phase of the run was the weighed one, above all that came after it.

    Of the step's begin and end, and by the table's peaks: a phase may be highest as it begins, just
    before its first tick.
    """
    for each in compositions:
        if each.path not in instances.paths:
            continue
        these = instances.path == instances.paths.index(each.path)
        later = these & (instances.begin_ns >= step[1])
        weighed = these & ~later & (instances.end_ns > step[0])
        if not later.any() or not weighed.any() or instances.peak[weighed].max() < highest:
            continue
        above = highest - int(instances.peak[later].max())
        if above > _TOLD * each.grown:
            yield (
                f"the highest {each.path} is the weighed one, {format_bytes(above)} above all "
                "after it: what weighing notes lies on the same heap, and may have raised it"
            )


def _higher(compositions: Sequence[Composition]) -> Iterator[str]:
    """Where another step went above the weighed one, which alone was taken apart."""
    kept = [
        f"{format_bytes(each.later.kept)} in {each.path}"
        for each in compositions
        if each.later.kept > _TOLD * each.grown
    ]
    if kept:
        yield (
            f'of "kept by malloc" {", ".join(kept)} was concluded, not measured: a later step '
            "peaked so much higher than the weighed one, with as much in use before and after, "
            "which is taken for memory that was freed and that the C library kept"
        )
    told = [
        f"{format_bytes(each.unweighed)} in {each.path}"
        for each in compositions
        if each.unweighed > _TOLD * each.grown
    ]
    if told:
        yield (
            f'of "unexplained" {", ".join(told)} is by how much another step peaked higher than '
            "the weighed one, which alone was taken apart"
        )
    most = max(compositions, key=lambda each: each.later.held, default=None)
    if most is not None and most.later.held > _TOLD * most.grown:
        yield (
            f"of that {format_bytes(most.later.held)} in {most.path} was in use beside the "
            "phase, too: what the program had come to hold since the weighed step, such as a "
            "list that grows"
        )


def _without_formula(weighed: Anatomy) -> Iterator[str]:
    """Which layers are not in the estimate of activations and temporaries."""
    turns = [Turn(weighed, turn) for turn in sorted({each.turn for each in weighed.calls})]
    counted = sum(each.counted for each in turns)
    without = sum((each.without for each in turns), Counter())
    if not without:
        if weighed.step and not weighed.calls and weighed.categories.get("activation"):
            yield (
                "activations and temporaries are not estimated: no call of a layer by itself was "
                f"seen in the step, as inside a compiled function, or more than {MOST_GIVEN:,}"
            )
        return
    total = counted + without.total()
    named = ", ".join(f"{kind} ({count})" for kind, count in without.most_common(5))
    packed, cast = sum(each.packed for each in turns), sum(each.cast for each in turns)
    if counted and not packed:
        yield (
            f"activations and temporaries are estimated by the formulas of {counted:,} of "
            f"{total:,} calls of layers; not of {named}"
        )
    else:
        yield (
            "activations and temporaries are not estimated: formulas do not hold for "
            f"{without.total():,} of {total:,} calls of layers: {named}"
        )
    if packed:
        yield (
            "calls of layers in a checkpoint, or where saved tensors are packed otherwise: "
            f"{packed:,}; what these save is let go, and made anew in backward at moments that no "
            "formula knows; what is held in its place is not unpacked, and is a part of "
            "temporaries or of what is unexplained"
        )
    if cast:
        yield (
            f"calls of layers under autocast: {cast:,}; no formula knows the copies in another "
            "dtype that are made and saved there"
        )


def _saved_elsewhere(weighed: Anatomy, compositions: Sequence[Composition]) -> Iterator[str]:
    """Which activations no formula knows, since operators saved them and no innermost layer did."""
    estimated = [each for each in compositions if each["activation"].estimated is not None]
    if not estimated:
        return
    highest = max(estimated, key=lambda each: each.peak)
    layers = {call.layer for call in weighed.calls if call.layer < len(weighed.layers)}
    innermost = {id(weighed.layers[each]) for each in layers}
    by_kind: Counter[str] = Counter()
    for layer, size in highest.layers:
        if id(layer) not in innermost:
            by_kind[layer.kind] += size
    much = [pair for pair in by_kind.most_common(4) if pair[1] > _TOLD * highest.grown]
    if much:
        yield (
            f"of activations in {highest.path} these have no estimate, since functions save them "
            "and not a layer by itself, such as attention, pooling or a loss: "
            + ", ".join(f"{kind} {format_bytes(size)}" for kind, size in much)
        )


def _without_gradient(weighed: Anatomy, compositions: Sequence[Composition]) -> Iterator[str]:
    """Whose gradients nobody expects, since it is not known which parameters are trained."""
    told = [
        each.path
        for each in compositions
        if each.path.endswith("backward") and each["gradient"].estimated is None
    ]
    kinds = Counter(
        weighed.layers[call.layer].kind
        for call in weighed.calls
        if call.layer < len(weighed.layers)
        and weighed.layers[call.layer].parameter
        and not (call.plain or call.cast or call.packed)
    )
    if not told or not weighed.trained or weighed.older:
        return
    if any(call.cast or call.packed for call in weighed.calls):
        yield (
            f"gradients of {', '.join(told)} are not estimated: between the two moments around the "
            "peak backward made more of them than were there at once"
        )
    elif kinds:
        named = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common(5))
        yield (
            f"gradients of {', '.join(told)} are not estimated: it is not known which parameters "
            f"are trained in {named}"
        )


def _untouched(compositions: Sequence[Composition]) -> Iterator[str]:
    """Where parts have memory that was not resident."""
    told = _under_zero(compositions, UNTOUCHED)
    if told:
        yield (
            "parts count what was asked for, and not all of that is resident: nothing had been "
            "written there yet, as in a workspace that oneDNN asks for and does not fill; of "
            f"{', '.join(told)}"
        )
    counted = _under_zero(compositions, UNEXPLAINED)
    if counted:
        yield (
            "the parts add up to more than was resident, and which of them was not all there is "
            f"not known: {', '.join(counted)}"
        )


def _under_zero(compositions: Sequence[Composition], category: str) -> list[str]:
    """The phases in which a part is that far under zero, and how far."""
    sizes = [(each, -(each[category].measured or 0)) for each in compositions]
    return [
        f"{each.path} {format_bytes(size)}" for each, size in sizes if size > _TOLD * each.grown
    ]


def _inside_operators(compositions: Sequence[Composition]) -> Iterator[str]:
    """Where more was held for a moment than what layers are given and return."""
    told = [
        f"{each.path} {format_bytes(residual)}"
        for each in compositions
        if (residual := each["temporary"].residual) is not None and residual > _TOLD * each.grown
    ]
    if told:
        yield (
            "the formulas of temporaries know what layers are given and return, and not what "
            "operators hold inside themselves, such as a convolution's copies in oneDNN's blocks, "
            f"which `timeline breakdown` follows: what they leave is in {', '.join(told)}"
        )


def _returned(compositions: Sequence[Composition], phases: Sequence[WeighedPhase]) -> Iterator[str]:
    """Where variables of the program hold what its models returned."""
    told = [
        f"{format_bytes(phase.returned)} in {each.path}"
        for each, phase in zip(compositions, phases, strict=True)
        if phase.returned > _TOLD * each.grown
    ]
    if told:
        yield (
            f"of temporaries {', '.join(told)} are what models had returned before it began, and "
            "variables of the program still hold, of the step before or of this one"
        )


def _without_backward(weighed: Anatomy, phases: Sequence[WeighedPhase]) -> Iterator[str]:
    """Whose activations nobody saw, or not by which layer they were saved."""
    named = dict.fromkeys(
        f"{each.path} {each.what}".rstrip() for each in phases if is_unwalked(weighed, each)
    )
    if named:
        yield (
            f"no backward of the step goes through {', '.join(named)}: what it keeps for one is "
            "not known, and is a part of temporaries"
        )
    if weighed.older:
        yield (
            "a backward of the step goes through what was computed before it, or in another "
            "thread: of which layers that is, and what it should keep, is not known"
        )


def _torn(compositions: Sequence[Composition], phases: Sequence[WeighedPhase]) -> Iterator[str]:
    """Where a layer's backward had given back a part of what it saved, and had the rest."""
    told = [
        f"{each.path} by {format_bytes(phase.torn)}"
        for each, phase in zip(compositions, phases, strict=True)
        if phase.torn > _TOLD * each.grown and each["activation"].estimated is not None
    ]
    if told:
        yield (
            "the peak was in the midst of a layer's backward, and the estimate of activations is "
            f"of its begin or end: the two moments may differ in {', '.join(told)}"
        )


def _notes(weighed: Anatomy, compositions: Sequence[Composition]) -> list[str]:
    notes = []
    if weighed.before.free == UNKNOWN:
        notes.append("what malloc keeps is not known: this C library does not tell its heap")
    elsewhere = [name for name in weighed.devices if name not in ("cpu", "meta")]
    if elsewhere:
        notes.append(f"tensors on {', '.join(elsewhere)} are no part of host memory")
    highest = max(compositions, key=lambda each: each.peak, default=None)
    notes += _where_it_lies(highest) if highest is not None else ()
    for each in compositions:
        if each.in_heap is not None and each.in_heap < -each.grown // 4:
            notes.append(
                "torch's memory does not come from the C library's heap: what the allocator in its "
                "place keeps is a part of what is unexplained"
            )
            break
    return notes


def _where_it_lies(highest: Composition) -> Iterator[str]:
    """Where much of a peak is unexplained: on the heap or beside it."""
    if (highest[UNEXPLAINED].measured or 0) <= _MUCH * highest.grown:
        return
    much = _TOLD * highest.grown
    if highest.in_heap is not None and highest.in_heap > much:
        yield (
            f"of what is unexplained {format_bytes(highest.in_heap)} are in use on the C library's "
            "heap beyond all tensors that the step has to do with: what else the program's "
            "variables hold, such as batches and what it computes of its model's results, other "
            "objects, and what libraries keep for themselves, such as oneDNN half a MiB for each "
            "shape of a product in bfloat16"
        )
    if highest.outside_heap is not None and highest.outside_heap > much:
        yield (
            f"of what is unexplained {format_bytes(highest.outside_heap)} lie outside the C "
            "library's heap: objects of Python, stacks, and what libraries map for themselves"
        )
