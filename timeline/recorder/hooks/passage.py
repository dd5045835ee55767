"""What the backwards of a weighed step go through: whose nodes these are, and what they save."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from timeline.recorder.hooks.graph import held_by, nodes_of
from timeline.recorder.hooks.pieces import ACTIVATION, NEVER, Pieces, tensors_in
from timeline.recording.weighed.facts import NO_LAYER, OLDER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from timeline.recorder.hooks.given import Given

MOST_NODES = 20_000
"""Of a graph's nodes so many are noted, with what they go on to."""

Node = tuple[int, str, int, tuple[int, ...], int, list[int]]
"""The number, class and layer of a node, the shape and dtype (by number) of its output, and the
numbers of the nodes that it goes on to."""


class Call:
    """A phase of the weighed step.

    Attributes:
        path, what, number: its name, and its number in the recording.
        begin, end: the number of its first tick, and of the first one after it.
        turn: how many backwards had ended before it began.
        first, last: the number of the first call of a layer in it, and of the first one after it.
        after: the number of the first node of autograd after it.
        stood: by layer, the bytes of its parameters that had a gradient as it began.
        walked: of a model's call, the turns whose backward goes through it.
    """

    __slots__ = (
        "after", "begin", "end", "first", "last", "number", "path", "stood", "turn", "walked",
        "what",
    )  # fmt: skip

    def __init__(self, path: str, what: str, number: int) -> None:
        self.path = path
        self.what = what
        self.number = number
        self.begin = self.end = 0
        self.turn = 0
        self.first = self.last = 0
        self.after = NEVER
        self.stood: dict[int, int] = {}
        self.walked: list[int] = []


class Passage:
    """Knows by autograd's running number which layer made a node, and in which call.

    Attributes:
        older: the turns whose backward goes through what was there before the step.
        nodes: of autograd's, by number.
        notes: a sentence for what could not be seen.
    """

    def __init__(self, pieces: Pieces, given: Given, sequence: Callable[[], int]) -> None:
        """``sequence`` gives the number that the next node of autograd gets."""
        self._pieces = pieces
        self._given = given
        self._sequence = sequence
        self.older: list[int] = []
        self.nodes: dict[int, Node] = {}
        self._dtypes: dict[Any, int] = {}
        self.notes: list[str] = []
        # From this node on, this layer.
        self._from, self._layers = [-1, sequence()], [OLDER, NO_LAYER]
        self._models: list[Call] = []
        self._models_from: list[int] = []  # the number of the first node that each may make

    @property
    def dtypes(self) -> list[tuple[str, int]]:
        """By number."""
        return [(str(each).removeprefix("torch."), each.itemsize) for each in self._dtypes]

    def in_layer(self, layer: int) -> None:
        """Nodes that are made from here on are this layer's."""
        self._from.append(self._sequence())
        self._layers.append(layer)

    def model_called(self, call: Call) -> None:
        """A model or a loss is called."""
        self._models.append(call)
        self._models_from.append(self._sequence())

    def walk(self, roots: Any) -> None:
        """Backward begins from these: see what their graph holds for it."""
        numbers: dict[int, int] = {}
        links: list[tuple[list[int], list[Any]]] = []
        add, known, dtypes = self._pieces.add, self.nodes, self._dtypes
        try:
            for node, before in nodes_of(tensors_in(roots)):
                number = numbers[id(node)] = node._sequence_nr()
                layer = self._layers[bisect_right(self._from, number) - 1]
                self._walked(number, older=layer == OLDER)
                for tensor in held_by(node):
                    add(tensor, ACTIVATION, layer, number)
                if number in known or len(known) >= MOST_NODES:
                    continue
                shape, dtype = _output_of(node)
                which = dtypes.setdefault(dtype, len(dtypes)) if dtype is not None else -1
                places: list[int] = []
                known[number] = number, type(node).__name__, layer, shape, which, places
                links.append((places, before))
        except AttributeError as error:
            self.notes.append(f"activations: this torch does not tell what a graph holds ({error})")
        for place, those in links:
            place += [numbers.get(id(each), NO_LAYER) for each in those]

    def _walked(self, number: int, *, older: bool) -> None:
        """The backward that begins goes through this node."""
        turn = self._given.turn
        if older:
            if turn not in self.older:
                self.older.append(turn)
            return
        self._given.walk(number)
        place = bisect_right(self._models_from, number) - 1
        if place >= 0 and number < self._models[place].after:
            turns = self._models[place].walked
            if not turns or turns[-1] != turn:
                turns.append(turn)


def _output_of(node: Any) -> tuple[tuple[int, ...], Any]:
    """The shape and dtype of what a node's operator returned; None where they are not known."""
    told = node._input_metadata
    try:
        return (tuple(map(int, told[0].shape)), told[0].dtype) if told else ((), None)
    except (RuntimeError, TypeError):  # of a nested tensor
        return (), None
