"""One step of a model, followed operator by operator on fake tensors: what is alive when, and why.

Nothing here has a formula: torch itself says which storages it makes and which it saves for
backward.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from timeline.theory.corrections import ran
from timeline.theory.inside import held_inside, known_here
from timeline.theory.numbering import Numbers
from timeline.theory.overwriting import Overwriting
from timeline.theory.storages import tensors_in
from timeline.theory.types import CATEGORIES, Peak

LOSS = "(loss)"
"""Stands for the model's name where something is saved outside every module."""

PHASES = ("forward", "backward", "optimizer")

_NO_RESULT = {torch.ops.prim.device.default}
"""Fake tensors ask for their device by an operator: thousands of times, with no tensor in it."""


@dataclass(slots=True)
class Called:
    """What one module returned; its bytes only where no other was called in it, which made them."""

    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    bytes: int = 0
    calls: int = 0


@dataclass(slots=True)
class Trace:
    """What was seen in one step.

    A storage is known by its number, in the order in which they were seen.

    Attributes:
        sizes: bytes of each storage.
        events: the number of a storage that came, or the inverted number (``~n``) of one that
            went.
        begins: by phase, the first event of it.
        category: of those storages that are not temporary.
        saved: by storage, the name of the innermost module called when it was first saved.
        called: by name, the modules that were called.
        unseen: what has no storage to ask for, in words.
        assumed: what was taken for granted on the way, in words.
        inside: numbers that stand for what an operator held inside, and freed.
    """

    sizes: list[int] = field(default_factory=list)
    events: list[int] = field(default_factory=list)
    begins: dict[str, int] = field(default_factory=dict)
    category: dict[int, str] = field(default_factory=dict)
    saved: dict[int, str] = field(default_factory=dict)
    called: dict[str, Called] = field(default_factory=dict)
    unseen: set[str] = field(default_factory=set)
    assumed: set[str] = field(default_factory=set)
    inside: set[int] = field(default_factory=set)

    def most(self, kept: int = 0) -> tuple[dict[str, int], tuple[Peak, ...]]:
        """The most of each category at one moment, and of each phase the moment with the most.

        What stands when a phase begins is there in its first moment.

        Args:
            kept: bytes of the optimizer's state that were not followed, and stand all the time.
        """
        live = dict.fromkeys(CATEGORIES, 0)
        live["optimizer_state"] = kept
        # State that the first step makes is there at the beginning of every later one.
        standing = {n for n, why in self.category.items() if why == "optimizer_state"}
        for number in standing:
            live["optimizer_state"] += self.sizes[number]
        highest, total = dict(live), sum(live.values())
        peaks: list[Peak] = []
        phases = [name for name in PHASES if name in self.begins]
        ends = [*(self.begins[name] for name in phases[1:]), len(self.events)]
        first = 0  # what there was before the first phase comes with it
        for phase, end in zip(phases, ends, strict=True):
            peak, at, inside = total, dict(live), 0
            for event in self.events[first:end]:
                number = event if event >= 0 else ~event
                if number in standing:
                    continue
                category = self.category.get(number, "temporary")
                change = self.sizes[number] if event >= 0 else -self.sizes[number]
                live[category] += change
                total += change
                if live[category] > highest[category]:
                    highest[category] = live[category]
                if total > peak:
                    peak, at = total, dict(live)
                    # What is held inside an operator goes before anything else comes.
                    inside = self.sizes[number] if number in self.inside else 0
            peaks.append(Peak(bytes=peak, phase=phase, categories=at, inside_operators=inside))
            first = end
        return highest, tuple(peaks)

    def saved_by(self) -> dict[str, int]:
        """By module, the bytes that it was the first to save for backward."""
        by: dict[str, int] = {}
        for number, name in self.saved.items():
            if self.category.get(number) == "activation":
                by[name] = by.get(name, 0) + self.sizes[number]
        return by


_RESIZING = {torch.ops.aten.resize_.default, torch.ops.aten.resize_as_.default}


class Watch(TorchDispatchMode):  # type: ignore[misc]
    """Sees every storage that an operator makes, and when it goes."""

    def __init__(self) -> None:
        super().__init__()
        self.trace = Trace()
        self._looks_inside = known_here()
        self._numbers = self._from_zero()
        self._overwriting = Overwriting()
        self._stack: list[str] = []
        self._busy: set[str] = set()  # modules in which another was called
        # By storage what it grew by when it was resized, each piece with a number of its own.
        self._pieces: dict[int, list[int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _NO_RESULT:
            return func(*args, **(kwargs or {}))
        overwritten = self._overwriting.result(func, args)
        if overwritten is not None:
            return overwritten
        out = ran(func, args, kwargs, self.trace.assumed.add)
        self._overwriting.made(func, out)
        if isinstance(out, torch.Tensor):
            self.number(out)
        else:
            for tensor in tensors_in(out):
                self.number(tensor)
        if func in _RESIZING or (kwargs and "out" in kwargs):
            self._resized(tensors_in(out))
        if self._looks_inside:
            self._held(held_inside(func, args, kwargs, out))
        return out

    def _held(self, size: int) -> None:
        """What the operator that returns now had inside: it came and went."""
        if size > 0:
            number = len(self.trace.sizes)
            self.trace.sizes.append(size)
            self.trace.inside.add(number)
            self.trace.events += (number, ~number)

    def _resized(self, tensors: Iterable[torch.Tensor]) -> None:
        """What was given to be written to may have got room for more."""
        trace = self.trace
        for tensor in tensors:
            if tensor.layout is not torch.strided:
                continue
            (owner,) = self.number(tensor)
            pieces = self._pieces.get(owner, [])
            before = trace.sizes[owner] + sum(trace.sizes[piece] for piece in pieces)
            more = tensor.untyped_storage().nbytes() - before
            if more > 0:
                trace.events.append(len(trace.sizes))
                self._pieces[owner] = [*pieces, len(trace.sizes)]
                trace.sizes.append(more)

    def number(self, tensor: torch.Tensor) -> list[int]:
        """The numbers of a tensor's storages, new ones for those not seen before."""
        return self._numbers.of(tensor)

    def calibrate(self) -> None:
        """Learn what is written over its arguments here: to be called when all modes are open."""
        kept = self.trace, self._numbers
        self.trace, self._numbers = Trace(), self._from_zero()
        self._overwriting.learn()
        self._numbers.stop()
        self.trace, self._numbers = kept

    def _from_zero(self) -> Numbers:
        return Numbers(self._came, self._gone, lambda what: self.trace.unseen.add(what))

    def _came(self, storage: Any) -> int:
        trace = self.trace
        number = len(trace.sizes)
        trace.sizes.append(storage.nbytes())
        trace.events.append(number)
        return number

    def _gone(self, number: int) -> None:
        trace = self.trace
        trace.events.append(~number)
        for piece in self._pieces.pop(number, ()):
            trace.events.append(~piece)
            if number in trace.category:
                trace.category[piece] = trace.category[number]

    def is_(self, category: str, tensors: Iterable[torch.Tensor]) -> None:
        """Name what tensors are for; what already has a name keeps it."""
        for tensor in tensors:
            for number in self.number(tensor):
                self.trace.category.setdefault(number, category)

    def begin(self, phase: str) -> None:
        """What comes from here on belongs to a phase."""
        self.trace.begins[phase] = len(self.trace.events)

    def end(self) -> Trace:
        """What was seen; what goes from here on is not."""
        self._numbers.stop()
        for number, pieces in self._pieces.items():
            if number in self.trace.category:
                self.trace.category.update(dict.fromkeys(pieces, self.trace.category[number]))
        return self.trace

    def saving(self) -> Any:
        """A context in which what is saved for backward is seen."""
        return torch.autograd.graph.saved_tensors_hooks(self._pack, _unpack)

    def enter(self, name: str) -> None:
        """A module is called."""
        if self._stack:
            self._busy.add(self._stack[-1])
        self._stack.append(name)

    def leave(self, name: str, output: object) -> None:
        """A module returned; the innermost of those called made the output."""
        while self._stack and self._stack.pop() != name:
            pass
        self.returned(name, output)

    def returned(self, name: str, output: object) -> None:
        """What a module gave."""
        called = self.trace.called.setdefault(name, Called())
        called.calls += 1
        for tensor in tensors_in(output):
            if called.shape is None:
                called.shape = tuple(tensor.shape)
                called.dtype = str(tensor.dtype).removeprefix("torch.")
            if name not in self._busy:
                called.bytes += tensor.numel() * tensor.element_size()

    def _pack(self, tensor: torch.Tensor) -> tuple[torch.Tensor, int]:
        name = self._stack[-1] if self._stack else LOSS
        for number in self.number(tensor):
            self.trace.saved.setdefault(number, name)
            self.trace.category.setdefault(number, "activation")
        return tensor, tensor._version


def _unpack(packed: tuple[torch.Tensor, int]) -> torch.Tensor:
    """What was saved. With hooks torch leaves out its own look at the version."""
    tensor, version = packed
    if tensor._version != version:
        raise RuntimeError(
            f"a tensor of the shape {tuple(tensor.shape)} that is needed for backward has been "
            "overwritten by an operation in place"
        )
    return tensor
