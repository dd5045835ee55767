"""A training step, and a change to it: values that are weighed by whoever knows how."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True, slots=True)
class Step:
    """One step, as `timeline.breakdown` takes it.

    Attributes:
        model: without memory, and nobody else's.
    """

    model: nn.Module
    optimizer: Any = None
    inputs: Any = None
    batch: int | None = None
    dtype: str | None = None
    precision: str = "fp32"
    train: bool = True
    loss: Any = "sum"
    set_to_none: bool = True


@dataclass(frozen=True, slots=True)
class Change:
    """A step that may need less.

    Attributes:
        kind: such as ``batch``.
        what: what to do, in words.
        costs: what it costs, in words.
        step: the step as it would be.
        open: a context in which the step's model is changed.
        layers: the names of the layers that it changes, where it names some.
    """

    kind: str
    what: str
    costs: str
    step: Step
    open: Callable[[], AbstractContextManager[Any]] = nullcontext
    layers: tuple[str, ...] = ()
