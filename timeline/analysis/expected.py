"""What theory expects of a weighed step, by closed rules from facts that the recording keeps.

Nothing is run, and torch is not needed. Sizes of parameters and the classes of optimizers are
enough for what stands through a step; for activations and temporaries see `formulas`.
"""

from __future__ import annotations

from collections.abc import Iterable

from timeline.analysis.formulas import Held, Turn
from timeline.recording.anatomy import Anatomy, Trained, WeighedPhase

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


def expected(weighed: Anatomy, phase: WeighedPhase) -> dict[str, int]:
    """By category the bytes that theory expects at the peak of a phase; what it cannot say is left.

    Args:
        weighed: the step.
        phase: of it.
    """
    out = {"parameter": _bytes(weighed.sizes)}
    # In an optimizer's step the program may have let its inputs go, or not.
    stepping = phase.path.endswith("optimizer")
    if phase.asked is not None and not stepping:
        out["input"] = phase.asked
    if not weighed.step:
        return out
    states = [_state(each) for each in weighed.trained]
    known = [each for each in states if each is not None]
    if states and len(known) == len(states):
        out["optimizer_state"] = sum(known)
    gradients = sum(_bytes(each.sizes) for each in weighed.trained)
    if stepping:
        if weighed.trained:
            out["gradient"] = gradients
        return out
    # A program that sets its gradients to zero, and not to None, has them all the time.
    stand = gradients if gradients and _stood(weighed) == gradients else 0
    held = _held(weighed, phase, stand)
    if held is not None:
        out |= {"activation": held.activation, "temporary": held.temporary}
        if weighed.trained:
            out["gradient"] = held.gradient
    return out


def _held(weighed: Anatomy, phase: WeighedPhase, stand: int) -> Held | None:
    turn = Turn(weighed, phase.turn)
    if not turn.counted:
        return None
    if phase.path.endswith("backward"):
        return turn.backward(phase.reached, stand)
    forward = turn.forward(phase.reached)
    return Held(forward.activation, stand, forward.temporary)


def _stood(weighed: Anatomy) -> int:
    """Gradients in the step's first forward."""
    first = next((each for each in weighed.phases if each.path.endswith("forward")), None)
    return first.categories["gradient"] if first is not None else 0


def _bytes(sizes: Iterable[tuple[int, int]]) -> int:
    return sum(numbers * size for numbers, size in sizes)


def _state(trained: Trained) -> int | None:
    rule = _STATE.get(trained.optimizer)
    if rule is None:
        return None
    copies, options, steps = rule
    copies += sum(trained.options.get(name, False) for name in options)
    return copies * _bytes(trained.sizes) + _STEP * steps * len(trained.sizes)
