"""What the formulas of layers could not know of a weighed step: a sentence for each thing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from timeline.analysis.composition import Composition
from timeline.analysis.formulas import Turn
from timeline.recording.anatomy import Anatomy, WeighedPhase
from timeline.recording.weighed.facts import MOST_GIVEN
from timeline.units import format_bytes

TOLD = 0.01
"""Of the growth: a smaller difference between the weighed step and others needs no sentence."""


def without_formula(weighed: Anatomy) -> Iterator[str]:
    """Which layers are not in the estimate of activations and temporaries."""
    if weighed.coarse:  # which says so by itself
        return
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


def saved_elsewhere(weighed: Anatomy, compositions: Sequence[Composition]) -> Iterator[str]:
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
    much = [pair for pair in by_kind.most_common(4) if pair[1] > TOLD * highest.grown]
    if much:
        yield (
            f"of activations in {highest.path} these have no estimate, since functions save them "
            "and not a layer by itself, such as attention, pooling or a loss: "
            + ", ".join(f"{kind} {format_bytes(size)}" for kind, size in much)
        )


def without_gradient(weighed: Anatomy, compositions: Sequence[Composition]) -> Iterator[str]:
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


def inside_operators(compositions: Sequence[Composition]) -> Iterator[str]:
    """Where more was held for a moment than what layers are given and return."""
    told = [
        f"{each.path} {format_bytes(residual)}"
        for each in compositions
        if (residual := each["temporary"].residual) is not None and residual > TOLD * each.grown
    ]
    if told:
        yield (
            "the formulas of temporaries know what layers are given and return, and not what "
            "operators hold inside themselves, such as a convolution's copies in oneDNN's blocks, "
            f"which `timeline breakdown` follows: what they leave is in {', '.join(told)}"
        )


def torn(compositions: Sequence[Composition], phases: Sequence[WeighedPhase]) -> Iterator[str]:
    """Where a layer's backward had given back a part of what it saved, and had the rest."""
    told = [
        f"{each.path} by {format_bytes(phase.torn)}"
        for each, phase in zip(compositions, phases, strict=True)
        if phase.torn > TOLD * each.grown and each["activation"].estimated is not None
    ]
    if told:
        yield (
            "the peak was in the midst of a layer's backward, and the estimate of activations is "
            f"of its begin or end: the two moments may differ in {', '.join(told)}"
        )
