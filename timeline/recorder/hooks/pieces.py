"""What tensors are for, by storage: tied weights, views and results in place are one piece."""

from __future__ import annotations

import sys
import time
import weakref
from itertools import islice
from typing import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NEVER = 1 << 62
_DEEPEST = 6

MOST_LOOKS = 20_000
"""Things that are no tensors, in one walk: some 5 ms."""


class Piece:
    """One storage: how large it is, what it is for, and from when to when it is held.

    Attributes:
        size: bytes.
        device: such as ``cpu`` or ``cuda:0``.
        category: ``parameter``, ``buffer``, ``gradient``, ``optimizer_state``, ``input`` or
            ``activation``.
        layer: whose it is; -1 where no layer's.
        mapped: whether it lies in shared memory or in a mapped file, and not on the heap.
        born_ns, died_ns: when it was first and last there.
        sequence: of an activation, the number of the autograd node that was the first to save it:
            it was there from that node on. -1 for the others.
        of_graph: of an input, a graph whose node below this number saves it has made it: what one
            model returned and another is given is an activation of the first.
    """

    __slots__ = (
        "born_ns", "category", "device", "died_ns", "layer", "mapped", "of_graph", "reference",
        "sequence", "size",
    )  # fmt: skip

    def __init__(self, size: int, device: str, category: str, layer: int, sequence: int) -> None:
        self.size = size
        self.device = device
        self.category = category
        self.layer = layer
        self.sequence = sequence
        self.born_ns = time.monotonic_ns()
        self.died_ns = NEVER
        self.reference: Any = None
        self.mapped = False
        self.of_graph = 0

    def is_there(self, t_ns: int, sequence: int) -> bool:
        """Whether it was held at a moment, at which the next autograd node had this number."""
        born = self.sequence < sequence if self.sequence >= 0 else self.born_ns <= t_ns
        return born and self.died_ns > t_ns


class Pieces:
    """All pieces that were seen; each keeps the name that it was given first.

    Attributes:
        all: in the order in which they were seen, gone ones too.
        unseen: what could not be asked for its storage, by the class of the tensor.
        savers: (number of a node of autograd, what it saves).
    """

    def __init__(self, gone: Callable[[], None]) -> None:
        """``gone`` is called whenever an activation is given back, in whichever thread."""
        self.all: list[Piece] = []
        self.unseen: set[str] = set()
        self.savers: list[tuple[int, Piece]] = []
        self._there: dict[int, Piece] = {}
        self._gone = gone
        torch = sys.modules["torch"]
        self._plain = torch.Tensor, torch.nn.Parameter
        self._strided = torch.strided

    def add(self, tensor: Any, category: str, layer: int = -1, sequence: int = -1) -> None:
        """A tensor is seen, and for what it is."""
        try:
            if type(tensor) in self._plain and tensor.layout is self._strided:
                self._add(tensor.untyped_storage(), category, layer, sequence)
                return
            for storage in _storages(tensor):
                self._add(storage, category, layer, sequence)
        except (NotImplementedError, RuntimeError, AttributeError):
            self.unseen.add(type(tensor).__name__)

    def category_of(self, key: int) -> str:
        """Of the storage with this address of torch's; empty where it was not seen."""
        known = self._there.get(key)
        return known.category if known is not None else ""

    def _add(self, storage: Any, category: str, layer: int, sequence: int) -> None:
        key = storage._cdata
        known = self._there.get(key)
        if known is not None:
            if sequence >= 0:
                self.savers.append((sequence, known))
            if known.category == "input" and 0 <= sequence < known.of_graph:
                known.category, known.sequence, known.layer = category, sequence, layer
            if sequence >= 0 and known.category == "activation" and sequence < known.sequence:
                known.sequence, known.layer = sequence, layer
            return
        size = storage.nbytes()
        if not size:
            return
        piece = Piece(size, str(storage.device), category, layer, sequence)
        piece.mapped = storage.is_shared() if piece.device == "cpu" else False
        self._there[key] = piece
        self.all.append(piece)
        if sequence >= 0:
            self.savers.append((sequence, piece))

        def gone(_: object) -> None:
            piece.died_ns = time.monotonic_ns()
            if self._there.get(key) is piece:
                del self._there[key]
            if piece.category == "activation":
                self._gone()

        # torch keeps a storage's Python object for as long as the storage itself.
        piece.reference = weakref.ref(storage, gone)

    def let_go(self) -> None:
        """Hear of no piece's end any more."""
        for piece in self.all:
            piece.reference = None
        self._there.clear()


def _storages(tensor: Any) -> Iterator[Any]:
    flatten = getattr(type(tensor), "__tensor_flatten__", None)
    if flatten is not None:  # a tensor made of others
        for name in flatten(tensor)[0]:
            yield from _storages(getattr(tensor, name))
        return
    layout = str(tensor.layout)
    parts: tuple[Any, ...]
    if layout == "torch.sparse_coo":
        parts = (tensor._indices(), tensor._values())
    elif layout in ("torch.sparse_csr", "torch.sparse_bsr"):
        parts = (tensor.crow_indices(), tensor.col_indices(), tensor.values())
    elif layout in ("torch.sparse_csc", "torch.sparse_bsc"):
        parts = (tensor.ccol_indices(), tensor.row_indices(), tensor.values())
    else:
        yield tensor.untyped_storage()
        return
    for part in parts:
        yield part.untyped_storage()


class Looks:
    """How many things may still be looked at in a walk; `ended` says that it was cut off."""

    __slots__ = ("left",)

    def __init__(self, most: int = MOST_LOOKS) -> None:
        self.left = most

    @property
    def ended(self) -> bool:
        """Whether there was more than was looked at."""
        return self.left < 0


def tensors_in(value: Any, looks: Looks | None = None, depth: int = 0) -> Iterator[Any]:
    """Every tensor in a value of tensors, tuples, lists, dictionaries and dataclasses.

    As far as the looks go: a batch of texts may be a list of a million numbers.
    """
    if isinstance(value, sys.modules["torch"].Tensor):
        yield value
        return
    if looks is None:
        looks = Looks()
    looks.left -= 1
    inside: Any
    if depth > _DEEPEST or looks.left < 0:
        return
    if isinstance(value, dict):
        inside = value.values()
    elif isinstance(value, (list, tuple, set, frozenset)):
        inside = value
    elif hasattr(type(value), "__dataclass_fields__"):
        inside = (vars(value) if hasattr(value, "__dict__") else {}).values()
    else:
        return
    # A copy, since the program may change it meanwhile; no larger than what is looked at.
    for each in list(islice(inside, looks.left + 1)):
        yield from tensors_in(each, looks, depth + 1)
        if looks.left < 0:
            return


def modules_in(root: Any) -> Iterator[tuple[str, Any]]:
    """A module and those inside it, by qualified name, each once.

    By the dictionaries that nn.Module keeps: a class may replace named_modules by its own.
    """
    seen: set[int] = set()
    waiting = [("", root)]
    while waiting:
        name, module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        yield name, module
        inside = module.__dict__.get("_modules") or {}
        waiting += [
            (f"{name}.{short}" if name else str(short), each)
            for short, each in reversed(list(inside.items()))
            if each is not None
        ]
