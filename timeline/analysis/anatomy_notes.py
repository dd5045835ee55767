"""What to know about the parts of the peaks: a sentence for each thing, and none for a trifle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from timeline.analysis.composition import UNEXPLAINED, UNTOUCHED, Composition
from timeline.analysis.expected import is_unwalked
from timeline.analysis.formula_notes import (
    TOLD,
    inside_operators,
    saved_elsewhere,
    torn,
    without_formula,
    without_gradient,
)
from timeline.analysis.models import of_one_class
from timeline.analysis.types import Instances
from timeline.recording.anatomy import Anatomy, WeighedPhase
from timeline.recording.types import UNKNOWN
from timeline.units import format_bytes

_MUCH = 0.05
"""Of the growth: a larger unexplained part needs a sentence on where it lies."""


def noted(
    weighed: Anatomy,
    compositions: Sequence[Composition],
    phases: Sequence[WeighedPhase],
    peak: int,
    instances: Instances,
    step: tuple[int, int],
) -> tuple[str, ...]:
    """The sentences on a weighed step, in the order in which they are shown.

    Args:
        weighed: the step.
        compositions: the peaks of its phases, taken apart.
        phases: as they were weighed, one for each of those.
        peak: the highest of all phases of the run; bytes.
        instances: of the run.
        step: when the weighed one began and ended, in ns since the run's begin.
    """
    return (
        *filter(None, (weighed.coarse,)),
        *_raised(compositions, peak, instances, step),
        *_higher(compositions),
        *of_one_class(weighed),
        *_untouched(compositions),
        *without_formula(weighed),
        *saved_elsewhere(weighed, compositions),
        *without_gradient(weighed, compositions),
        *inside_operators(compositions),
        *_returned(compositions, phases),
        *_without_backward(weighed, phases),
        *torn(compositions, phases),
        *_surroundings(weighed, compositions),
    )


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
        if above > TOLD * each.grown:
            yield (
                f"the highest {each.path} is the weighed one, {format_bytes(above)} above all "
                "after it: what weighing notes lies on the same heap, and may have raised it"
            )


def _higher(compositions: Sequence[Composition]) -> Iterator[str]:
    """Where another step went above the weighed one, which alone was taken apart."""
    kept = [
        f"{format_bytes(each.later.kept)} in {each.path}"
        for each in compositions
        if each.later.kept > TOLD * each.grown
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
        if each.unweighed > TOLD * each.grown
    ]
    if told:
        yield (
            f'of "unexplained" {", ".join(told)} is by how much another step peaked higher than '
            "the weighed one, which alone was taken apart"
        )
    most = max(compositions, key=lambda each: each.later.held, default=None)
    if most is not None and most.later.held > TOLD * most.grown:
        yield (
            f"of that {format_bytes(most.later.held)} in {most.path} was in use beside the "
            "phase, too: what the program had come to hold since the weighed step, such as a "
            "list that grows"
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
    return [f"{each.path} {format_bytes(size)}" for each, size in sizes if size > TOLD * each.grown]


def _returned(compositions: Sequence[Composition], phases: Sequence[WeighedPhase]) -> Iterator[str]:
    """Where variables of the program hold what its models returned."""
    told = [
        f"{format_bytes(phase.returned)} in {each.path}"
        for each, phase in zip(compositions, phases, strict=True)
        if phase.returned > TOLD * each.grown
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


def _surroundings(weighed: Anatomy, compositions: Sequence[Composition]) -> list[str]:
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
    much = TOLD * highest.grown
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
