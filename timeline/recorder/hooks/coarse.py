"""A step of many small layers, weighed for no more than its own time again.

What is in use is noted when a phase begins or ends, and no other moment: parameters, buffers,
gradients, states, inputs, and what the graph saves by layer. What torch's allocator gives in
between, what the formulas of layers ask to be told and how the graph goes on is not: that would
take longer than the step itself.

Storages are noted by columns, one question asked of all of them after the other, and nothing is
made for any one: to make a row and an end for each takes three times as long. Which of them are
the same storage, and from when to when each was there, is found afterwards in another process
(`timeline.recording.weighed.coarse`).
"""

from __future__ import annotations

import sys
import time
import weakref
from _thread import get_ident
from typing import Any

from timeline.recorder.hooks.graph import held_by_all, nodes_of
from timeline.recorder.hooks.keras_layers import (
    buffers_of,
    groups_of,
    modules_in,
    parameters_of,
    stands_in,
    states_of,
)
from timeline.recorder.hooks.passage import Call
from timeline.recorder.hooks.pieces import (
    ACTIVATION,
    BUFFER,
    GRADIENT,
    INPUT,
    NEVER,
    PARAMETER,
    STATE,
    parts_of,
    tensors_in,
)
from timeline.recorder.hooks.weighing import HIGH, RSS, Tick, group_of
from timeline.recording.weighed.facts import NO_LAYER
from timeline.recording.weighed.packing import column

TYPE_CHECKING = False
if TYPE_CHECKING:
    from timeline.recorder.hooks.resident import Resident

_SIMPLE = {int, float, bool, type(None)}


class Coarse:
    """What is weighed of one step, in one thread; what it has in common is as in `Weighing`.

    Attributes:
        calls, ticks, resident, thread, spent_ns, began_ns: as in `Weighing`.
    """

    def __init__(
        self, resident: Resident, models: list[Any], optimizers: list[Any], why: str
    ) -> None:
        """Begin.

        Args:
            resident: is read, and left open.
            models, optimizers: those that are known.
            why: a sentence on why the step is not weighed in full.
        """
        self.began_ns = time.monotonic_ns()
        self.thread = get_ident()
        self.resident = resident
        self.calls: list[Call] = []
        self.ticks: list[Tick] = []
        self._why = why
        torch: Any = sys.modules["torch"]
        self._sequence = torch._C._autograd._get_sequence_nr
        self._plain = {torch.Tensor, torch.nn.Parameter}
        self._flat = self._plain | _SIMPLE
        self._open: list[Call] = []
        self._turn = 0
        self._batches: list[dict[str, Any]] = []
        self._live: list[tuple[Any, list[int], int]] = []
        self._devices = ["cpu"]
        self._notes: list[str] = []
        self._unseen: set[str] = set()
        self._sides: set[int] = set()
        self._models: list[str] = []
        self._layers: list[tuple[str, int, int, str]] = []
        self._index: dict[int, int] = {}
        self._sequence_first = False
        self._parameters: list[Any] = []  # references
        self._known: dict[int, int] = {}  # by id the place of a parameter
        self._all_leaves = True
        self._owners: list[int] = []
        self._numbers: list[int] = []
        self._elements: list[int] = []
        self._on_cpu: list[int] = []
        self._stood: dict[str, list[int]] = {}  # by phase the places of parameters with gradients
        self._gradients: list[int] = []  # the ids of the last ones
        self._optimizers: list[Any] = []
        self._states = 0
        self._from = [self._sequence()]  # from this node on, this layer
        self._layer_from = [NO_LAYER]
        self._inside: list[int] = []
        self._entered: list[int] = []
        models = [each for each in models if not stands_in(each, models)]
        first = len(models) - 1
        self._models += [type(each).__name__ for each in models]
        for place in range(first, -1, -1):
            if id(models[place]) not in self._index:
                self._know(models[place], place)
        for each in optimizers:
            self.know_optimizer(each)
        self.spent_ns = time.monotonic_ns() - self.began_ns

    @property
    def is_open(self) -> bool:
        """Whether a phase is being weighed."""
        return bool(self._open)

    # What there is.

    def know(self, model: Any) -> None:
        """A model's parameters and buffers are weighed from here on."""
        if id(model) not in self._index:
            self._models.append(type(model).__name__)
            self._know(model, len(self._models) - 1)

    def _know(self, model: Any, root: int) -> None:
        index, layers = self._index, self._layers
        parameters: list[Any] = []
        buffers: list[Any] = []
        owners: list[int] = []
        keepers: list[int] = []
        for place, (name, module) in enumerate(modules_in(model)):
            row = type(module).__name__, root, place, name
            layer = index.get(id(module))
            if layer is not None:
                layers[layer] = row
                continue
            layer = index[id(module)] = len(layers)
            layers.append(row)
            if module.__dict__.get("batch_first") is False:
                self._sequence_first = True
            for _, each in parameters_of(module):
                if each is not None:
                    parameters.append(each)
                    owners.append(layer)
            for each in buffers_of(module):
                buffers.append(each)
                keepers.append(layer)
        self._own(parameters, owners)
        if buffers:
            self._note(BUFFER, buffers, layer=keepers)

    def _own(self, parameters: list[Any], owners: list[int]) -> None:
        known = self._known
        new = [i for i, each in enumerate(parameters) if id(each) not in known]
        if len(new) < len(parameters):
            parameters = [parameters[i] for i in new]
            owners = [owners[i] for i in new]
        for each in parameters:
            known.setdefault(id(each), len(known))
        if len(known) != len(self._parameters) + len(parameters):  # one is there twice
            firsts = {id(each): i for i, each in reversed(list(enumerate(parameters)))}
            owners = [owners[i] for i in sorted(firsts.values())]
            parameters = [parameters[i] for i in sorted(firsts.values())]
            for place, each in enumerate(parameters, len(self._parameters)):
                known[id(each)] = place
        self._parameters += map(weakref.ref, parameters)
        self._owners += owners
        self._gradients += [0] * len(parameters)
        self._numbers += [each.numel() for each in parameters]
        self._all_leaves &= False not in [each.is_leaf for each in parameters]
        self._elements += [each.element_size() for each in parameters]
        self._on_cpu += [int(each.is_cpu) for each in parameters]
        self._note(PARAMETER, parameters, layer=owners)

    def know_optimizer(self, optimizer: Any) -> None:
        """An optimizer's state, and what it has of parameters of no model, are weighed."""
        if any(each() is optimizer for each in self._optimizers):
            return
        self._optimizers.append(weakref.ref(optimizer))
        known = self._known
        own = [each for group in groups_of(optimizer) for each in group["params"]]
        new = [each for each in own if id(each) not in known]
        if new:
            self._own(new, [NO_LAYER] * len(new))

    def add_returned(self, storages: list[Any]) -> None:
        """What models returned before the step stays among what is not known."""

    def returned(self, value: Any) -> None:
        """So does what they return in it, unless the graph saves it."""

    # Where the step is.

    def begin(self, path: str, what: str, number: int, inputs: Any, *, told: bool = True) -> Call:
        """A phase of the step has begun."""
        began = time.monotonic_ns()
        call = Call(path, what, number)
        call.turn, call.begin = self._turn, len(self.ticks)
        self._look_at_gradients()
        self._stood[str(number)] = [i for i, each in enumerate(self._gradients) if each]
        if not self.ticks:
            self._look_at_states()
        given = list(tensors_in(inputs))
        if given:
            self._given(given)
        self._open.append(call)
        self._tick()
        self.spent_ns += time.monotonic_ns() - began
        return call

    def end(self, call: Call) -> None:
        """The phase ends: the last moment."""
        began = time.monotonic_ns()
        while self._open:
            innermost = self._open[-1]
            if innermost.path.endswith("optimizer"):
                self.stepped()
            elif innermost.path.endswith("backward"):
                self._look_at_gradients()
                self._turn += 1
            self._tick()
            self._open.pop()
            innermost.end = len(self.ticks)
            self.calls.append(innermost)
            if innermost is call:
                break
        self.spent_ns += time.monotonic_ns() - began

    def ended(self) -> None:
        """The phase has ended, and its mark is written."""

    def step_aside(self) -> None:
        """The program starts a profiler of its own, and none is on."""

    def enter(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A module is called inside a weighed call."""
        layer = self._index.get(id(module), NO_LAYER)
        self._inside.append(layer)
        self._entered.append(layer)
        self._from.append(self._sequence())
        self._layer_from.append(layer)

    def leave(self) -> None:
        """It returned."""
        if self._inside:
            self._inside.pop()
        self._from.append(self._sequence())
        self._layer_from.append(self._inside[-1] if self._inside else NO_LAYER)

    def walk(self, roots: Any) -> None:
        """Backward begins from these: see what their graph holds for it."""
        began = time.monotonic_ns()
        tensors: list[Any] = []
        whose: list[Any] = []
        try:
            tensors, whose = held_by_all([node for node, _ in nodes_of(tensors_in(roots))])
        except AttributeError as error:
            self._notes.append(
                f"activations: this torch does not tell what a graph holds ({error})"
            )
        sequences = [node._sequence_nr() for node in whose]
        if tensors:
            self._note(ACTIVATION, tensors, watched=True, sequence=sequences)
            self._batches[-1]["turn"] = self._turn
        self.spent_ns += time.monotonic_ns() - began

    def stepped(self, optimizer: Any = None) -> None:
        """An optimizer's step is over: a first one makes the state."""
        if optimizer is not None:
            self.know_optimizer(optimizer)
        there = [each() for each in self._optimizers]
        if sum(len(states_of(each)) for each in there if each is not None) != self._states:
            self._look_at_states()

    def highest(self) -> dict[str, int]:
        """By path, how high resident memory went."""
        highest: dict[str, int] = {}
        for call in self.calls:
            for tick in self.ticks[call.begin : call.end]:
                highest[call.path] = max(tick[HIGH], tick[RSS], highest.get(call.path, 0))
        return highest

    def close(self) -> None:
        """Hold nothing of the program any more."""
        self._open.clear()
        self._live.clear()
        self._parameters.clear()
        self._optimizers.clear()
        self._index.clear()
        self._known.clear()

    # How it is noted.

    def _tick(self) -> None:
        tick: Tick = self.resident.read()
        tick += self._sequence(), None, None
        self.ticks.append(tick)
        self._find_ended(tick[0])

    def _find_ended(self, now: int) -> None:
        ended = [each for each in self._live if each[0]() is None]
        if ended:
            self._live = [each for each in self._live if each[0]() is not None]
            for _, died, place in ended:
                died[place] = now

    def _look_at_gradients(self) -> None:
        parameters = [each() for each in self._parameters]
        # Not "None in": a tensor that is asked whether it equals None computes.
        if self._all_leaves and all(each is not None for each in parameters):
            gradients = [each.grad for each in parameters]
        else:  # torch warns where the gradient of what is no leaf is asked for
            gradients = [
                each.grad if each is not None and each.is_leaf else None for each in parameters
            ]
        ids = [0 if each is None else id(each) for each in gradients]
        before = self._gradients
        if ids == before:
            return
        self._gradients = ids
        new = [i for i, each in enumerate(ids) if each and each != before[i]]
        if new:
            owners = self._owners
            self._note(
                GRADIENT,
                [gradients[i] for i in new],
                watched=True,
                layer=[owners[i] for i in new],
            )

    def _look_at_states(self) -> None:
        flat, plain = self._flat, self._plain
        there = [each for each in (one() for one in self._optimizers) if each is not None]
        states = [state for each in there for state in states_of(each)]
        self._states = len(states)
        values: list[Any] = []
        for state in states:
            inside = list(state.values()) if type(state) is dict else None
            if inside is None or not flat.issuperset(map(type, inside)):
                inside = list(tensors_in(state))
            values += inside
        tensors = [each for each in values if type(each) in plain or type(each) not in flat]
        if tensors:
            self._note(STATE, tensors)

    def _given(self, tensors: list[Any]) -> None:
        # It may have been detached from what made it: then a node from before this saves it.
        now = self._sequence()
        self._note(
            INPUT,
            tensors,
            watched=True,
            asked=[each.numel() * each.element_size() for each in tensors],
            before=[now if each.grad_fn is None else NEVER for each in tensors],
        )
        # Not by its shape, which a nested tensor has none of.
        self._sides.update(
            int(each.size(0)) for each in tensors if each.grad_fn is None and each.dim()
        )

    def _note(
        self, category: int, tensors: list[Any], *, watched: bool = False, **columns: list[int]
    ) -> None:
        if watched:
            # What is made while a step runs may lie where something was that is gone.
            self._find_ended(time.monotonic_ns())
        try:
            if not self._plain.issuperset(map(type, tensors)):
                raise NotImplementedError
            # A sparse one has none, and says so.
            storages = [each.untyped_storage() for each in tensors]
        except (AttributeError, NotImplementedError, RuntimeError):
            storages, columns = self._one_by_one(tensors, columns)
        noted: dict[str, Any] = {
            "category": category,
            "t": time.monotonic_ns(),
            "key": [each._cdata for each in storages],
            "size": [each.nbytes() for each in storages],
            **columns,
        }
        if False in [each.is_cpu for each in tensors]:
            noted["device"] = [self._device(str(each.device)) for each in storages]
        elif True in (shared := [each.is_shared() for each in storages]):
            noted["mapped"] = list(map(int, shared))
        if watched:
            died = noted["died"] = [NEVER] * len(storages)
            self._live += [
                (ref, died, place) for place, ref in enumerate(map(weakref.ref, storages))
            ]
        self._batches.append(noted)

    def _one_by_one(
        self, tensors: list[Any], columns: dict[str, list[int]]
    ) -> tuple[list[Any], dict[str, list[int]]]:
        """The storages of tensors of other kinds, with as many of each column."""
        storages: list[Any] = []
        places: list[int] = []
        for place, each in enumerate(tensors):
            try:
                parts = list(parts_of(each))
            except (AttributeError, NotImplementedError, RuntimeError):
                self._unseen.add(type(each).__name__)
                continue
            storages += parts
            places += [place] * len(parts)
        return storages, {key: [of[i] for i in places] for key, of in columns.items()}

    def _device(self, name: str) -> int:
        if name not in self._devices:
            self._devices.append(name)
        return self._devices.index(name)

    # What is written.

    def heap_most(self) -> int:
        """Not known: glibc writes it with much else, which takes as long as two moments."""
        return -1

    def facts(self) -> dict[str, object]:
        """What ``weighed.json`` has of it beside what each weighing has."""
        optimizers = [each for each in (one() for one in self._optimizers) if each is not None]
        return {
            "devices": self._devices,
            "models": self._models,
            "layers": self._layers,
            "notes": self._notes,
            "unseen": list(self._unseen),
            "first_sides": list(self._sides),
            "sequence_first": self._sequence_first,
            "coarse": {
                "why": self._why,
                "batches": [
                    {
                        key: column(value) if isinstance(value, list) else value
                        for key, value in each.items()
                    }
                    for each in self._batches
                ],
                "from": column(self._from),
                "layer": column(self._layer_from),
                "entered": column(self._entered),
                "owners": column(self._owners),
                "numbers": column(self._numbers),
                "element": column(self._elements),
                "on_cpu": column(self._on_cpu),
                "stood": {key: column(each) for key, each in self._stood.items()},
                "trained": [
                    (group_of(each, group), column(self._places(group)))
                    for each in optimizers
                    for group in groups_of(each)
                ],
            },
        }

    def _places(self, group: dict[str, Any]) -> list[int]:
        known = self._known
        return [known.get(id(each), -1) for each in group["params"] if each.requires_grad]
