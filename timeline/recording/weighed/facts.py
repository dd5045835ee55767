"""The lists of ``weighed.json``, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MOMENT = ("t", "rss", "high", "file", "in_use", "free", "heap")
"""What is read together at a tick, in this order."""

CATEGORIES = (
    "parameter", "buffer", "gradient", "optimizer_state", "activation", "input", "temporary",
)  # fmt: skip
"""What memory of tensors is for, in the order in which every view shows it. Pieces tell theirs by
its place here."""

PLAIN, CAST, PACKED = 1, 2, 3
"""How a layer is called: as formulas are for, under autocast, or where what is saved is packed, as
in a checkpoint; 0 in another way. In the latter two all its parameters are trained."""

NO_LAYER = -1
"""Outside every module."""

OLDER = -2
"""Before the step, or in another thread: whose it is nobody saw."""

UNKNOWN = -1

MOST_GIVEN = 5000
"""Calls of layers in a step; of one with more, nothing is estimated."""

SAME_PEAK = 256 << 10
"""Stretches that went within so many bytes as high have the same peak: resident memory often stays
where it is while what it holds changes."""


class Tick:
    """One moment of a weighed step.

    Attributes:
        read: by the names of `MOMENT`; bytes, -1 for what is not known.
        t: of it the time.
        sequence: the number that the next node of autograd got.
        held, most: bytes that torch's allocator had given more than at the stretch's first tick,
            and the most of that since the tick before; None where it was not told.
    """

    __slots__ = ("held", "most", "read", "sequence", "t")

    def __init__(self, row: Sequence[Any]) -> None:
        *moment, self.sequence, self.held, self.most = row
        self.read: dict[str, int] = dict(zip(MOMENT, moment, strict=True))
        self.t: int = self.read["t"]


class Piece:
    """One storage: how large it is, what it is for, and from when to when it was held.

    Attributes:
        size: bytes.
        on_cpu: whether in host memory.
        category: one of `CATEGORIES`.
        layer: whose it is; `NO_LAYER` where no layer's.
        sequence: of an activation, the number of the autograd node that was the first to save it:
            it was there from that node on. -1 for the others.
        born, died: when it was first and last there.
        mapped: whether it lies in shared memory or in a mapped file, and not on the heap.
    """

    __slots__ = ("born", "category", "died", "layer", "mapped", "on_cpu", "sequence", "size")

    def __init__(self, row: Sequence[Any], devices: Sequence[str]) -> None:
        size, device, category, layer, sequence, born, died, mapped = row
        self.size: int = size
        self.on_cpu = devices[device] == "cpu"
        self.category = CATEGORIES[category]
        self.layer: int = layer
        self.sequence: int = sequence
        self.born: int = born
        self.died: int = died
        self.mapped = bool(mapped)

    def is_there(self, tick: Tick) -> bool:
        """Whether it was held in host memory at a moment."""
        born = self.sequence < tick.sequence if self.sequence >= 0 else self.born <= tick.t
        return born and self.died > tick.t and self.on_cpu


class Call:
    """A phase of the weighed step.

    Attributes:
        number, path, what: its number in the recording, and its name.
        turn: how many backwards had ended before it began.
        first, last: the number of the first call of a layer in it, and of the first one after it.
        begin, end: the number of its first tick, and of the first one after it.
        ticks: from the first to the last.
        stood: by layer, the bytes of its parameters that had a gradient as it began.
        walked: of a model's call, the turns whose backward goes through it.
    """

    __slots__ = (
        "begin", "end", "first", "last", "number", "path", "stood", "ticks", "turn", "walked",
        "what",
    )  # fmt: skip

    def __init__(self, row: Sequence[Any], ticks: Sequence[Tick]) -> None:
        (
            self.number, self.path, self.what, self.turn, self.first, self.last,
            self.begin, self.end, stood, walked,
        ) = row  # fmt: skip
        self.ticks = ticks[self.begin : self.end]
        self.stood = dict(stood)
        self.walked: list[int] = walked

    @property
    def is_backward(self) -> bool:
        """Whether this is one."""
        return bool(self.path.endswith("backward"))


class Facts:
    """All that was read in one step.

    Attributes:
        raw: the document.
        ticks: the moments, in the order of time.
        calls: the phases, in the order in which they ended.
        pieces: every storage that was seen, in the order in which they were.
        begins: of each call of a layer the number that autograd's next node got as it began.
        trains: by layer, whether it has parameters of its own that want gradients.
    """

    def __init__(self, raw: Mapping[str, Any]) -> None:
        """Take the lists apart.

        Args:
            raw: the document.

        Raises:
            LookupError, TypeError, ValueError: it was not written by us.
        """
        self.raw = raw
        self.ticks = [Tick(row) for row in raw["ticks"]]
        self.calls = [Call(row, self.ticks) for row in raw["phases"]]
        self.calls = [call for call in self.calls if call.ticks]
        self.pieces = [Piece(row, raw["devices"]) for row in raw["pieces"]]
        given = raw["given"]
        self.begins: list[int] = given["begins"]
        self.trains: dict[int, bool] = dict(given["trains"])

    def asked(self, tick: Tick, category: str = "input") -> int:
        """Bytes of the inputs that the program had then, by their shapes.

        Of earlier micro-steps it may have kept them or not, which is for itself to decide. Of the
        ``category`` of temporaries it is what models returned.
        """
        pairs = [(self.pieces[number], size) for number, size in self.raw["asked"]]
        return sum(
            size for piece, size in pairs if piece.category == category and piece.is_there(tick)
        )

    def walked(self) -> list[list[int]]:
        """Of each call of a layer, the turns whose backward goes through it.

        One that makes no node of its own, as in evaluation, goes with the model's call around it.
        """
        found = list(self.raw["given"]["walked"])
        for call in self.calls:
            for number in range(call.first, call.last):
                found[number] = found[number] or call.walked
        return found


def held_at(pieces: Iterable[Piece], tick: Tick) -> dict[str, int]:
    """By category, the bytes in host memory."""
    held = dict.fromkeys(CATEGORIES, 0)
    for piece in pieces:
        if piece.is_there(tick):
            held[piece.category] += piece.size
    return held


def saved_at(pieces: Iterable[Piece], tick: Tick) -> dict[int, int]:
    """By layer, the bytes that are saved for its backward."""
    by: dict[int, int] = {}
    for piece in pieces:
        if piece.category == "activation" and piece.is_there(tick):
            by[piece.layer] = by.get(piece.layer, 0) + piece.size
    return by
