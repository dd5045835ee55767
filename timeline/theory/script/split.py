"""What of a script is real and what is not: the host's tensors are, those of models and the card
are fake.

Data sets, samplers and collating run for real on the host, with their values. A parameter is fake
from its first moment, and what comes to the card is, too. A fake tensor is one of the CPU for
torch, and on the card for the script: which of them are is kept by storage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from timeline.theory.script import places, values
from timeline.theory.storages import tensors_in
from timeline.theory.taping import Taping
from timeline.units import MiB

aten = torch.ops.aten

LARGEST_REAL = 16 * MiB
"""Tensors that are made out of nothing on the host are fake above this."""

_DEVICE = torch.ops.prim.device.default
_CPU, _META = torch.device("cpu"), torch.device("meta")
_FACTORIES = {
    getattr(aten, name)
    for name in ("empty", "zeros", "ones", "full", "rand", "randn", "randint", "empty_strided")
}
_RANGES = {getattr(aten, name) for name in ("arange", "linspace", "logspace", "eye", "randperm")}
"""Factories too, but with values that a script may count by, as in a forward that is computed
again in backward."""

_WITH_VALUES = {"_pad_packed_sequence": torch.int64}
"""Functions of torch that write values of their own into a tensor of the host, of this dtype."""


class Split(TorchDispatchMode):  # type: ignore[misc]
    """Runs the host's operators for real and all others without memory.

    Args:
        fake: the mode of the fake tensors, which is open.
        taping: what sees their storages; opened after ``fake`` and before this.
        note: takes a sentence on what was taken for granted.
    """

    def __init__(self, fake: FakeTensorMode, taping: Taping, note: Callable[[str], None]) -> None:
        super().__init__()
        self.fake = fake
        self.taping = taping
        self.inside = 0
        self.to_host = False
        self.moves_modules = False
        self.all_real = False
        self.calls: list[Any] = []
        self.card_was_used = False
        self.before_op: Callable[[], None] | None = None
        self._answers = values.Answers(note)
        self._likenesses = WeakTensorKeyDictionary()
        self._on_host_for_good: set[int] = set()
        self._nothing_real = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is _DEVICE:
            return _META if self.fake.in_kernel_invocation else _CPU
        if self.before_op is not None:
            self.before_op()
        kwargs = dict(kwargs) if kwargs else {}
        place = kwargs.get("device")
        to_card = place is not None and place.type == "cuda"
        if to_card:
            if place.index:
                raise RuntimeError(
                    f"CUDA error: invalid device ordinal (cuda:{place.index} was asked for, and "
                    "one card is estimated)"
                )
            kwargs["device"] = _CPU
            if func is aten._to_copy.default:
                # Without a dtype a fake tensor that is there already would be given back itself.
                kwargs["dtype"] = kwargs.get("dtype") or args[0].dtype
        if kwargs.get("pin_memory"):
            kwargs["pin_memory"] = False
        self.inside += 1
        try:
            fakes = [each for each in _tensors(args, kwargs) if isinstance(each, FakeTensor)]
            if not fakes and not to_card:
                factory = func.overloadpacket in _FACTORIES
                if self._for_the_card(func.overloadpacket, kwargs):
                    to_card = True
                elif not self._nothing_real:
                    small = not factory or _size(func, args, kwargs) <= LARGEST_REAL
                    if small or self.all_real:
                        with torch._C._DisableTorchDispatch():
                            return func(*args, **kwargs)
                    return self._large(func, args, kwargs)
            return self._without_memory(func, args, kwargs, fakes, to_card)
        finally:
            self.inside -= 1

    def _without_memory(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        fakes: list[FakeTensor],
        to_card: bool,
    ) -> Any:
        known, answer = self._answers.asked(func, args)
        if known:
            return answer
        sparse = [each for each in _tensors(args, kwargs) if each.layout is not torch.strided]
        if sparse:
            raise values.Unknown(
                f"a tensor of the layout {sparse[0].layout} on the card cannot be followed in a "
                "script, such as the gradient of an embedding with sparse=True; its model can be "
                "estimated as module:function"
            )
        if self.card_was_used and torch._C._current_autograd_node() is None:
            places.check(func, args, kwargs, self.on_card)
        if _changes(func) and args and _is_real(args[0]) and args[0].dim() >= 0:
            return args[0]  # a tensor of the host gets values that are not known: it stays as it is
        storages = self.taping.tape.storages
        # torch's own code names the CPU wherever it means "as this tensor": only a script's .cpu()
        # is one.
        host = self.to_host or (not to_card and all(self.on_host(each) for each in fakes))
        brought = to_card and bool(fakes or any(map(_is_real, args)))
        before = len(storages)
        out = self._answers.bounded(func, args, kwargs)
        if out is NotImplemented:
            args, kwargs = self._replaced(func, args, kwargs)
            before = len(storages)
            out = func(*args, **kwargs)
        else:
            for each in tensors_in(out):
                if isinstance(each, FakeTensor):
                    self.taping.number(each)
        self._answers.learn(func, args, out)
        if host:
            for storage in storages[before:]:
                storage.host = True
        elif to_card:
            self.card_was_used = True
            if not self.moves_modules and brought:
                self.taping.is_("input", tensors_in(out))
        return out

    def _large(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Something large that is made on the host: most likely data, of which parts are used."""
        out = func(*args, **kwargs)
        self.taping.on_host([out])
        self._on_host_for_good.update(self.taping.number(out))
        return out

    def _for_the_card(self, packet: Any, kwargs: Any) -> bool:
        """Whether something is made out of nothing in the midst of work on the card's tensors."""
        if packet not in _FACTORIES and packet not in _RANGES:
            return False
        if torch._C._current_autograd_node() is not None:
            return self.card_was_used and packet in _FACTORIES
        if not self.calls:
            return False
        name, args, options = self.calls[-1]
        if name in _WITH_VALUES and kwargs.get("dtype") is _WITH_VALUES[name]:
            return False
        return any(map(self.on_card, _tensors(args, options)))

    def on_card(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is on the card."""
        return isinstance(tensor, FakeTensor) and not self.on_host(tensor)

    def on_host(self, fake: torch.Tensor) -> bool:
        """Whether a fake tensor is in the host's memory."""
        storages = self.taping.tape.storages
        return all(storages[number].host for number in self.taping.number(fake))

    def _replaced(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """The arguments with likenesses in the place of real tensors."""

        def one(value: Any) -> Any:
            if _is_real(value):
                return self.likeness(value) if value.dim() else value
            if isinstance(value, list | tuple):
                return type(value)(map(one, value)) if type(value) in (list, tuple) else value
            return value

        if func is aten.index.Tensor and len(args) > 1:
            args = (args[0], values.counted(args[1]), *args[2:])
        return tuple(map(one, args)), {name: one(value) for name, value in kwargs.items()}

    def likeness(self, real: torch.Tensor, category: str = "input") -> torch.Tensor:
        """A fake tensor on the host of a real one's shape, the same as long as that lives."""
        known = self._likenesses.get(real)
        if known is None:
            known = self._likenesses[real] = self.of_parameter(real)
            self.taping.is_(category, [known])
        return known

    def of_parameter(self, real: torch.Tensor) -> torch.Tensor:
        """A new fake tensor on the host, of a real one's shape."""
        return self.empty(real.size(), real.stride(), real.dtype)

    def empty(self, size: Any, stride: Any, dtype: torch.dtype) -> torch.Tensor:
        """A new fake tensor on the host."""
        before, self._nothing_real = self._nothing_real, True
        try:
            with torch._C.DisableTorchFunction(), torch.no_grad():
                made = torch.empty_strided(size, stride, dtype=dtype)
        finally:
            self._nothing_real = before
        self.taping.on_host([made])
        return made

    def as_if_on_the_card(self) -> None:
        """What the host has without memory was meant for the card: the script knows of none."""
        for number, storage in enumerate(self.taping.tape.storages):
            if number not in self._on_host_for_good:
                storage.host = False


class Calls(TorchFunctionMode):  # type: ignore[misc]
    """Knows what was called from Python while torch's own code is at work.

    Args:
        split: is told.
    """

    def __init__(self, split: Split) -> None:
        super().__init__()
        self._calls = split.calls

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self._calls.append((getattr(func, "__name__", ""), args, kwargs))
        try:
            return func(*args, **kwargs)
        finally:
            self._calls.pop()


def _tensors(args: Any, kwargs: Any) -> Iterable[torch.Tensor]:
    for each in (*args, *kwargs.values()):
        if isinstance(each, torch.Tensor):
            yield each
        elif isinstance(each, list | tuple):
            for inner in each:
                if isinstance(inner, torch.Tensor):
                    yield inner


def _is_real(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and not isinstance(value, FakeTensor)


def _changes(func: Any) -> bool:
    return bool(func._schema.is_mutable) and func._schema.name.endswith("_")


def _size(func: Any, args: Any, kwargs: Any) -> int:
    """Bytes of what a factory makes."""
    sizes = next((each for each in args if isinstance(each, list | tuple)), kwargs.get("size", ()))
    dtype = kwargs.get("dtype") or torch.get_default_dtype()
    return math.prod(int(n) for n in sizes) * int(dtype.itemsize)
