"""What layers are given while a step is weighed: what the formulas of layers ask to be told.

Shapes and settings are read, and which storage is whose: nothing of it says what torch saves. So
what theory makes of it (`timeline.analysis.expected`) is independent of what the graph holds.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from typing import Any

from timeline.recorder.hooks.keras_layers import inside, is_keras, parameters_of
from timeline.recorder.hooks.pieces import ACTIVATION, INPUT, TEMPORARY
from timeline.recording.weighed.facts import CAST, MOST_GIVEN, PACKED, PLAIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from timeline.recorder.hooks.pieces import Pieces

STANDS = -2
"""In place of a storage's number: a parameter, a buffer or an input, which is there anyway."""

UNKNOWN = -1

_PLAIN = {bool, int, float, str, type(None)}

_HOME = "torch.nn.modules."


class Given:
    """The calls of innermost layers, in their order.

    Attributes:
        calls: of each the layer, its turn, the shape and bytes a number of what it was given, the
            storage of that by number and in bytes, the call that made it, and whether a formula
            may be asked: see docs/format.md.
        settings: by layer, its settings.
        walked: of each call the turns whose backward goes through it; what it saved is given back
            in the last of these.
        begins: of each call the number that autograd's next node got as it began.
        trains: by layer, whether it has parameters of its own that want gradients.
        turn: counts backwards.
    """

    def __init__(self, pieces: Pieces, sequence: Callable[[], int]) -> None:
        """``sequence`` gives the number that the next node of autograd gets."""
        torch: Any = sys.modules["torch"]
        self._tensor = torch.Tensor
        self._wanted = torch.is_grad_enabled
        self._casts = torch.is_autocast_enabled
        self._hooks = torch._C._autograd._top_saved_tensors_default_hooks
        self._pieces = pieces
        self._sequence = sequence
        self.calls: list[tuple[Any, ...]] = []
        self.settings: dict[int, dict[str, Any]] = {}
        self._settings = Settings()
        self.walked: list[list[int]] = []
        self.trains: dict[int, bool] = {}
        self.turn = 0
        self.begins: list[int] = []
        self._ends: list[int] = []
        self._numbers: dict[int, int] = {}

    def enter(self, layer: int, module: Any, args: tuple[Any, ...], kwargs: Any) -> int:
        """A layer is called. Returns the call's number, for `leave`; -1 where it is not noted."""
        try:
            return self._enter(layer, module, args, kwargs)
        except Exception:  # a tensor of a kind of its own may refuse any question
            return UNKNOWN

    def _enter(self, layer: int, module: Any, args: tuple[Any, ...], kwargs: Any) -> int:
        own = module.__dict__
        if (
            layer < 0
            or len(self.calls) >= MOST_GIVEN
            or not args
            or (own.get("_modules") and (not is_keras(module) or inside(module)))
            or not isinstance(args[0], self._tensor)
            or not self._wanted()
        ):
            return UNKNOWN
        tensor = args[0]
        dtype = tensor.dtype
        floats = dtype.is_floating_point
        trains, all_train, alike, first = False, True, True, None
        for _, each in parameters_of(module):
            if each is None:
                continue
            if first is None:
                first = each
            if each.requires_grad:
                trains = True
            else:
                all_train = False
            if each.dtype is not (dtype if floats else first.dtype):
                alike = False
        if not trains and not tensor.requires_grad:
            return UNKNOWN
        self.trains[layer] = trains
        storage = tensor.untyped_storage()
        how = 0
        if all_train:
            how = self._surrounded(tensor)
            if how == PLAIN and not (
                alike
                and (floats or first is not None)
                and type(module).__module__.startswith(_HOME)
                and _is_plain(module, tensor, args, kwargs)
            ):
                how = 0
        if how == PLAIN and layer not in self.settings:
            self.settings[layer] = self._settings.of(module)
        # Of indices, the weights' element.
        element = tensor if floats or first is None else first
        node = tensor.grad_fn
        number = len(self.calls)
        self.calls.append(
            (
                layer,
                self.turn,
                tuple(tensor.shape),
                element.element_size(),
                self._number(storage._cdata, node),
                storage.nbytes(),
                self._maker(node),
                how,
            )
        )
        self.walked.append([])
        self.begins.append(self._sequence())
        self._ends.append(UNKNOWN)
        return number

    def leave(self, number: int) -> None:
        """It returned."""
        self._ends[number] = self._sequence()

    def walk(self, number: int) -> None:
        """The backward that begins goes through the node of autograd with this number."""
        call = self.of(number)
        if call < 0 or UNKNOWN < self._ends[call] <= number:
            return
        turns = self.walked[call]
        if not turns or turns[-1] != self.turn:
            turns.append(self.turn)

    def of(self, number: int) -> int:
        """The call that a node of autograd was made in, or the last one before it."""
        return bisect_right(self.begins, number) - 1

    def _surrounded(self, tensor: Any) -> int:
        """What is on where a layer is called that changes what it saves; `PLAIN` where nothing."""
        if self._hooks(True) is not None:
            return PACKED
        return CAST if self._casts("cpu" if tensor.is_cpu else tensor.device.type) else PLAIN

    def _number(self, key: int, node: Any) -> int:
        """Of a storage; that of one which a formula says is saved is not used again meanwhile.

        What one model returned, with its ``node``, and another is given is no input of the step.
        """
        known = self._pieces.category_of(key)
        if known not in (UNKNOWN, ACTIVATION, TEMPORARY) and (known != INPUT or node is None):
            return STANDS
        return self._numbers.setdefault(key, len(self._numbers))

    def _maker(self, node: Any) -> int:
        """The call whose last node made a tensor; -1 where none did."""
        if node is None:
            return UNKNOWN
        number = node._sequence_nr()
        call = self.of(number)
        return call if call >= 0 and number < self._ends[call] else UNKNOWN


def _is_plain(module: Any, tensor: Any, args: Any, kwargs: Any) -> bool:
    """Whether the formulas are for such a call: see `timeline.theory.summing`.

    Where all its parameters are trained and of the input's dtype, which was seen before, and
    nothing changes what is saved.
    """
    return bool(
        module.training
        and tensor.is_contiguous()
        and (len(args) == 1 or all(each is None or each is False for each in args[1:]))
        and (not kwargs or all(each is None or each is False for each in kwargs.values()))
    )


class Settings:
    """What layers are set to: their plain attributes, and which parameters there are.

    Most of a layer's attributes are nn.Module's own. Which are not is found out once for all layers
    with the same ones: to go through them takes a third of what noting a call takes.
    """

    def __init__(self) -> None:
        self._public: dict[tuple[str, ...], list[str]] = {}

    def of(self, module: Any) -> dict[str, Any]:
        """Of one layer."""
        own = module.__dict__
        names = tuple(own)
        public = self._public.get(names)
        if public is None:
            public = self._public[names] = [name for name in names if name[:1] != "_"]
        found = {}
        for name in public:
            value = own[name]
            if type(value) in _PLAIN or _is_sizes(value):
                found[name] = value
        for name, value in (own.get("_parameters") or {}).items():
            found.setdefault(name, None if value is None else True)
        return found


def _is_sizes(value: Any) -> bool:
    return type(value) is tuple and len(value) < 8 and all(isinstance(each, int) for each in value)
