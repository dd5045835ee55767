"""Follows a program on fake tensors, operator by operator, and writes its tape.

The fake tensors are those of the CPU and stand for tensors on the GPU: fake ones on ``cuda`` need
a driver as soon as autograd sees them. What the GPU does otherwise comes from the rules.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from timeline.theory.corrections import ran
from timeline.theory.cuda.rules import Call, Group, Kept, Once, Platform, Rule, Scratch, rules_for
from timeline.theory.numbering import Numbers
from timeline.theory.overwriting import Overwriting
from timeline.theory.storages import tensors_in
from timeline.theory.tape import Amount, Storage, Tape

_NO_RESULT = {torch.ops.prim.device.default}


class Taping(TorchDispatchMode):  # type: ignore[misc]
    """Sees every storage that an operator makes on the device, and when it goes.

    Args:
        platform: whose rules hold.
    """

    def __init__(self, platform: Platform) -> None:
        super().__init__()
        self.tape = Tape()
        self.platform = platform
        self.phase_now = ""
        self.saved: dict[int, str] = {}
        self._numbers = self._from_zero()
        self._riders: dict[int, list[int]] = {}
        self._once: set[str] = set()
        self._stack: list[str] = []
        # Where the layer changed: autograd's counter of nodes then, and the layer.
        self._counts: list[int] = [0]
        self._layers: list[str] = [""]
        self._rules: dict[Any, list[tuple[Group, Rule]]] = rules_for(platform)
        self._overwriting = Overwriting()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _NO_RESULT:
            return func(*args, **(kwargs or {}))
        overwritten = self._overwriting.result(func, args)
        if overwritten is not None:
            return overwritten
        out = ran(func, args, kwargs, self.tape.assumptions.setdefault)
        self._overwriting.made(func, out)
        rules = self._rules.get(func)
        if rules is not None:
            self._apply(rules, func, args, kwargs or {}, out)
        if isinstance(out, torch.Tensor):
            self.number(out)
        else:
            for tensor in tensors_in(out):
                self.number(tensor)
        return out

    def _apply(self, rules: Any, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        backward = torch._C._current_autograd_node() is not None
        call = Call(func, args, kwargs, out, self.platform, backward)
        for group, rule in rules:
            effects = list(rule(call))
            if effects and group.assumption:
                self.tape.assumptions.setdefault(group.assumption)
            named = {id(each) for each in effects if isinstance(each, torch.Tensor)}
            for tensor in tensors_in(out):
                if id(tensor) not in named:
                    self.number(tensor)
            for effect in effects:
                self._take(effect)

    def _take(self, effect: Any) -> None:
        tape = self.tape
        if isinstance(effect, torch.Tensor):
            self.number(effect)
        elif isinstance(effect, str):
            tape.not_counted.setdefault(effect)
        elif isinstance(effect, Scratch):
            tape.remove(self._scratch(effect))
        elif isinstance(effect, tuple):
            for number in [self._scratch(each) for each in effect]:
                tape.remove(number)
        elif isinstance(effect, Once):
            if effect.key not in self._once:
                self._once.add(effect.key)
                tape.add(self._storage(effect))
        elif isinstance(effect, Kept):
            (owner, *_) = self.number(effect.tensor)
            self._riders.setdefault(owner, []).append(tape.add(self._storage(effect)))

    def _scratch(self, effect: Scratch) -> int:
        storage = self._storage(effect)
        storage.may_fail, storage.asks = effect.may_fail, effect.asks
        return self.tape.add(storage)

    def _storage(self, effect: Scratch | Once | Kept) -> Storage:
        return Storage(
            amount=effect.amount,
            layer=self.layer(),
            phase=self.phase_now,
            category="activation" if isinstance(effect, Kept) else "temporary",
            reason=effect.reason,
        )

    def layer(self) -> str:
        """The module at work: the innermost called, or in backward the one whose node it is."""
        node = torch._C._current_autograd_node()
        if node is None or self._stack:
            return self._stack[-1] if self._stack else ""
        at = bisect_right(self._counts, node._sequence_nr()) - 1
        return self._layers[at]

    def calibrate(self, device: str = "cpu") -> None:
        """Learn what is written over its arguments here: to be called when all modes are open."""
        kept = self.tape, self._numbers, self._once
        self.tape, self._numbers, self._once = Tape(), self._from_zero(), set()
        self._overwriting.learn(device)
        self._numbers.stop()
        self.tape, self._numbers, self._once = kept

    def number(self, tensor: torch.Tensor) -> list[int]:
        """The numbers of a tensor's storages, new ones for those not seen before."""
        return self._numbers.of(tensor)

    def alive(self) -> list[int]:
        """The numbers of the storages that are there now."""
        return self._numbers.alive()

    def _from_zero(self) -> Numbers:
        return Numbers(self._came, self._gone, lambda what: self.tape.not_counted.setdefault(what))

    def _came(self, storage: Any) -> int:
        made = Storage(Amount.exactly(storage.nbytes()), self.layer(), self.phase_now)
        return self.tape.add(made)

    def _gone(self, number: int) -> None:
        self.tape.remove(number)
        for rider in self._riders.pop(number, ()):
            self.tape.remove(rider)

    def once(self, key: str) -> bool:
        """Whether this is the first time that it is asked with this key."""
        first = key not in self._once
        self._once.add(key)
        return first

    def is_(self, category: str, tensors: Iterable[torch.Tensor]) -> None:
        """Name what tensors are for; what already has a name keeps it.

        What was brought to the device may turn out to be a model's own.
        """
        open_ = ("temporary", "input") if category in ("parameter", "buffer") else ("temporary",)
        for tensor in tensors:
            for number in self.number(tensor):
                storage = self.tape.storages[number]
                if storage.category in open_:
                    storage.category = category

    def on_host(self, tensors: Iterable[torch.Tensor]) -> None:
        """These are in the host's memory."""
        for tensor in tensors:
            for number in self.number(tensor):
                self.tape.storages[number].host = True

    def begin(self, phase: str) -> None:
        """What comes from here on belongs to a phase."""
        self.phase_now = phase
        self.tape.phase(phase)

    def step(self) -> None:
        """A step begins."""
        self.tape.step()

    def end(self) -> Tape:
        """What was seen; what goes from here on is not."""
        self._numbers.stop()
        return self.tape

    def enter(self, name: str) -> None:
        """A module is called."""
        self._stack.append(name)
        self._changed()

    def leave(self, name: str) -> None:
        """A module returned."""
        while self._stack and self._stack.pop() != name:
            pass
        self._changed()

    def rename(self, layers: Mapping[str, str]) -> None:
        """Call layers otherwise, also where they were at work before."""
        names = {before: after for before, after in layers.items() if before}
        for storage in self.tape.storages:
            storage.layer = names.get(storage.layer, storage.layer)
        self._layers = [names.get(each, each) for each in self._layers]

    def _changed(self) -> None:
        count = torch._C._autograd._get_sequence_nr()
        layer = self._stack[-1] if self._stack else ""
        if self._counts[-1] == count:
            self._layers[-1] = layer
        else:
            self._counts.append(count)
            self._layers.append(layer)

    def saving(self) -> Any:
        """A context in which what is saved for backward is seen."""
        return torch.autograd.graph.saved_tensors_hooks(self._pack, _as_it_is)

    def _pack(self, tensor: torch.Tensor) -> torch.Tensor:
        for number in self.number(tensor):
            storage = self.tape.storages[number]
            if storage.category == "temporary":
                storage.category = "activation"
        node = tensor.grad_fn
        if node is not None and node._sequence_nr() == torch._C._autograd._get_sequence_nr() - 1:
            # A result that its own node saves would hold itself, and stay where no backward comes
            # (torch's notes on saved_tensors_hooks). Without hooks torch saves it without its node.
            return tensor.detach()
        return tensor

    def watch(self, model: torch.nn.Module) -> Callable[[], None]:
        """Learn of the calls of a model's modules; returns what ends that."""
        names = {module: name for name, module in model.named_modules()}

        def enter(module: torch.nn.Module, args: object) -> None:
            if module in names:
                self.enter(names[module])

        def leave(module: torch.nn.Module, args: object, output: object) -> None:
            if module in names:
                self.leave(names[module])

        hooks = torch.nn.modules.module
        handles = (
            hooks.register_module_forward_pre_hook(enter),
            hooks.register_module_forward_hook(leave),
        )

        def stop() -> None:
            for handle in handles:
                handle.remove()

        return stop


def _as_it_is(value: torch.Tensor) -> torch.Tensor:
    return value
