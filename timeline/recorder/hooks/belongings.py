"""What a program's models and optimizers have: parameters, buffers, gradients and states."""

from __future__ import annotations

import weakref
from typing import Any

from timeline.recorder.hooks.keras_layers import (
    buffers_of,
    groups_of,
    modules_in,
    parameters_of,
    stands_in,
    states_of,
)
from timeline.recorder.hooks.pieces import (
    BUFFER,
    GRADIENT,
    PARAMETER,
    STATE,
    Pieces,
)
from timeline.recording.weighed.facts import NO_LAYER


class Owned:
    """A parameter: whose it is, its bytes in host memory, and its gradient as it was last seen."""

    __slots__ = ("gradient", "layer", "place", "reference", "size")

    def __init__(self, parameter: Any, layer: int) -> None:
        self.reference = weakref.ref(parameter)
        self.layer = layer
        self.size = 0  # before it has a gradient, it may have no shape either
        self.gradient: Any = None
        self.place = 0

    def has(self, gradient: Any) -> bool:
        """Whether this is the gradient that was last seen; it is then.

        torch keeps a tensor's Python object for as long as the tensor. Where its storage is
        exchanged, its place in memory is another.
        """
        try:
            place = gradient.data_ptr()
        except RuntimeError:  # a sparse one has several
            return False
        if place == self.place and self.gradient is not None and self.gradient() is gradient:
            return True
        self.place, self.gradient = place, weakref.ref(gradient)
        return False


class Belongings:
    """Models and optimizers as far as they are known, and what of theirs was seen.

    The program's are only referred to: what it lets go of in the midst of a step is gone.

    Attributes:
        models: the classes of the models, in the order in which they were found.
        layers: their modules, each as (class, number of the model that it is in, its number there,
            qualified name).
        index: by the id of a module its number in ``layers``.
        sequence_first: whether one of them takes the sequence before the batch, as torch's layers
            of sequences do unless they are told otherwise.
    """

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self.models: list[str] = []
        self.layers: list[tuple[str, int, int, str]] = []
        self.index: dict[int, int] = {}
        self.sequence_first = False
        self._parameters: dict[int, Owned] = {}
        self._optimizers: list[Any] = []
        self._without: list[Owned] = []  # those whose gradient is yet to be found
        # Of each group of parameters, its optimizer and what it has.
        self._listed: list[tuple[int, int, int]] = []

    @property
    def parameters(self) -> list[tuple[Any, int]]:
        """Those that are there, each with its layer; `NO_LAYER` for one of no model."""
        pairs = [(each.reference(), each.layer) for each in self._parameters.values()]
        return [(each, layer) for each, layer in pairs if each is not None]

    @property
    def optimizers(self) -> list[Any]:
        """Those that are there."""
        return [each for each in (one() for one in self._optimizers) if each is not None]

    def know_all(self, models: list[Any]) -> None:
        """Models in the order in which they were built, of which some may be inside others.

        Those built last are looked at first: around layers that were built one by one there is a
        model, and each layer is looked at once.
        """
        models = [each for each in models if not stands_in(each, models)]
        first = len(self.models)
        self.models += [type(model).__name__ for model in models]
        for place in range(len(models) - 1, -1, -1):
            if id(models[place]) not in self.index:
                self._know(models[place], first + place)

    def know(self, model: Any) -> None:
        """A model's parameters and buffers are weighed from here on."""
        if id(model) not in self.index:
            self.models.append(type(model).__name__)
            self._know(model, len(self.models) - 1)

    def _know(self, model: Any, root: int) -> None:
        add, index, layers = self._pieces.add, self.index, self.layers
        for place, (name, module) in enumerate(modules_in(model)):
            layer = index.get(id(module))
            # A layer that was built or called by itself belongs to the model around it.
            row = type(module).__name__, root, place, name
            if layer is not None:
                layers[layer] = row
                continue
            layer = index[id(module)] = len(layers)
            layers.append(row)
            if module.__dict__.get("batch_first") is False:
                self.sequence_first = True
            for _, each in parameters_of(module):
                if each is not None and not self._is_known(each):
                    self._parameters[id(each)] = Owned(each, layer)
                    add(each, PARAMETER, layer)
            for each in buffers_of(module):
                add(each, BUFFER, layer)

    def know_optimizer(self, optimizer: Any) -> bool:
        """An optimizer's state, and what it has of parameters of no model, are weighed.

        Returns:
            Whether it is new.
        """
        if any(each() is optimizer for each in self._optimizers):
            return False
        self._optimizers.append(weakref.ref(optimizer))
        return True

    def look(self, *, states: bool) -> dict[int, int]:
        """Find the gradients that are new, and the optimizers' ``states``.

        Returns:
            By layer, the bytes of its parameters that have a gradient.
        """
        optimizers = self.optimizers
        listed = [
            # One may be exchanged for another, as pruning does.
            (id(each), len(group["params"]), sum(map(id, group["params"])))
            for each in optimizers
            for group in groups_of(each)
        ]
        if listed != self._listed:
            self._listed = listed
            for optimizer in optimizers:
                for group in groups_of(optimizer):
                    for each in group["params"]:
                        if not self._is_known(each):
                            self._parameters[id(each)] = Owned(each, NO_LAYER)
                            self._pieces.add(each, PARAMETER)
        self._without = list(self._parameters.values())
        stood = self.look_at_gradients()
        for optimizer in optimizers if states else ():
            for state in states_of(optimizer):
                self._pieces.add_all(state, STATE)
        return stood

    def look_at_gradients(self) -> dict[int, int]:
        """Find those that are new.

        Returns:
            By layer, the bytes of the parameters which have one since the look before.
        """
        without = []
        found: dict[int, int] = {}
        for owned in self._without:
            each = owned.reference()
            # torch warns where the gradient of what is no leaf is asked for: functional_call puts
            # such tensors in a parameter's place.
            if each is None or not each.is_leaf:
                continue
            gradient = each.grad
            if gradient is None:
                without.append(owned)
                continue
            layer = owned.layer
            if not owned.has(gradient):
                owned.size = each.numel() * each.element_size() if each.is_cpu else 0
                self._pieces.add(gradient, GRADIENT, layer)
            if owned.size:
                found[layer] = found.get(layer, 0) + owned.size
        self._without = without
        return found

    def _is_known(self, parameter: Any) -> bool:
        known = self._parameters.get(id(parameter))
        return known is not None and known.reference() is parameter

    def close(self) -> None:
        """Refer to nothing of the program any more."""
        self._parameters.clear()
        self._optimizers.clear()
        self._without.clear()
        self.index.clear()
