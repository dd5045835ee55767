"""What a weighed step in float32 would hold under autocast to bfloat16, by its graph.

Products are computed in bfloat16, and save their inputs so: what is of float32 is cast for each of
them, weights once. Other operators keep the type that they are given, and where both meet it is
float32. Which operators are cast is in torch's aten/src/ATen/autocast_mode.h, for CPU.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from timeline.analysis.advice.change import Change
from timeline.analysis.advice.moments import ACTIVATION, PARAMETER, Moments
from timeline.analysis.advice.passage import NONE, Passage
from timeline.recording.anatomy import Anatomy

_PRODUCTS = (
    "Addmm", "Baddbmm", "Bmm", "Convolution", "Linear", "Mm", "Mv", "ScaledDotProduct",
)  # fmt: skip
_FLOAT = (
    "BinaryCrossEntropy", "CrossEntropy", "Huber", "KlDiv", "L1Loss", "LogSoftmax", "Mse", "Nll",
    "Prod", "SmoothL1", "SoftMarginLoss",
)  # fmt: skip
_NORMS = ("Native", "Cudnn", "Prelu", "FusedRms")
"""Of these the result is of the input's type, whatever the parameters are."""

_UNKNOWN = ("Mkldnn", "Thnn", "Cudnn")
"""What these save under autocast nobody can tell from their class."""

_FULL, _HALF = 4, 2


def to_bfloat16(weighed: Anatomy, moments: Moments, passage: Passage) -> Iterator[Change]:
    """The same step with forward and loss under autocast."""
    nodes = passage.nodes
    if not _is_for(weighed, passage) or is_untold(weighed, passage):
        return
    half = _halves(passage)
    course = moments.total.copy()
    lives = moments.course.lives
    savers: dict[int, list[int]] = {}
    for number, node in enumerate(nodes):
        for life in node.saves:
            savers.setdefault(life, []).append(number)
    sizes = [0] * len(lives)
    copied: list[int] = []
    for life, those in savers.items():
        each = lives[life]
        casts = [number for number in those if nodes[number].kind.startswith(_PRODUCTS)]
        if each.category == PARAMETER:
            if casts:
                copied.append(life)
        elif each.category == ACTIVATION:
            sizes[life] = _saving(life, those, casts, passage, half)
        elif casts:  # an input
            stands = passage.stands(casts[0], 0)
            course += np.where(stands & ~moments.whether("optimizer"), each.size // 2, 0)
    course -= moments.gone(sizes)
    from_ = _made_from(passage)
    ticks = np.arange(moments.count)
    for life in copied:
        first = savers[life][0]
        stands = (ticks >= from_[first]) & passage.stands(first, NONE)
        course += np.where(stands & ~moments.whether("optimizer"), lives[life].size // 2, 0)
    course -= _passing(moments, passage, half)
    yield Change(
        "bf16",
        "autocast to bfloat16: with torch.autocast(device, dtype=torch.bfloat16) around forward "
        "and loss",
        "8 bits of precision in the results of products",
        course,
    )


def _is_for(weighed: Anatomy, passage: Passage) -> bool:
    """Whether the step is a training whose products are all in float32.

    Autocast leaves float64 and complex numbers as they are.
    """
    nodes = passage.nodes
    if not weighed.step or any(each.element == _HALF for each in nodes):
        return False
    return {each.element for each in nodes if each.kind.startswith(_PRODUCTS)} == {_FULL}


def is_untold(weighed: Anatomy, passage: Passage) -> bool:
    """Whether autocast might save something that the graph does not tell."""
    unknown = any(each.kind.startswith(_UNKNOWN) for each in passage.nodes)
    return _is_for(weighed, passage) and (passage.hides or unknown)


def _halves(passage: Passage) -> list[bool]:
    """Of each node, whether its result would be of bfloat16."""
    half: list[bool] = []
    for node in passage.nodes:
        if node.kind.startswith(_PRODUCTS):
            half.append(True)
        elif node.element != _FULL or node.kind.startswith((*_FLOAT, "Embedding")):
            half.append(False)
        else:
            before = node.before
            if node.kind.startswith(_NORMS):
                before = tuple(each for each in before if each >= 0)
            half.append(bool(before) and all(each >= 0 and half[each] for each in before))
    return half


def _saving(
    life: int, savers: list[int], casts: list[int], passage: Passage, half: list[bool]
) -> int:
    """What a saved storage would be smaller by; under 0 where copies of it are larger."""
    size = passage.lives[life].size
    if _type_of(life, savers[0], passage, half):
        return size // 2
    if not casts:
        return 0
    # A copy for each product; the storage itself stays where another saves it, too.
    there = 0 if len(casts) == len(savers) else size
    return size - there - len(casts) * (size // 2)


def _type_of(life: int, saver: int, passage: Passage, half: list[bool]) -> bool:
    """Whether a saved storage would be of bfloat16 on its own."""
    size = passage.lives[life].size
    node = passage.nodes[saver]
    before = [each for each in node.before if each >= 0]
    same = [each for each in before if passage.bytes_of(each) == size]
    if node.kind.startswith(_PRODUCTS) or same:
        return bool(same or before) and all(half[each] for each in (same or before))
    return half[saver] and passage.bytes_of(saver) == size


def _made_from(passage: Passage) -> list[int]:
    """Of each node the first tick by which it was made, as far as what was saved tells."""
    found = [0] * len(passage.nodes)
    latest = 0
    for number, node in enumerate(passage.nodes):
        own = [passage.lives[i] for i in node.saves if passage.saver[i] == number]
        ticks = [each.first for each in own if each.category == ACTIVATION]
        latest = max([latest, *ticks])
        found[number] = latest
    return found


def _passing(moments: Moments, passage: Passage, half: list[bool]) -> npt.NDArray[np.int64]:
    """Of gradients under way, half where all nodes that backward is at are of bfloat16."""
    found = np.zeros(moments.count, np.int64)
    backward = moments.whether("backward")
    for i in np.flatnonzero(backward):
        at = passage.at(int(i))
        if at and all(half[number] for number in at):
            found[i] = moments.passing[i] // 2
    return found
