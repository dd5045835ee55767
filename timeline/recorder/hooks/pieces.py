"""What tensors are for, by storage: tied weights, views and results in place are one piece."""

from __future__ import annotations

import sys
import time
import weakref
from itertools import islice
from typing import Any

from timeline.recording.weighed.facts import CATEGORIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

NEVER = 1 << 62
_DEEPEST = 6

MOST_LOOKS = 20_000
"""Things that are no tensors, in one walk: some 5 ms."""


PARAMETER, BUFFER, GRADIENT, STATE, ACTIVATION, INPUT, TEMPORARY = range(7)
"""Places in `timeline.recording.weighed.facts.CATEGORIES`."""

SIZE, DEVICE, CATEGORY, LAYER, SEQUENCE, BORN, DIED, MAPPED = range(8)
"""Of a piece's row: what `timeline.recording.weighed.facts.Piece` has, the device by its number."""

_CPU = 0


class _End(weakref.ref):  # type: ignore[type-arg]
    """Hears of a storage's end; a class of its own, since a closure for each takes longer."""

    __slots__ = ("key", "number", "row")
    key: int
    number: int
    row: list[int]


class Pieces:
    """All pieces that were seen; each keeps the name that it was given first.

    A piece is one storage: how large it is, what it is for, and from when to when it is held.

    Attributes:
        all: a row for each, in the order in which they were seen, gone ones too.
        devices: by number, such as ``cpu`` or ``cuda:0``.
        asked: the step's inputs and what models returned, as (number of the piece, bytes by its
            shape); what else these turn out to be, such as saved for backward, they are.
        notes: a sentence for what was not looked at.
        first_sides: the first sizes of the step's inputs.
        unseen: what could not be asked for its storage, by the class of the tensor.
        savers: (number of a node of autograd, number of a piece that it saves).
    """

    def __init__(self, gone: Callable[[], None], sequence: Callable[[], int]) -> None:
        """Begin with none.

        Args:
            gone: is called whenever an activation is given back, in whichever thread.
            sequence: gives the number that the next node of autograd gets.
        """
        self.all: list[list[int]] = []
        self.devices = ["cpu"]
        self.asked: list[tuple[int, int]] = []
        self.notes: list[str] = []
        self.first_sides: set[int] = set()
        self.unseen: set[str] = set()
        self.savers: list[tuple[int, int]] = []
        self._there: dict[int, _End] = {}
        self._made_before: dict[int, int] = {}
        self._gone = gone
        self._sequence = sequence
        torch = sys.modules["torch"]
        self._plain = torch.Tensor, torch.nn.Parameter
        self._simple = {int, float, bool, type(None)}
        self._strided = torch.strided
        self._host = torch.device("cpu")

    def add(self, tensor: Any, category: int, layer: int = -1, sequence: int = -1) -> None:
        """A tensor is seen, and for what it is."""
        try:
            if type(tensor) in self._plain and tensor.layout is self._strided:
                self._add(tensor.untyped_storage(), category, layer, sequence)
                return
            for storage in parts_of(tensor):
                self._add(storage, category, layer, sequence)
        except (NotImplementedError, RuntimeError, AttributeError):
            self.unseen.add(type(tensor).__name__)

    def add_all(self, value: Any, category: int) -> None:
        """Every tensor in a value is seen."""
        if category == STATE and type(value) is dict and self._add_simple(value):
            return
        looks = Looks()
        for each in tensors_in(value, looks):
            seen = len(self.all)
            self.add(each, category)
            new = len(self.all) > seen
            if new and category in (INPUT, TEMPORARY):
                self.asked.append((len(self.all) - 1, each.numel() * each.element_size()))
            known = None if new or category != INPUT else self._returned_of(each)
            if category == INPUT and (new or known is not None):
                row = self.all[-1] if known is None else known
                row[CATEGORY] = INPUT
                # It may have been detached from what made it: then a node from before this saves
                # it. What one model returned and another is given is an activation of the first.
                before = self._sequence() if each.grad_fn is None else NEVER
                self._made_before[id(row)] = before
                if each.grad_fn is None and each.dim():
                    # Not by its shape, which a nested tensor has none of.
                    self.first_sides.add(int(each.size(0)))
        if looks.ended:
            name = CATEGORIES[category]
            note = f"{name}: lists of more than {MOST_LOOKS:,} things, beyond these"
            if note not in self.notes:
                self.notes.append(note)

    def add_returned(self, storages: Iterable[Any]) -> None:
        """Of tensors that models returned, as far as they are there."""
        for each in storages:
            seen = len(self.all)
            self._add(each, TEMPORARY, -1, -1)
            if len(self.all) > seen:
                self.asked.append((seen, each.nbytes()))

    def _returned_of(self, tensor: Any) -> list[int] | None:
        """Of a tensor that a model returned, the row; what is then given to another is an input."""
        if type(tensor) not in self._plain or tensor.layout is not self._strided:
            return None
        storage = _storage(tensor)
        known = self._there.get(storage._cdata) if storage is not None else None
        return known.row if known is not None and known.row[CATEGORY] == TEMPORARY else None

    def _add_simple(self, state: dict[Any, Any]) -> bool:
        """A state is seen; False where it is more than tensors and numbers, which few are."""
        for each in list(state.values()):
            kind = type(each)
            if kind in self._plain:
                self.add(each, STATE)
            elif kind not in self._simple:
                return False
        return True

    def category_of(self, key: int) -> int:
        """Of the storage with this address of torch's; -1 where it was not seen."""
        known = self._there.get(key)
        return known.row[CATEGORY] if known is not None else -1

    def on_cpu(self) -> int:
        """Bytes of those in host memory that were seen."""
        return sum(row[SIZE] for row in self.all if row[DEVICE] == _CPU)

    def _add(self, storage: Any, category: int, layer: int, sequence: int) -> None:
        key = storage._cdata
        known = self._there.get(key)
        if known is not None:
            if sequence >= 0:
                self.savers.append((sequence, known.number))
                self._is_saved(known.row, category, layer, sequence)
            return
        size = storage.nbytes()
        if not size:
            return
        device, mapped = _CPU, 0
        where = storage.device
        if where == self._host:  # to ask for its type takes twice as long
            mapped = int(storage.is_shared())
        else:
            device = self._device(str(where))
        row = [size, device, category, layer, sequence, time.monotonic_ns(), NEVER, mapped]
        # torch keeps a storage's Python object for as long as the storage itself.
        end = self._there[key] = _End(storage, self._ended)
        end.key, end.row, end.number = key, row, len(self.all)
        self.all.append(row)
        if sequence >= 0:
            self.savers.append((sequence, end.number))

    def _is_saved(self, row: list[int], category: int, layer: int, sequence: int) -> None:
        made_before = row[CATEGORY] == INPUT and sequence < self._made_before.get(id(row), 0)
        if made_before or row[CATEGORY] == TEMPORARY:
            row[CATEGORY], row[SEQUENCE], row[LAYER] = category, sequence, layer
        elif row[CATEGORY] == ACTIVATION and sequence < row[SEQUENCE]:
            row[SEQUENCE], row[LAYER] = sequence, layer

    def _device(self, name: str) -> int:
        if name not in self.devices:
            self.devices.append(name)
        return self.devices.index(name)

    def _ended(self, end: _End) -> None:
        row = end.row
        row[DIED] = time.monotonic_ns()
        if self._there.get(end.key) is end:
            del self._there[end.key]
        if row[CATEGORY] == ACTIVATION:
            self._gone()

    def let_go(self) -> None:
        """Hear of no piece's end any more."""
        self._there.clear()


def storages_in(value: Any) -> Iterator[Any]:
    """The storages of a value's tensors that are dense."""
    torch = sys.modules["torch"]
    for each in tensors_in(value):
        if type(each) is torch.Tensor and each.layout is torch.strided:
            storage = _storage(each)
            if storage is not None:
                yield storage


def _storage(tensor: Any) -> Any:
    """Of a dense tensor; None of one that stands for others, as under torch.func."""
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return None


def parts_of(tensor: Any) -> Iterator[Any]:
    """The storages of a tensor of any kind.

    Raises:
        AttributeError, NotImplementedError, RuntimeError: it tells none.
    """
    flatten = getattr(type(tensor), "__tensor_flatten__", None)
    if flatten is not None:  # a tensor made of others
        for name in flatten(tensor)[0]:
            yield from parts_of(getattr(tensor, name))
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
