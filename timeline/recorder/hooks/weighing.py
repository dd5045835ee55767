"""One step of a training, weighed while it runs: what is held at each moment, and what for.

Everything is looked at from outside: storages by their size, the graph by what its nodes hold, the
allocator by its own reports, resident memory by readings. No operator, hook or value of the program
is changed; what is read are attributes. What comes of it is summed and named afterwards, in
another process (`timeline.recording.weighed`): the program waits for what is done here.

A *tick* is a moment at which all of it is read together. There is one where a module's call begins
or ends and one where backward gives something back, at most one in `TICK_NS`. Between two ticks the
high-water mark tells how high resident memory went, and the allocator's reports how much of that
was asked for by torch.
"""

from __future__ import annotations

import sys
import time
from _thread import get_ident
from typing import Any

from timeline.recorder.hooks.belongings import Belongings
from timeline.recorder.hooks.given import Given
from timeline.recorder.hooks.keras_layers import groups_of, name_of
from timeline.recorder.hooks.passage import Call, Passage
from timeline.recorder.hooks.pieces import INPUT, TEMPORARY, Pieces
from timeline.recording.weighed.facts import NO_LAYER
from timeline.recording.weighed.packing import packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from timeline.recorder.hooks.allocations import Allocations
    from timeline.recorder.hooks.resident import Resident

TICK_NS = 500_000
"""Of the program's own time, without that of weighing. A tick costs some 40 us: under a tenth of
it, however short the layers are."""

MOST_TICKS = 20_000

_OPTIONS = (
    "momentum", "amsgrad", "centered", "foreach", "fused", "weight_decay", "nesterov", "maximize",
    "use_ema", "accumulates", "schedules",
)  # fmt: skip
"""Of optimizers, those that add to their state or to what a step holds for a moment."""


Tick = list[Any]
"""A row: what `Resident.read` gives, the number that the next node of autograd gets, and what
`Allocations.stop` gives for it, None where it was not told."""

RSS, HIGH, HELD, MOST = 1, 2, 8, 9
"""Places in it."""


class Weighing:
    """What is weighed of one step, in one thread.

    Attributes:
        calls: the phases that ended.
        ticks: the moments, in the order of time.
        pieces: every storage that was seen.
        own: what models and optimizers have.
        given: what layers were called with.
        passage: what backward goes through.
        calls_of: by layer, how often it was called.
        notes: a sentence for each thing that could not be seen.
        spent_ns: what all of this took of the program's time.
    """

    def __init__(
        self,
        resident: Resident,
        allocations: Allocations,
        models: list[Any],
        optimizers: list[Any],
    ) -> None:
        """``resident`` is read, and left open."""
        self.began_ns = time.monotonic_ns()
        self.thread = get_ident()
        self.resident = resident
        self.calls: list[Call] = []
        self.ticks: list[Tick] = []
        torch: Any = sys.modules["torch"]
        self._sequence = torch._C._autograd._get_sequence_nr
        self.pieces = Pieces(self.tick, self._sequence)
        self.own = Belongings(self.pieces)
        self.given = Given(self.pieces, self._sequence)
        self.calls_of: dict[int, int] = {}
        self.notes: list[str] = []
        self.passage = Passage(self.pieces, self.given, self._sequence)
        self._open: list[Call] = []
        self._in_backward = 0
        self._next_ns = 0
        self._busy = False
        self._allocations = allocations
        allocations.ask_again()
        self._stretch = -1  # the number of its first tick, while allocations are told
        self._inside: list[tuple[int, int]] = []  # of modules, their layers and calls' numbers
        self.own.know_all(models)
        for optimizer in optimizers:
            self.own.know_optimizer(optimizer)
        self.spent_ns = time.monotonic_ns() - self.began_ns

    @property
    def is_open(self) -> bool:
        """Whether a phase is being weighed."""
        return bool(self._open)

    def begin(self, path: str, what: str, number: int, inputs: Any, *, told: bool = True) -> Call:
        """A phase of the step has begun; ``told``: the allocator's reports may be asked for."""
        began = time.monotonic_ns()
        call = Call(path, what, number)
        outermost = not self._open
        # An optimizer's step alone makes state, and at its end that is looked at.
        call.stood = self.own.look(states=not self.ticks)
        self.pieces.add_all(inputs, INPUT)
        call.turn, call.first, call.begin = self.given.turn, len(self.given.calls), len(self.ticks)
        self._in_backward += path.endswith("backward")
        if path.endswith(("forward", "loss")):
            self.passage.model_called(call)
        self._open.append(call)
        if outermost:
            self._stretch = len(self.ticks)
            if told:
                self._allocations.start()
            else:
                self._allocations.step_aside()
        self.spent_ns += time.monotonic_ns() - began
        self._tick()
        return call

    def end(self, call: Call) -> None:
        """The phase ends: the last tick."""
        while self._open:
            if self._open[-1].path.endswith("optimizer"):
                began = time.monotonic_ns()
                self.own.look(states=True)  # a first step makes the state
                self.spent_ns += time.monotonic_ns() - began
            self._tick()
            innermost = self._open.pop()
            innermost.end = len(self.ticks)
            innermost.last, innermost.after = len(self.given.calls), self._sequence()
            self.calls.append(innermost)
            is_backward = innermost.path.endswith("backward")
            self._in_backward -= is_backward
            self.given.turn += is_backward
            if innermost is call:
                break

    def ended(self) -> None:
        """The phase has ended, and its mark is written: what takes memory may be done."""
        if self._open or self._stretch < 0:
            return
        began = time.monotonic_ns()
        first, self._stretch = self._stretch, -1
        told = self._allocations.stop()
        if len(told) == len(self.ticks) - first:
            for tick, (held, most) in zip(self.ticks[first:], told, strict=True):
                tick[HELD], tick[MOST] = held, most
        elif told:
            self.notes.append("temporaries: torch's allocator was heard for other moments")
        why = self._allocations.why
        if why and why not in self.notes:
            self.notes.append(why)
        self.spent_ns += time.monotonic_ns() - began

    def step_aside(self) -> None:
        """The program starts a profiler of its own: there is room for one."""
        if self._stretch >= 0:
            self._allocations.step_aside()

    def enter(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A module is called inside a weighed call."""
        began = time.monotonic_ns()
        layer = self.own.index.get(id(module), NO_LAYER)
        self._inside.append((layer, self.given.enter(layer, module, args, kwargs)))
        if layer >= 0:
            self.calls_of[layer] = self.calls_of.get(layer, 0) + 1
        self.passage.in_layer(layer)
        self.spent_ns += time.monotonic_ns() - began
        self.tick()

    def leave(self) -> None:
        """It returned."""
        if self._inside:
            _, number = self._inside.pop()
            if number >= 0:
                self.given.leave(number)
        self.passage.in_layer(self._inside[-1][0] if self._inside else NO_LAYER)
        self.tick()

    def walk(self, roots: Any) -> None:
        """Backward begins from these: see what their graph holds for it."""
        began = time.monotonic_ns()
        self.passage.walk(roots)
        self.spent_ns += time.monotonic_ns() - began

    def tick(self) -> None:
        """A moment to read at, unless the last one was just before."""
        if (
            self._open
            and time.monotonic_ns() - self.spent_ns >= self._next_ns
            and len(self.ticks) < MOST_TICKS
            and get_ident() == self.thread
        ):
            self._tick()

    def _tick(self) -> None:
        # The garbage collector may give back a piece, and so tick, in the midst of one.
        if self._busy:
            return
        self._busy = True
        began = time.monotonic_ns()
        try:
            if self._in_backward:
                self.own.look_at_gradients()
            tick: Tick = self.resident.read()
            tick += self._sequence(), None, None
            self._allocations.mark()
            self.ticks.append(tick)
        finally:
            self._busy = False
        now = time.monotonic_ns()
        self.spent_ns += now - began
        self._next_ns = now - self.spent_ns + TICK_NS

    def highest(self) -> dict[str, int]:
        """By path, how high resident memory went."""
        highest: dict[str, int] = {}
        for call in self.calls:
            for tick in self.ticks[call.begin : call.end]:
                highest[call.path] = max(tick[HIGH], tick[RSS], highest.get(call.path, 0))
        return highest

    def know(self, model: Any) -> None:
        """A model is called, and weighed from here on."""
        self.own.know(model)

    def know_optimizer(self, optimizer: Any) -> None:
        """An optimizer steps, and is weighed from here on."""
        self.own.know_optimizer(optimizer)

    def add_returned(self, storages: list[Any]) -> None:
        """Of tensors that models returned before the step, as far as they are there."""
        self.pieces.add_returned(storages)

    def returned(self, value: Any) -> None:
        """A model returns this, and the program may keep it."""
        self.pieces.add_all(value, TEMPORARY)

    def stepped(self, optimizer: Any) -> None:
        """An optimizer's step has ended, perhaps its first."""
        if self.own.know_optimizer(optimizer):
            self.own.look(states=True)

    def heap_most(self) -> int:
        """How large the heap has been at most; -1 where it is not known."""
        return self.resident.largest()

    def facts(self) -> dict[str, object]:
        """What ``weighed.json`` has of it beside ticks and phases."""
        given = self.given
        return {
            "devices": self.pieces.devices,
            "pieces": packed(self.pieces.all),
            "asked": self.pieces.asked,
            "models": self.own.models,
            "layers": self.own.layers,
            "calls_of": list(self.calls_of.items()),
            "parameters": packed(
                [
                    (layer, each.numel(), each.element_size(), int(each.is_cpu))
                    for each, layer in self.own.parameters
                ]
            ),
            "trained": [
                group_of(each, group) | {"sizes": _sizes(group)}
                for each in self.own.optimizers
                for group in groups_of(each)
            ],
            "given": {
                "calls": given.calls,
                "settings": list(given.settings.items()),
                "walked": given.walked,
                "begins": given.begins,
                "trains": list(given.trains.items()),
            },
            "nodes": list(self.passage.nodes.values()),
            "dtypes": self.passage.dtypes,
            "savers": packed(self.pieces.savers),
            "first_sides": list(self.pieces.first_sides),
            "sequence_first": self.own.sequence_first,
            "older": self.passage.older,
            "notes": self.notes + self.passage.notes + self.pieces.notes,
            "unseen": list(self.pieces.unseen),
        }

    def close(self) -> None:
        """Hold nothing of the program any more."""
        self._allocations.stop()
        self._stretch = -1
        self._open.clear()
        self.pieces.let_go()
        self.own.close()


def group_of(optimizer: Any, group: dict[str, Any]) -> dict[str, object]:
    """What theory needs to know of a group of parameters that an optimizer steps."""
    return {
        "optimizer": name_of(optimizer),
        "options": {
            name: bool(group[name])
            for name in _OPTIONS
            if isinstance(group.get(name), (bool, float, int))
        },
    }


def _sizes(group: dict[str, Any]) -> list[tuple[int, int]]:
    return [
        (each.numel(), each.element_size())
        for each in group["params"]
        if each.requires_grad and each.is_cpu
    ]
