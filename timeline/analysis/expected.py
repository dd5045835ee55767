"""What theory expects of a weighed step, by closed rules from facts that the recording keeps.

Nothing is run, and torch is not needed: sizes of parameters and the classes of optimizers are
enough for what stands through a step. What depends on the model's code, activations and
temporaries, is for `timeline breakdown`, which has the code.
"""

from __future__ import annotations

from collections.abc import Iterable

from timeline.recording.anatomy import Anatomy, Trained

_STEP = 4
"""Bytes of the tensor that counts steps: one float32 a parameter (torch.optim.adam and others)."""

# By class: copies of the parameters that it keeps, the options that add one, numbers of float32 a
# parameter. From the state that each torch.optim.<class>._init_group makes.
_STATE: dict[str, tuple[int, tuple[str, ...], int]] = {
    "SGD": (0, ("momentum",), 0),
    "Adam": (2, ("amsgrad",), 1),
    "AdamW": (2, ("amsgrad",), 1),
    "NAdam": (2, (), 2),
    "RAdam": (2, (), 1),
    "Adamax": (2, (), 1),
    "Adadelta": (2, (), 1),
    "Adagrad": (1, (), 1),
    "RMSprop": (1, ("momentum", "centered"), 1),
    "Rprop": (2, (), 1),
}


def expected(weighed: Anatomy, path: str) -> dict[str, int]:
    """By category the bytes that theory expects at the peak of a phase; what it cannot say is left.

    Args:
        weighed: the step.
        path: the phase. Gradients are all there in an optimizer's step alone.
    """
    out = {"parameter": _bytes(weighed.sizes)}
    if not weighed.step:
        return out
    states = [_state(each) for each in weighed.trained]
    known = [each for each in states if each is not None]
    if states and len(known) == len(states):
        out["optimizer_state"] = sum(known)
    if path == "step/optimizer" and weighed.trained:
        out["gradient"] = sum(_bytes(each.sizes) for each in weighed.trained)
    return out


def _bytes(sizes: Iterable[tuple[int, int]]) -> int:
    return sum(numbers * size for numbers, size in sizes)


def _state(trained: Trained) -> int | None:
    rule = _STATE.get(trained.optimizer)
    if rule is None:
        return None
    copies, options, steps = rule
    copies += sum(trained.options.get(name, False) for name in options)
    return copies * _bytes(trained.sizes) + _STEP * steps * len(trained.sizes)
