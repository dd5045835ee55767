"""What is asked of Keras while it is half imported, or is another package of that name."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from timeline.recorder.hooks import keras_layers

HOMES = (
    "keras.src.layers.layer",
    "keras.src.backend.common.keras_tensor",
    "keras.src.optimizers.base_optimizer",
)


class Optimizer:
    param_groups = None

    def __init__(self):
        self.state = {"a": {"step": 1}}


@pytest.mark.parametrize("other", [False, True], ids=["half imported", "another package"])
def test_nothing_is_of_keras_then(monkeypatch, other):
    for home in HOMES:
        module = ModuleType(home)
        if other:
            module.Layer = module.BaseOptimizer = "no class"
            module.any_symbolic_tensors = lambda *_: 1 // 0
        monkeypatch.setitem(sys.modules, home, module)
    assert not keras_layers.is_keras(object())
    assert not keras_layers.is_symbolic((1,), {})
    assert keras_layers.groups_of(Optimizer()) == []
    assert keras_layers.states_of(Optimizer()) == [{"step": 1}]
    assert keras_layers.name_of(Optimizer()) == "Optimizer"
