"""How far a weighed step's backward had come at each moment, by the graph that it went through.

A backward goes from the last node to the first, and a storage goes when the first node that saves
it is done. So what went tells how far it is, however much of the rest the program itself holds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from functools import cached_property
from math import prod

import numpy as np
import numpy.typing as npt

from timeline.analysis.advice.moments import ACTIVATION, GRADIENT, Bytes, Moments
from timeline.recording.anatomy import Anatomy
from timeline.recording.format import SIZE_LIMIT

NONE = -1

_COPIES = ("CopyBackwards", "CopySlices")

VIEWS = (
    "Alias", "AsStrided", "Detach", "Diagonal", "Expand", "Narrow", "Permute", "Reshape", "Select",
    "Slice", "Split", "Squeeze", "TBackward", "Transpose", "Unbind", "Unfold", "UnsafeSplit",
    "UnsafeView", "Unsqueeze", "View",
)  # fmt: skip
"""Nodes of operators that return what they are given in another shape."""


class Passage:
    """The nodes of a step's graph, and the moments in which backward goes through them.

    Attributes:
        nodes: as they were noted, in the order in which they were made.
        lives: the storages.
        backwards: the spans of backwards, in the order of time.
        saver: of each storage the first node that saves it, `NONE` where none does.
        savers: how many save it.
        done: at each moment the first node whose backward was done as it began; in backward alone,
            elsewhere the number of nodes.
        doing: the same as the moment ended.
    """

    def __init__(self, moments: Moments) -> None:
        course = moments.course
        self.nodes = course.nodes
        self.lives = course.lives
        self._moments = moments
        self.saver = [NONE] * len(course.lives)
        self.savers = [0] * len(course.lives)
        for number in range(len(self.nodes) - 1, -1, -1):
            for each in self.nodes[number].saves:
                self.saver[each] = number
                self.savers[each] += 1
        everything = len(self.nodes)
        self.done = np.full(moments.count, everything, np.int64)
        went: dict[int, int] = {}
        for life, node in zip(course.lives, self.saver, strict=True):
            if node != NONE and life.category == ACTIVATION:
                went[life.last] = min(node, went.get(life.last, everything))
        backwards = [each for each in course.spans if each.path.endswith("backward")]
        self.backwards = sorted(backwards, key=lambda each: each.first)
        for span in self.backwards:
            # Of several forwards in a step the later ones are not there yet.
            made = [
                node
                for life, node in zip(course.lives, self.saver, strict=True)
                if life.first <= span.first
            ]
            lowest = max(made, default=NONE) + 1
            for i in range(span.first, span.last + 1):
                if i > span.first:
                    lowest = min(lowest, went.get(i, everything))
                self.done[i] = lowest
        self.doing = self.done.copy()
        for span in self.backwards:
            # As it ends all that it went through is done.
            self.doing[span.first : span.last] = self.done[span.first + 1 : span.last + 1]
            self.doing[span.last] = 0

    @cached_property
    def hides(self) -> bool:
        """Whether a node is of a function of somebody's own, inside which operators leave no nodes.

        Such as a compiled one, or a reentrant checkpoint; torch's own are numbered, but for copies.
        """
        kinds = {each.kind for each in self.nodes} - set(_COPIES)
        return any(not each[-1:].isdigit() for each in kinds)

    def at(self, moment: int) -> range:
        """The nodes that backward went through in a moment of it.

        A tick comes where a node has given back what it saved, before the next one begins; of a
        moment that ended otherwise, the next that saves anything.
        """
        low, high = int(self.doing[moment]), int(self.done[moment])
        if low == high and low:
            low = max(bisect_left(self._saving, high) - 1, 0)
            low = self._saving[low] if self._saving else 0
        return range(min(low, high), high)

    @cached_property
    def _saving(self) -> list[int]:
        return [number for number, node in enumerate(self.nodes) if node.saves]

    @cached_property
    def of_layer(self) -> dict[int, list[int]]:
        """By layer, its nodes."""
        found: dict[int, list[int]] = {}
        for number, node in enumerate(self.nodes):
            found.setdefault(node.layer, []).append(number)
        return found

    @cached_property
    def after(self) -> list[list[int]]:
        """Of each node those that are made of its result."""
        found: list[list[int]] = [[] for _ in self.nodes]
        for number, node in enumerate(self.nodes):
            for each in node.before:
                if each >= 0:
                    found[each].append(number)
        return found

    def of_parameters(self, weighed: Anatomy) -> Bytes:
        """At each moment of backward, what stands beside for gradients of parameters alone.

        Where a layer's gradient stood before, the new one stands until it is added; and the one of
        a convolution is copied out of the order that oneDNN computes it in.
        """
        found = np.zeros(self._moments.count, np.int64)
        for span in self.backwards:
            stood = {
                each.layer
                for each in self.lives
                if each.category == GRADIENT and each.first <= span.first < each.last
            }
            for i in range(span.first, span.last + 1):
                for node in map(self.nodes.__getitem__, self.at(i)):
                    if 0 <= node.layer < len(weighed.layers):
                        times = (node.layer in stood) + node.kind.startswith("Convolution")
                        size = weighed.layers[node.layer].parameter * times
                        found[i] = max(int(found[i]), size)
        return found

    def bytes_of(self, number: int) -> int:
        """Of a node's result."""
        node = self.nodes[number]
        return min(prod(node.shape) * node.element, SIZE_LIMIT)

    def stands(self, number: int, call: int) -> npt.NDArray[np.bool_]:
        """The moments from a call of a layer on to the end of a node's backward."""
        begun = self._moments.called >= call
        backward = self._moments.whether("backward")
        return begun & (~backward | (self.done > number))

    @cached_property
    def casts(self) -> frozenset[int]:
        """The storages that are saved copies of parameters in another type, as under autocast."""
        found = set()
        for node in self.nodes:
            for each in node.before:
                size = self.bytes_of(each) if each >= 0 else 0
                while each >= 0 and self.nodes[each].kind.startswith(VIEWS):
                    each = next(iter(self.nodes[each].before), NONE)
                if each >= 0 and self._is_cast(each):
                    # Of two of one size the product's second factor.
                    found.update(
                        [life for life in node.saves if self.lives[life].size == size][-1:]
                    )
        return frozenset(found)

    def _is_cast(self, number: int) -> bool:
        """Whether a node's result is a copy of a parameter in another type."""
        node = self.nodes[number]
        return node.kind.startswith("ToCopy") and all(each < 0 for each in node.before)

    def passed_on(self, weighed: Anatomy) -> int:
        """The most that forward holds of its own results where none is saved for backward.

        Each stands until the last node that is made of it, and what a module was called with until
        it returns, since the call has it. A view is what it was made of, and so is
        what a layer in place, or a dropout that does nothing, returns. A loss is none of it. Copies
        of parameters that autocast has made stay to its end. What a convolution took inside itself
        in training it takes here, too.
        """
        inside = self._inside_convolutions(weighed)
        everything = [i for i, node in enumerate(self.nodes) if not _is_loss(node.layer, weighed)]
        source = [NONE] * len(self.nodes)
        for number in everything:
            source[number] = self._source(number, weighed)
        for number in everything:
            if source[number] not in (NONE, number):
                source[number] = source[source[number]]
        last = list(range(len(self.nodes)))
        for number in everything:
            for each in self.nodes[number].before:
                if each >= 0 and source[each] != NONE:
                    last[source[each]] = number
        for first, final in self._calls_around(weighed):
            for each in self.nodes[first].before:
                if each >= 0 and source[each] != NONE:
                    last[source[each]] = max(last[source[each]], final)
        ends: dict[int, int] = {}
        held = most = sum(self.bytes_of(each) for each in everything if self._is_cast(each))
        for number in everything:
            if source[number] == number:
                size = self.bytes_of(number)
                held += size
                ends[last[number]] = ends.get(last[number], 0) + size
            most = max(most, held + inside.get(number, 0))
            held -= ends.pop(number, 0)
        return most

    def _calls_around(self, weighed: Anatomy) -> Iterator[tuple[int, int]]:
        """Of modules with others inside that were called once, the first and the last node."""
        spans: dict[str, tuple[int, int]] = {}
        for i, layer in enumerate(weighed.layers):
            nodes = self.of_layer.get(i, ())
            if not nodes:
                continue
            name, first, final = layer.name, min(nodes), max(nodes)
            while name:
                known = spans.get(name, (first, final))
                spans[name] = min(first, known[0]), max(final, known[1])
                name = name.rpartition(".")[0]
        for layer in weighed.layers:
            if layer.calls == 1 and layer.name in spans:
                yield spans[layer.name]

    def _inside_convolutions(self, weighed: Anatomy) -> dict[int, int]:
        """By node, the bytes that a convolution took in forward and gave back before its end.

        Told of the moments in which nothing else was called.
        """
        moments = self._moments
        calls = weighed.calls
        held = np.array([each or 0 for each in moments.course.held], np.int64)
        found: dict[int, int] = {}
        for i in np.flatnonzero(moments.whether("forward"))[:-1].tolist():
            call = int(moments.called[i])
            if not 0 <= call < len(calls) or call - int(moments.course.call[i]) > 1:
                continue
            given_back = int(moments.rise[i]) - max(int(held[i + 1] - held[i]), 0)
            for number in self.of_layer.get(calls[call].layer, ()):
                if given_back > 0 and self.nodes[number].kind.startswith("Convolution"):
                    found[number] = max(given_back, found.get(number, 0))
        return found

    def _source(self, number: int, weighed: Anatomy) -> int:
        """The node whose result a node's result is, or is a view of; `NONE` for a parameter."""
        node = self.nodes[number]
        before = [each for each in node.before if each >= 0]
        if node.kind.startswith(VIEWS):
            return before[0] if before else NONE
        if self._is_cast(number):
            return NONE
        settings = weighed.settings.get(node.layer, {})
        kind = weighed.layers[node.layer].kind
        if before and (
            settings.get("inplace") is True
            or kind.startswith("Dropout")
            # Without gradients a bias is added in place (aten/src/ATen/native/Linear.cpp).
            or (kind == "Linear" and node.kind.startswith("AddBackward"))
        ):
            return before[0]
        return number


def _is_loss(layer: int, weighed: Anatomy) -> bool:
    """Whether a node is of no layer, or of one that a model does not need to predict."""
    if not 0 <= layer < len(weighed.layers):
        return True
    return not weighed.layers[layer].kind or weighed.layers[layer].kind.lower().endswith("loss")
