"""What theory says of a model: values that know neither torch nor numpy. Sizes are bytes.

A quantity is counted by storage: tied weights, views and in-place results count once, with the
first layer that has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CATEGORIES = (
    "parameter",
    "buffer",
    "gradient",
    "optimizer_state",
    "activation",
    "input",
    "temporary",
)
"""What memory is for, in the order in which every view shows it."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One module of a model.

    Attributes:
        name: the qualified name, such as ``layer1.0.conv1``; ``""`` is the model itself.
        kind: the name of its class.
        parameters: how many numbers its own parameters have (not bytes, not those of modules
            inside it).
        parameter, buffer: bytes of its own.
        gradient: bytes of the gradients of its own parameters.
        activation: bytes that were saved for backward while it was the innermost module called,
            and that are neither parameter, buffer nor input.
        output_shape: of the first tensor that its first call returned; None where it was not
            called.
        output_dtype: such as ``float32``.
        output_bytes: of all tensors that it returned, over all calls; 0 where modules are called
            inside it, which have theirs. An output in place or one that is a view has its size
            here, too: it is what the articles' tables add up.
        calls: how often it was called in one forward pass.
    """

    name: str
    kind: str
    parameters: int = 0
    parameter: int = 0
    buffer: int = 0
    gradient: int = 0
    activation: int = 0
    output_shape: tuple[int, ...] | None = None
    output_dtype: str | None = None
    output_bytes: int = 0
    calls: int = 0


@dataclass(frozen=True, slots=True)
class Peak:
    """The moment of the traced step, or of one phase of it, with the most bytes in tensors.

    Attributes:
        bytes: the sum of ``categories``.
        phase: ``forward``, ``backward`` or ``optimizer``.
        categories: what was alive at that moment.
        inside_operators: of the temporaries, what an operator held inside and no tensor showed.
    """

    bytes: int
    phase: str
    categories: Mapping[str, int]
    inside_operators: int = 0


@dataclass(frozen=True, slots=True)
class Advice:
    """A change to a step, and what it saves.

    Attributes:
        kind: ``batch``, ``bf16``, ``checkpointing``, ``optimizer``, ``optimizer_kernel``,
            ``set_to_none``, ``inference_mode``, ``in_place`` or ``separable``.
        what: what to do, in words.
        costs: what it costs, in words.
        saves: bytes that the peak is lower with it.
        peak: bytes of the peak with it.
        layers: the names of the layers that it changes, where it names some.
    """

    kind: str
    what: str
    costs: str
    saves: int
    peak: int
    layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Breakdown:
    """What one training step (or one inference) of a model should need.

    Attributes:
        title: the class of the model or the target's name.
        categories: for each of `CATEGORIES` the most bytes that it has at one moment of the step.
            These moments differ, so that the sum is a bound and `peak` is the figure.
        layers: in the order of `named_modules`; what is saved by none of them, such as by the
            loss, is the last, ``(loss)``.
        parameters: how many numbers the parameters have.
        outputs_bytes: the sum of the layers' ``output_bytes``.
        peak: of the step; None where no inputs were given.
        phases: the peak of each phase, in their order: ``forward``, ``backward``, ``optimizer``.
        not_counted: a sentence for each thing that has no rule; never counted as 0 in silence.
        assumptions: a sentence for each thing taken for granted.
    """

    title: str
    categories: Mapping[str, int]
    layers: tuple[Layer, ...]
    parameters: int
    outputs_bytes: int
    peak: Peak | None = None
    not_counted: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = field(default=())
    phases: tuple[Peak, ...] = ()
