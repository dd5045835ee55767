"""What a program's models and optimizers have: parameters, buffers, gradients and states."""

from __future__ import annotations

import weakref
from typing import Any

from timeline.recorder.hooks.pieces import (
    BUFFER,
    GRADIENT,
    PARAMETER,
    STATE,
    Pieces,
    modules_in,
)

NO_LAYER = -1


class Belongings:
    """Models and optimizers as far as they are known, and what of theirs was seen.

    The program's are only referred to: what it lets go of in the midst of a step is gone.

    Attributes:
        models: the classes of the models, in the order in which they were found.
        layers: their modules, each as (class, number of the model that it is in, its number there,
            qualified name).
        index: by the id of a module its number in ``layers``.
    """

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self.models: list[str] = []
        self.layers: list[tuple[str, int, int, str]] = []
        self.index: dict[int, int] = {}
        self._parameters: dict[int, tuple[Any, int]] = {}
        self._optimizers: list[Any] = []
        self._without: list[tuple[Any, int]] = []  # parameters, as far as is known

    @property
    def parameters(self) -> list[tuple[Any, int]]:
        """Those that are there, each with its layer; `NO_LAYER` for one of no model."""
        pairs = [(reference(), layer) for reference, layer in self._parameters.values()]
        return [(each, layer) for each, layer in pairs if each is not None]

    @property
    def optimizers(self) -> list[Any]:
        """Those that are there."""
        return [each for each in (one() for one in self._optimizers) if each is not None]

    def know(self, model: Any) -> None:
        """A model's parameters and buffers are weighed from here on."""
        if id(model) in self.index:
            return
        root = len(self.models)
        self.models.append(type(model).__name__)
        add, index, layers = self._pieces.add, self.index, self.layers
        for place, (name, module) in enumerate(modules_in(model)):
            layer = index.get(id(module))
            # A layer that was built or called by itself belongs to the model around it.
            row = type(module).__name__, root, place, name
            if layer is None:
                layer = index[id(module)] = len(layers)
                layers.append(row)
            else:
                layers[layer] = row
            own = module.__dict__
            for each in (own.get("_parameters") or {}).values():
                if each is not None and not self._is_known(each):
                    self._parameters[id(each)] = weakref.ref(each), layer
                    add(each, PARAMETER, layer)
            for each in (own.get("_buffers") or {}).values():
                if each is not None:
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
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                for each in group["params"]:
                    if not self._is_known(each):
                        self._parameters[id(each)] = weakref.ref(each), NO_LAYER
                        self._pieces.add(each, PARAMETER)
        self._without = list(self._parameters.values())
        stood = self.look_at_gradients()
        for optimizer in optimizers if states else ():
            for state in list(optimizer.state.values()):
                self._pieces.add_all(state, STATE)
        return stood

    def look_at_gradients(self) -> dict[int, int]:
        """Find those that are new.

        Returns:
            By layer, the bytes of the parameters which have one since the look before.
        """
        without = []
        found: dict[int, int] = {}
        for pair in self._without:
            each = pair[0]()
            # torch warns where the gradient of what is no leaf is asked for: functional_call puts
            # such tensors in a parameter's place.
            if each is None or not each.is_leaf:
                continue
            gradient = each.grad
            if gradient is None:
                without.append(pair)
                continue
            layer = pair[1]
            self._pieces.add(gradient, GRADIENT, layer)
            if each.is_cpu:
                found[layer] = found.get(layer, 0) + each.numel() * each.element_size()
        self._without = without
        return found

    def _is_known(self, parameter: Any) -> bool:
        known = self._parameters.get(id(parameter))
        return known is not None and known[0]() is parameter

    def close(self) -> None:
        """Refer to nothing of the program any more."""
        self._parameters.clear()
        self._optimizers.clear()
        self._without.clear()
        self.index.clear()
