"""What theory expects of a weighed step, by closed rules from facts that the recording keeps.

Nothing is run, and torch is not needed. Sizes of parameters and the classes of optimizers are
enough for what stands through a step; for activations and temporaries see `formulas`.
"""

from __future__ import annotations

from collections.abc import Iterable

from timeline.analysis.formulas import Turn
from timeline.recording.anatomy import Anatomy, Trained, WeighedPhase
from timeline.recording.types import UNKNOWN

_MOST = 100
"""Calls of layers between two moments, of which each is tried."""

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

# The same of Keras's, from the `build` of each keras.optimizers.<class>.
_KERAS_STATE: dict[str, tuple[int, tuple[str, ...]]] = {
    "keras.SGD": (0, ("momentum",)),
    "keras.Adam": (2, ("amsgrad",)),
    "keras.AdamW": (2, ("amsgrad",)),
    "keras.Adamax": (2, ()),
    "keras.Adadelta": (2, ()),
    "keras.Adagrad": (1, ()),
    "keras.RMSprop": (1, ("momentum", "centered")),
    "keras.Lion": (1, ()),
    "keras.Ftrl": (2, ()),
    "keras.Lamb": (2, ()),
}
_KERAS_COPIES = ("use_ema", "accumulates")
"""Options of each of them that add one."""

_KERAS_OWN = 4
"""Bytes: each counts its iterations in an int32, and has a learning rate in a float32."""


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
    if stepping:
        if weighed.trained and not _are_sparse(weighed):
            # Of those that take turns one may have its gradients None while another steps.
            gradients = sum(_bytes(each.sizes) for each in weighed.trained)
            out["gradient"] = gradients if phase.stood is None else sum(dict(phase.stood).values())
        return out
    held = _held(weighed, phase)
    if phase.path.endswith("loss"):  # no layer is under way, and a loss has no formula
        held.pop("temporary", None)
    if not weighed.trained or _are_sparse(weighed):
        held.pop("gradient", None)
    return out | held


def _are_sparse(weighed: Anatomy) -> bool:
    """Whether gradients have as many rows as there were indices, which is a value."""
    return any(settings.get("sparse") is True for settings in weighed.settings.values()) or any(
        each.optimizer == "SparseAdam" for each in weighed.trained
    )


def is_unwalked(weighed: Anatomy, phase: WeighedPhase) -> bool:
    """Whether no backward of the step goes through what a phase computes for one.

    Then nobody has seen what of it is saved, and whether that was kept beyond.
    """
    if phase.path.endswith("backward") or phase.first == UNKNOWN:
        return False
    return any(not call.turns for call in weighed.calls[phase.first : phase.reached + 1])


def _held(weighed: Anatomy, phase: WeighedPhase) -> dict[str, int]:
    """What should be held, by category; what cannot be known of this moment is left out."""
    turn = Turn(weighed, phase.turn)
    # What was saved before the step has no calls of layers to ask formulas for.
    older = phase.turn <= max(weighed.older, default=UNKNOWN)
    if older or is_unwalked(weighed, phase):
        return {}
    stood = dict(phase.stood or ())
    # Of what is packed nobody knows when it is made again: a checkpoint computes in backward anew.
    known = turn.known and not turn.packed
    if phase.path.endswith("backward"):
        # Where several layers' backwards lie between two moments, the peak is where most is held.
        # It is named as where it is weighed: activations are those of the first moment, and what
        # the second one knows as gradients are gradients.
        first, past = phase.reached, phase.reached if phase.past is None else phase.past
        calls = range(first, max(min(past, first - 1), first - _MOST), -1)
        most = max(turn.backward(call, stood).total() for call in calls)
        saved = turn.backward(first, stood).activation
        gradient = turn.backward(past, stood).gradient
        out: dict[str, int] = {"activation": saved} if known else {}
        # What a layer holds beside these is known of one that has a formula.
        if known and turn.unknown.isdisjoint(calls):
            gradient = min(gradient, most - saved)
            out["temporary"] = most - saved - gradient + phase.returned
        elif gradient - turn.backward(first, stood).gradient > (phase.rise or 0):
            # Not all that were made between the two moments were there at once, and which of them
            # were at the peak nobody knows.
            return out
        if turn.tells_gradients(past):
            out["gradient"] = gradient
        return out
    if not known:
        told = turn.unknown and phase.stood is not None
        return {"gradient": sum(stood.values())} if told else {}
    forward = turn.forward(phase.reached)
    out = {"activation": forward.activation, "gradient": sum(stood.values())}
    if phase.reached not in turn.unknown:
        out["temporary"] = forward.temporary + phase.returned
    return out


def _bytes(sizes: Iterable[tuple[int, int]]) -> int:
    return sum(numbers * size for numbers, size in sizes)


def _state(trained: Trained) -> int | None:
    if trained.optimizer in _KERAS_STATE:
        copies, options = _KERAS_STATE[trained.optimizer]
        copies += sum(trained.options.get(name, False) for name in options + _KERAS_COPIES)
        own = _KERAS_OWN * (1 if trained.options.get("schedules", False) else 2)
        return copies * _bytes(trained.sizes) + own
    rule = _STATE.get(trained.optimizer)
    if rule is None:
        return None
    copies, options, steps = rule
    copies += sum(trained.options.get(name, False) for name in options)
    return copies * _bytes(trained.sizes) + _STEP * steps * len(trained.sizes)
