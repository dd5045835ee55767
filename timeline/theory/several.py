"""Several optimizers as one, and what a caller may choose as an optimizer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from timeline.errors import UsageError
from timeline.theory.optimizers import known


class Several(torch.optim.Optimizer):  # type: ignore[misc]
    """Optimizers that step one after another, each with its own parameters."""

    def __init__(self, parts: Iterable[torch.optim.Optimizer]) -> None:
        # Not torch's own: groups and state stay with the optimizers that they belong to.
        self.parts = tuple(parts)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all."""
        return [group for each in self.parts for group in each.param_groups]

    @property
    def state(self) -> dict[Any, Any]:
        """The state of all; no parameter belongs to two."""
        return {key: value for each in self.parts for key, value in each.state.items()}

    def __getstate__(self) -> dict[str, Any]:
        return {"parts": self.parts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def step(self, closure: Any = None) -> None:
        """One step of each."""
        for each in self.parts:
            each.step()


def parts_of(optimizer: torch.optim.Optimizer | None) -> tuple[torch.optim.Optimizer, ...]:
    """The optimizers that one consists of: itself, or several."""
    if isinstance(optimizer, Several):
        return optimizer.parts
    return () if optimizer is None else (optimizer,)


def as_one(parts: Iterable[torch.optim.Optimizer]) -> torch.optim.Optimizer | None:
    """The optimizer that consists of these; None of none."""
    parts = tuple(parts)
    return Several(parts) if len(parts) > 1 else parts[0] if parts else None


def chosen(given: Any, whose: str = "the optimizer is") -> Any:
    """What was given as optimizer, several of them as one.

    Args:
        given: as `timeline.breakdown` takes it.
        whose: what an error's sentence begins with.

    Raises:
        UsageError: it is no optimizer and makes none, or a parameter belongs to two.
    """
    if isinstance(given, list | tuple):
        for each in given:
            if not isinstance(each, torch.optim.Optimizer):
                raise UsageError(
                    f"{whose} a list with {_named(each)}: several optimizers have to be made "
                    "already, each of its own parameters"
                )
        one = as_one(given)
        named = [id(p) for group in (one.param_groups if one else ()) for p in group["params"]]
        if len(set(named)) < len(named):
            raise UsageError(f"{whose} a list, in which two have the same parameter: give one each")
        return one
    kind = given if isinstance(given, type) else type(given)
    if kind.__module__.partition(".")[0] == "keras":
        near = kind.__name__.lower() if kind.__name__.lower() in known() else "adam"
        raise UsageError(
            f"{whose} {kind.__name__} of Keras, whose state is not known: name one of torch.optim "
            f"in its place, such as {near!r}"
        )
    if given is None or isinstance(given, str | torch.optim.Optimizer) or callable(given):
        return given
    raise UsageError(
        f"{whose} {_named(given)}: give a torch.optim.Optimizer, its class or its name, or a list "
        "of optimizers"
    )


def _named(value: Any) -> str:
    return repr(value) if isinstance(value, str) else f"a {type(value).__name__}"
