"""How far a weighed step's backward had come at each moment, by the graph that it went through.

A backward goes from the last node to the first, and a storage goes when the first node that saves
it is done. So what went tells how far it is, however much of the rest the program itself holds.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from timeline.analysis.moments import ACTIVATION, Bytes, Moments

NONE = -1


class Passage:
    """The nodes of a step's graph, and the moments in which backward goes through them.

    Attributes:
        nodes: as they were noted, in the order in which they were made.
        saver: of each storage the first node that saves it, `NONE` where none does.
        done: at each moment the first node whose backward was done as it began; in backward alone,
            elsewhere the number of nodes.
        doing: the same as the moment ended.
    """

    def __init__(self, moments: Moments) -> None:
        course = moments.course
        self.nodes = course.nodes
        self._moments = moments
        self.saver = [NONE] * len(course.lives)
        for number in range(len(self.nodes) - 1, -1, -1):
            for each in self.nodes[number].saves:
                self.saver[each] = number
        everything = len(self.nodes)
        self.done = np.full(moments.count, everything, np.int64)
        went: dict[int, int] = {}
        for life, node in zip(course.lives, self.saver, strict=True):
            if node != NONE and life.category == ACTIVATION:
                went[life.last] = min(node, went.get(life.last, everything))
        for span in course.spans:
            if not span.path.endswith("backward"):
                continue
            lowest = everything
            for i in range(span.first, span.last + 1):
                if i > span.first:
                    lowest = min(lowest, went.get(i, everything))
                self.done[i] = lowest
        self.doing = self.done.copy()
        for span in course.spans:
            if span.path.endswith("backward"):
                # As it ends all that it went through is done.
                self.doing[span.first : span.last] = self.done[span.first + 1 : span.last + 1]
                self.doing[span.last] = 0

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

    def bytes_of(self, number: int) -> int:
        """Of a node's result."""
        node = self.nodes[number]
        return int(np.prod(node.shape, dtype=np.int64)) * node.element

    def stands(self, number: int, calls: Bytes, call: int) -> npt.NDArray[np.bool_]:
        """The moments from a call of a layer on to the end of a node's backward."""
        begun = calls >= call
        backward = self._moments.whether("backward")
        return begun & (~backward | (self.done > number))
