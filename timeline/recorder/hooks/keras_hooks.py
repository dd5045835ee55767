"""The functions of Keras that have a probe while something records, on its torch backend alone.

Its layers are modules of torch and are called as such, its data comes through torch's DataLoader,
and ``fit`` calls ``Tensor.backward``: what is its own are optimizers, losses and calls without
numbers. Keras is waited for as torch is, and never imported.
"""

from __future__ import annotations

import sys
from typing import Any

from timeline.recorder import session as sessions
from timeline.recorder.hooks.hook import Hook, plant_hook
from timeline.recorder.hooks.importing import ModuleWatcher, is_importing

_OPTIMIZERS = "keras.src.optimizers"

HOOKS = (
    *(
        Hook("Keras's optimizer steps", home, "step", "step((self,))")
        for home in (
            (f"{_OPTIMIZERS}.base_optimizer", "BaseOptimizer.apply"),
            (f"{_OPTIMIZERS}.loss_scale_optimizer", "LossScaleOptimizer.apply"),
            (f"{_OPTIMIZERS}.multi_optimizer", "MultiOptimizer.apply"),  # not in Keras 3.5
        )
    ),
    Hook(
        "Keras's losses",
        ("keras.src.losses.loss", "Loss.__call__"), "call", "loss_of_keras(self, y_true, y_pred)",
    ),
    Hook(
        "Keras's symbolic calls",
        ("keras.src.backend.torch.core", "compute_output_spec"), "call", "pass_by()",
    ),
)  # fmt: skip

_watcher: ModuleWatcher | None = None


def install() -> None:
    """Put the probes into Keras, at once or as soon as it has been imported; torch already is."""
    global _watcher
    keras = sys.modules.get("keras")
    if keras is not None and not is_importing(keras):
        _plant()
        return
    _watcher = ModuleWatcher("keras", _plant)
    if keras is None:
        _watcher.watch()
    else:
        # It is Keras that imports torch.
        _watcher.at_end_of(keras.__spec__)


def uninstall() -> None:
    """Wait for Keras no more."""
    global _watcher
    watcher, _watcher = _watcher, None
    if watcher is not None:
        watcher.stop()


def _plant() -> None:
    session = sessions.current
    try:
        missing = _planted()
    except Exception as error:
        missing = [f"no phases for Keras: {error or repr(error)}"]
    for sentence in missing:
        if session is not None:
            session.missing(sentence)


def _planted() -> list[str]:
    """Plant all; a sentence for each that could not be."""
    config: Any = sys.modules.get("keras.src.backend.config")
    if config is None or config.backend() != "torch":
        return []
    missing = []
    for hook in HOOKS:
        if hook.home[0] not in sys.modules:
            continue
        try:
            plant_hook(hook)
        except Exception as error:
            missing.append(f"no phases for {hook.what}: {error or repr(error)}")
    return missing
