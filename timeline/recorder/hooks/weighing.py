"""One step of a training, weighed while it runs: what is held at each moment, and what for.

Everything is looked at from outside: storages by their size, the graph by what its nodes hold, the
allocator by its own reports, resident memory by readings. No operator, hook or value of the program
is changed; what is read are attributes.

A *tick* is a moment at which all of it is read together. There is one where a module's call begins
or ends and one where backward gives something back, at most one in `TICK_NS`. Between two ticks the
high-water mark tells how high resident memory went, and the allocator's reports how much of that
was asked for by torch.
"""

from __future__ import annotations

import os
import sys
import time
import weakref
from _thread import get_ident
from bisect import bisect_right
from typing import Any

from timeline.recorder.hooks.allocations import Allocations, operators_told
from timeline.recorder.hooks.given import Given
from timeline.recorder.hooks.graph import held_by, nodes_of
from timeline.recorder.hooks.heap import NO_HEAP, heap_reader, largest_reader
from timeline.recorder.hooks.pieces import (
    MOST_LOOKS,
    NEVER,
    Looks,
    Piece,
    Pieces,
    modules_in,
    tensors_in,
)
from timeline.recorder.reading import out_of_the_way

TYPE_CHECKING = False
if TYPE_CHECKING:
    from timeline.recorder.session import Session

TICK_NS = 500_000
"""A tick costs some 40 us: under a tenth of the time, however short the layers are."""

MOST_TICKS = 20_000

MOST_NODES = 5000
"""Of a graph's nodes so many are noted, with what they go on to."""

LOSS = "(loss)"
"""Stands for a layer's name where something is saved outside every module, as in the theory."""

NO_LAYER = -1
"""Outside every module."""

OLDER = -2
"""Before the step, or in another thread: whose it is nobody saw."""


class Resident:
    """Reads what of this process is resident, and what the C library's heap holds."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.heap = heap_reader()
        self._largest = largest_reader()
        self._page = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
        try:
            self._statm = out_of_the_way(os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC))
        except (OSError, AttributeError):
            self._statm = -1

    def read(self) -> dict[str, int]:
        """One moment: ``t`` ns, ``rss``, ``high`` since the reading before, ``file`` (mapped from
        files or shared), ``in_use`` and ``free`` of the heap, and how large that is (``heap``);
        bytes, -1 for what is not known.
        """
        read = self._session.reading_now()
        in_use, free, size = self.heap() if self.heap is not None else NO_HEAP
        rss, file = self._mapped()
        t = time.monotonic_ns()
        high = -1
        if read is not None:
            _, t, rss, high, _ = read
        return {
            "t": t, "rss": rss, "high": high, "file": file,
            "in_use": in_use, "free": free, "heap": size,
        }  # fmt: skip

    def state(self) -> tuple[int, int, int]:
        """Of the same ``in_use``, ``free`` and ``file``; the high-water mark stays as it is."""
        in_use, free, _ = self.heap() if self.heap is not None else NO_HEAP
        return in_use, free, self._mapped()[1]

    def private(self) -> tuple[int, int] | None:
        """What of the heap is in use, and what is resident that is neither heap nor file."""
        in_use, free, _ = self.heap() if self.heap is not None else NO_HEAP
        rss, file = self._mapped()
        if min(in_use, free, rss, file) < 0:
            return None
        return in_use, rss - file - in_use - free

    def largest(self) -> int:
        """How large the heap itself has been at most."""
        return self._largest() if self._largest is not None else -1

    def highest(self) -> int:
        """How high resident memory went since anybody's last reading, which this is none of."""
        own = self._session.own
        return own.highest() if own is not None else self._mapped()[0]

    def _mapped(self) -> tuple[int, int]:
        if self._statm < 0:
            return -1, -1
        fields = os.pread(self._statm, 128, 0).split()
        return int(fields[1]) * self._page, int(fields[2]) * self._page

    def close(self) -> None:
        """Close the descriptor."""
        if self._statm >= 0:
            os.close(self._statm)
            self._statm = -1


class Tick:
    """One moment of a weighed step, see `Resident.read`.

    Attributes:
        read: what was read.
        sequence: the number that the next node of autograd gets.
        held, most: bytes that torch's allocator had given more than at the stretch's first tick,
            and the most of that since the tick before; None where it was not told.
    """

    __slots__ = ("held", "most", "read", "sequence")

    def __init__(self, read: dict[str, int], sequence: int) -> None:
        self.read = read
        self.sequence = sequence
        self.held: int | None = None
        self.most: int | None = None


class Layer:
    """A module, and its place: the model that it is in, its number in it, its qualified name."""

    __slots__ = ("kind", "name", "place", "root")

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def put(self, root: int, place: int, name: str) -> None:
        """It is in this model."""
        self.root = root
        self.place = place
        self.name = name


class Call:
    """A phase of the weighed step.

    Attributes:
        path, what, number: its name, and its number in the recording.
        ticks: from the first to the last.
        turn: how many backwards had ended before it began.
        first, last: the number of the first call of a layer in it, and of the first one after it.
        end: the number of the first node of autograd after it.
        stood: by layer, the bytes of its parameters that had a gradient as it began.
        walked: of a model's call, the turns whose backward goes through it.
    """

    __slots__ = (
        "end", "first", "last", "number", "path", "stood", "ticks", "turn", "walked", "what",
    )  # fmt: skip

    def __init__(self, path: str, what: str, number: int) -> None:
        self.path = path
        self.what = what
        self.number = number
        self.ticks: list[Tick] = []
        self.turn = 0
        self.first = self.last = 0
        self.end = NEVER
        self.stood: dict[int, int] = {}
        self.walked: list[int] = []


class Weighing:
    """What is weighed of one step, in one thread.

    Attributes:
        calls: the phases that ended.
        given: what layers were called with.
        asked: the step's inputs, as (piece, bytes by its shape).
        first_sides: the first sizes of the step's inputs.
        nodes: of autograd's, by number: layer, class, what it says of its output, and the numbers
            of those that it goes on to.
        older: the turns whose backward goes through what was there before the step.
        pieces: every storage that was seen.
        models: the classes of the models, in the order in which they were found.
        layers: their modules.
        outputs: by layer, the shape, dtype and bytes a number of what it returned.
        calls_of: by layer, how often it was called.
        notes: a sentence for each thing that could not be seen.
        spent_ns: what all of this took of the program's time.
    """

    def __init__(self, session: Session, models: list[Any], optimizers: list[Any]) -> None:
        self.thread = get_ident()
        self.resident = Resident(session)
        self.calls: list[Call] = []
        self.pieces = Pieces(self.tick)
        self.models: list[str] = []
        self.layers: list[Layer] = []
        # The program's are only referred to: what it lets go of in the midst of a step is gone.
        self._parameters: dict[int, tuple[Any, int]] = {}
        self._optimizers: list[Any] = []
        self.outputs: dict[int, tuple[tuple[int, ...], str, int]] = {}
        self.calls_of: dict[int, int] = {}
        self.notes: list[str] = []
        self.spent_ns = 0
        self.began_ns = time.monotonic_ns()
        torch: Any = sys.modules["torch"]
        self._sequence = torch._C._autograd._get_sequence_nr
        self._open: list[Call] = []
        self._ticks = 0
        self._next_ns = 0
        self._busy = False
        self._allocations: Allocations | None = None
        self._told: bool | None = None  # whether operators are, where nobody weighs
        self._stretch: list[Tick] = []
        self._index: dict[int, int] = {}
        self._inside: list[int] = []
        self._without: list[tuple[Any, int]] = []  # parameters, as far as is known
        # From this node on, this layer.
        self._turns: list[tuple[int, int]] = [(-1, OLDER), (self._sequence(), NO_LAYER)]
        self._models_called: list[Call] = []
        self._models_from: list[int] = []  # the number of the first node that each may make
        self.older: list[int] = []
        self.given = Given(self.pieces, self._sequence)
        self._inner: list[int] = []  # of the modules that are being called, their calls' numbers
        self.asked: list[tuple[Piece, int]] = []
        self.first_sides: set[int] = set()
        self.nodes: dict[int, tuple[int, type, Any, list[int]]] = {}
        for model in models:
            self.know(model)
        for optimizer in optimizers:
            self.know_optimizer(optimizer)

    @property
    def parameters(self) -> list[tuple[Any, int]]:
        """Those that are there, each with its layer; -1 for one of no model."""
        pairs = [(reference(), layer) for reference, layer in self._parameters.values()]
        return [(each, layer) for each, layer in pairs if each is not None]

    @property
    def optimizers(self) -> list[Any]:
        """Those that are there."""
        return [each for each in (one() for one in self._optimizers) if each is not None]

    def _is_known(self, parameter: Any) -> bool:
        known = self._parameters.get(id(parameter))
        return known is not None and known[0]() is parameter

    @property
    def is_open(self) -> bool:
        """Whether a phase is being weighed."""
        return bool(self._open)

    # What there is.

    def know(self, model: Any) -> None:
        """A model's parameters and buffers are weighed from here on."""
        if id(model) in self._index:
            return
        root = len(self.models)
        self.models.append(type(model).__name__)
        for place, (name, module) in enumerate(modules_in(model)):
            layer = self._index.get(id(module))
            if layer is None:
                layer = self._index[id(module)] = len(self.layers)
                self.layers.append(Layer(type(module).__name__))
            # A layer that was built or called by itself belongs to the model around it.
            self.layers[layer].put(root, place, name)
            for each in (module.__dict__.get("_parameters") or {}).values():
                if each is not None and not self._is_known(each):
                    self._parameters[id(each)] = weakref.ref(each), layer
                    self.pieces.add(each, "parameter", layer)
            for each in (module.__dict__.get("_buffers") or {}).values():
                if each is not None:
                    self.pieces.add(each, "buffer", layer)

    def know_optimizer(self, optimizer: Any) -> bool:
        """An optimizer's state, and what it has of parameters of no model, are weighed.

        Returns:
            Whether it is new.
        """
        if any(each is optimizer for each in self.optimizers):
            return False
        self._optimizers.append(weakref.ref(optimizer))
        return True

    def look(self, *, states: bool = True) -> None:
        """Find the gradients that are new, and the optimizers' ``states``."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                for each in group["params"]:
                    if not self._is_known(each):
                        self._parameters[id(each)] = weakref.ref(each), -1
                        self.pieces.add(each, "parameter")
        self._without = list(self._parameters.values())
        self._look_at_gradients()
        for optimizer in self.optimizers if states else ():
            for state in list(optimizer.state.values()):
                self._add_all(state, "optimizer_state")

    def _add_all(self, value: Any, category: str) -> None:
        looks = Looks()
        seen = len(self.pieces.all)
        for each in tensors_in(value, looks):
            self.pieces.add(each, category)
            if len(self.pieces.all) > seen:
                seen = len(self.pieces.all)
                if category == "input":
                    self._is_given(each, self.pieces.all[-1])
        if looks.ended:
            note = f"{category}: lists of more than {MOST_LOOKS:,} things, beyond these"
            if note not in self.notes:
                self.notes.append(note)

    def _is_given(self, tensor: Any, piece: Piece) -> None:
        # It may have been detached from what made it: then a node from before this saves it.
        piece.of_graph = self._sequence() if tensor.grad_fn is None else NEVER
        self.asked.append((piece, tensor.numel() * tensor.element_size()))
        if tensor.grad_fn is None and tensor.dim():
            self.first_sides.add(int(tensor.shape[0]))

    def _look_at_gradients(self) -> None:
        without = []
        for reference, layer in self._without:
            each = reference()
            # torch warns where the gradient of what is no leaf is asked for: functional_call puts
            # such tensors in a parameter's place.
            if each is None or not each.is_leaf:
                continue
            gradient = each.grad
            if gradient is None:
                without.append((reference, layer))
            else:
                self.pieces.add(gradient, "gradient", layer)
        self._without = without

    def _stood(self) -> dict[int, int]:
        """By layer, the bytes of its parameters that have a gradient; after a look at all."""
        without = {id(reference) for reference, _ in self._without}
        found: dict[int, int] = {}
        for reference, layer in self._parameters.values():
            each = reference() if id(reference) not in without else None
            if each is None or not each.is_leaf or each.grad is None or each.device.type != "cpu":
                continue
            found[layer] = found.get(layer, 0) + each.numel() * each.element_size()
        return found

    # The step as it goes.

    def begin(self, path: str, what: str, number: int, inputs: Any, *, told: bool = True) -> Call:
        """A phase of the step has begun; ``told``: the allocator's reports may be asked for."""
        began = time.monotonic_ns()
        call = Call(path, what, number)
        outermost = not self._open
        # An optimizer's step alone makes state, and at its end that is looked at.
        self.look(states=not self._stretch)
        self._add_all(inputs, "input")
        call.turn, call.first, call.stood = self.given.turn, len(self.given.calls), self._stood()
        if path.endswith(("forward", "loss")):
            self._models_called.append(call)
            self._models_from.append(self._sequence())
        self._open.append(call)
        if outermost:
            if self._told is None:
                self._told = operators_told()
            self._stretch = []
            self._allocations = Allocations(told=self._told)
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
                self.look()  # a first step makes the state
            self._tick()
            innermost = self._open.pop()
            innermost.last, innermost.end = len(self.given.calls), self._sequence()
            self.calls.append(innermost)
            self.given.turn += innermost.path.endswith("backward")
            if innermost is call:
                break

    def ended(self) -> None:
        """The phase has ended, and its mark is written: what takes memory may be done."""
        if self._open or self._allocations is None:
            return
        began = time.monotonic_ns()
        allocations, self._allocations = self._allocations, None
        told = allocations.stop()
        if len(told) == len(self._stretch):
            for tick, (held, most) in zip(self._stretch, told, strict=True):
                tick.held, tick.most = held, most
        if allocations.why and allocations.why not in self.notes:
            self.notes.append(allocations.why)
        if self.calls[-1].path.endswith("backward"):
            self.look(states=False)
        self.spent_ns += time.monotonic_ns() - began

    def step_aside(self) -> None:
        """The program starts a profiler of its own: there is room for one."""
        if self._allocations is not None:
            self._allocations.step_aside()

    def enter(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A module is called inside a weighed call."""
        layer = self._index.get(id(module), -1)
        self._inside.append(layer)
        self._inner.append(self.given.enter(layer, module, args, kwargs))
        if layer >= 0:
            self.calls_of[layer] = self.calls_of.get(layer, 0) + 1
        self._turn(layer)
        self.tick()

    def leave(self) -> None:
        """It returned."""
        if self._inside:
            self._inside.pop()
            number = self._inner.pop()
            if number >= 0:
                self.given.leave(number)
        self._turn(self._inside[-1] if self._inside else -1)
        self.tick()

    def _turn(self, layer: int) -> None:
        self._turns.append((self._sequence(), layer))

    def walk(self, roots: Any) -> None:
        """Backward begins from these: see what their graph holds for it."""
        began = time.monotonic_ns()
        starts = [sequence for sequence, _ in self._turns]
        roots = list(tensors_in(roots))
        last: dict[int, int] = {}
        numbers: dict[int, int] = {}
        links: list[tuple[int, list[int]]] = []
        try:
            for node, before in nodes_of(roots):
                number = numbers[id(node)] = node._sequence_nr()
                layer = self._turns[bisect_right(starts, number) - 1][1]
                self._walked(number, older=layer == OLDER)
                for tensor in held_by(node):
                    self.pieces.add(tensor, "activation", layer, number)
                told = node._input_metadata
                if number not in self.nodes and len(self.nodes) < MOST_NODES:
                    self.nodes[number] = layer, type(node), told, []
                    links.append((number, [id(each) for each in before]))
                if number > last.get(layer, -1):
                    last[layer] = number
                    if layer >= 0 and told:
                        kind = str(told[0].dtype).removeprefix("torch.")
                        self.outputs[layer] = tuple(told[0].shape), kind, told[0].dtype.itemsize
        except AttributeError as error:
            self.notes.append(f"activations: this torch does not tell what a graph holds ({error})")
        for number, those in links:
            self.nodes[number][3].extend(numbers.get(each, NO_LAYER) for each in those)
        self.spent_ns += time.monotonic_ns() - began

    def _walked(self, number: int, *, older: bool) -> None:
        """The backward that begins goes through this node."""
        turn = self.given.turn
        if older:
            if turn not in self.older:
                self.older.append(turn)
            return
        self.given.walk(number)
        place = bisect_right(self._models_from, number) - 1
        if place >= 0 and number < self._models_called[place].end:
            turns = self._models_called[place].walked
            if not turns or turns[-1] != turn:
                turns.append(turn)

    def tick(self) -> None:
        """A moment to read at, unless the last one was just before."""
        if (
            self._open
            and self._ticks < MOST_TICKS
            and time.monotonic_ns() >= self._next_ns
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
            if any(call.path.endswith("backward") for call in self._open):
                self._look_at_gradients()
            tick = Tick(self.resident.read(), self._sequence())
            if self._allocations is not None:
                self._allocations.mark()
            self._ticks += 1
            self._stretch.append(tick)
            for call in self._open:
                call.ticks.append(tick)
        finally:
            self._busy = False
        now = time.monotonic_ns()
        self.spent_ns += now - began
        self._next_ns = now + TICK_NS

    def close(self) -> None:
        """Hold nothing of the program any more."""
        if self._allocations is not None:
            self._allocations.stop()
            self._allocations = None
        self._open.clear()
        self.pieces.let_go()
        self._parameters.clear()
        self._optimizers.clear()
        self._without.clear()
        self._index.clear()
        self.resident.close()
