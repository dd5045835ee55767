"""Changes of a step as a whole: its batch, its optimizer, its gradients, or no training at all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from timeline.analysis.advice.change import Change
from timeline.analysis.advice.moments import (
    ACTIVATION,
    BUFFER,
    GRADIENT,
    INPUT,
    PARAMETER,
    STATE,
    TEMPORARY,
    Bytes,
    Moments,
)
from timeline.analysis.advice.passage import Passage
from timeline.recording.anatomy import Anatomy, Trained
from timeline.recording.course import Span
from timeline.theory.advice_words import INFERENCE, INFERENCE_COSTS
from timeline.theory.advice_words import smaller_batch as smaller_batch_words

OF_KERAS = "keras."
"""Begins the names of Keras's optimizers."""

_AGREES = 0.1
"""A rule of what an optimizer holds for a moment is asked where it is no further off than that."""

_FUSED = ("Adam", "AdamW", "SGD")
"""Those whose fused way on a CPU holds nothing beside (torch 2.14)."""

_BY_BATCH = ("BatchNorm", "SyncBatchNorm", "LazyBatchNorm")
"""Classes of layers that normalise by their batch."""


def smaller_batch(weighed: Anatomy, moments: Moments, passage: Passage) -> Iterator[Change]:
    """Half of what goes with the batch."""
    size = moments.course.batch
    if size < 2:
        return
    passing = np.maximum(moments.passing - passage.of_parameters(weighed), 0)
    of_batch = [
        each.size
        if each.category in (ACTIVATION, INPUT, TEMPORARY) and life not in passage.casts
        else 0
        for life, each in enumerate(moments.course.lives)
    ]
    with_it = moments.sums(of_batch) + passing
    gone = with_it * (size - size // 2) // size
    yield Change(
        "batch",
        smaller_batch_words(
            size,
            train=weighed.step > 0,
            normalised=_normalises(weighed, passage),
            gathered=_gathered(moments.course.spans),
        ),
        "twice as many passes",
        moments.total - gone,
    )


def _normalises(weighed: Anatomy, passage: Passage) -> bool:
    """Whether anything took means over its batch, by the graph and by the layers' classes.

    Not what stood in eval(). Normalising by instance goes through the same operator of torch.
    """
    kinds = {i: each.kind for i, each in enumerate(weighed.layers) if each.calls}
    by_batch = {i for i, kind in kinds.items() if kind.startswith(_BY_BATCH)}
    by_batch |= {
        each.layer
        for each in passage.nodes
        if "BatchNorm" in each.kind and "InstanceNorm" not in kinds.get(each.layer, "")
    }
    return any(weighed.settings.get(each, {}).get("training") is not False for each in by_batch)


def _gathered(spans: tuple[Span, ...]) -> int:
    """How many batches an optimizer's step adds up: backwards, each after a forward of its own.

    1 where one step of an optimizer adds up more than another, as those of a GAN may.
    """
    found = set()
    forwards = backwards = 0
    for each in sorted(spans, key=lambda each: each.first):
        forwards += each.path.endswith("forward")
        backwards += each.path.endswith("backward")
        if each.path.endswith("optimizer") and backwards:
            found.add(backwards if forwards >= backwards else 1)
            forwards = backwards = 0
    return found.pop() if len(found) == 1 else 1


def other_optimizers(weighed: Anatomy, moments: Moments) -> Iterator[Change]:
    """One with less state, and the same one in another way."""
    groups = weighed.trained
    if len({each.optimizer for each in groups}) != 1:
        return
    now = groups[0]
    if now.optimizer.startswith(OF_KERAS):
        return  # what another one of Keras's holds in its step is not known
    adaptive = now.optimizer != "SGD"
    copy = _bytes(groups)
    if adaptive:
        yield _with_state(
            moments, "sgd,momentum=0.9", copy, "other convergence: a new learning rate"
        )
    if adaptive or any(each.options.get("momentum") for each in groups):
        yield _with_state(moments, "sgd,momentum=0", 0, "other convergence")
    yield from _other_ways(moments, groups)


def _bytes(groups: tuple[Trained, ...]) -> int:
    return sum(numbers * size for each in groups for numbers, size in each.sizes)


def _with_state(moments: Moments, text: str, state: int, costs: str) -> Change:
    """SGD, whose loop over parameters writes in place and holds nothing beside."""
    there = moments.of(STATE)
    course = moments.total - there + np.where(there > 0, state, 0)
    stepping = moments.whether("optimizer")
    course[stepping] -= (moments.loose + moments.rise - moments.made)[stepping]
    return Change("optimizer", f"the optimizer {text}", costs, course)


def _other_ways(moments: Moments, groups: tuple[Trained, ...]) -> Iterator[Change]:
    name, options = groups[0].optimizer, groups[0].options
    stepping = moments.whether("optimizer")
    if name not in _FUSED or not stepping.any():
        return
    way = "fused" if options.get("fused") else "foreach" if options.get("foreach") else "loop"
    beside = moments.loose + moments.rise - moments.made
    measured = int(beside[stepping].max())
    known = _beside(groups, way)
    if abs(measured - known) > _AGREES * max(measured, known):
        return
    for text, other, costs in (
        ("fused=True", "fused", "nothing"),
        ("foreach=False", "loop", "some time a step"),
    ):
        if other == way or (way == "fused" and other == "loop"):
            continue
        course = moments.total.copy()
        course[stepping] += _beside(groups, other) - beside[stepping]
        yield Change("optimizer_kernel", f"{name} with {text}", costs, course)


def _beside(groups: tuple[Trained, ...], way: str) -> int:
    """What a step holds beside state and gradients at most, by what torch.optim does in each way.

    A loop's variables stand until they are assigned anew: the root of one parameter's second moment
    while the next one's is made.
    """
    if way == "fused":
        return 0
    most = 0
    for each in groups:
        adam = each.optimizer != "SGD"
        # AdamW shrinks the parameter itself; the others add it to a copy of the gradient.
        copied = each.options.get("maximize", False) + (
            each.options.get("weight_decay", False) and each.optimizer != "AdamW"
        )
        sizes = [numbers * size for numbers, size in each.sizes]
        if way == "foreach":
            most = max(most, sum(sizes) * (min(copied, 1) + adam))
            continue
        before = 0
        for size in sizes:
            held = size * min(copied, 1)
            if adam:
                held += before + 2 * size
            elif copied and each.options.get("nesterov"):
                held += size
            most = max(most, held)
            before = size
    return most


def gradients_gone(weighed: Anatomy, moments: Moments, passage: Passage) -> Iterator[Change]:
    """Gradients that stand through forward, though a backward of the same step makes them anew."""
    lives = moments.course.lives
    standing = [each for each in lives if each.category == GRADIENT and each.first <= 0]
    if not standing or not passage.backwards:
        return
    gone: Bytes = np.zeros(moments.count, np.int64)
    kept = False
    for each in standing:
        if each.layer not in passage.of_layer:
            return  # whose backward that is nobody knows
        until = _made_anew(each.layer, weighed, passage)
        # In the moment before, the new one is added and goes: what comes after it there is hidden
        # below it, and would stand on top of it where it stays. So nothing is promised of that one.
        gone[each.first : min(until - 1, each.last)] += each.size
        kept |= each.last > until
    what = (
        "zero_grad(set_to_none=True), as is the default, instead of zeros"
        if kept
        else "zero_grad() before the step's first forward, not later"
    )
    yield Change("set_to_none", what, "nothing", moments.total - gone)


def _made_anew(layer: int, weighed: Anatomy, passage: Passage) -> int:
    """The first tick at which the step's own gradient of a layer is there.

    What saves an input or a weight alone, such as an embedding, leaves no trace as its backward is
    done. The end of the first backward that goes through the layer is the latest that it can be.
    """
    turns = {turn for call in weighed.calls if call.layer == layer for turn in call.turns}
    through = [each for each in passage.backwards if each.turn in turns] or passage.backwards
    first, last = through[0].first, through[0].last
    made = passage.done[first : last + 1] <= passage.of_layer[layer][0]
    return first + int(np.argmax(made)) if made.any() else last


def inference(weighed: Anatomy, moments: Moments, passage: Passage) -> Iterator[Change]:
    """Parameters, buffers, inputs, and what forward passes on."""
    if not weighed.step or passage.hides:
        return
    passed = passage.passed_on(weighed)
    if not passed:
        return  # of a model without layers: nobody knows what is its and what the loss's
    # What it returned the last time a program has until it returns again.
    begins = [each.first for each in moments.course.spans if each.path.endswith("forward")]
    kept = max((int(moments.of(TEMPORARY)[each]) for each in begins), default=0)
    stands = int(moments.of(PARAMETER, BUFFER, INPUT).max()) + kept
    yield Change(
        "inference_mode",
        INFERENCE,
        INFERENCE_COSTS,
        np.array([stands + passed], np.int64),
    )
