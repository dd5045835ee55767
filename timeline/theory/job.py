"""A job as a function gives it: a model, and what else it brings for its loop."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from timeline.errors import BreakdownError, UsageError
from timeline.theory.inputs import fake_batch, fake_inputs, has_shapes
from timeline.theory.likeness import build, name_of
from timeline.theory.several import chosen, parts_of

PARTS = ("model", "optimizer", "inputs", "loss", "step")
"""What a job may bring, by name; a tuple has them in this order."""

FORMS = "a model, (model, optimizer, inputs), or a dict or object with " + ", ".join(PARTS)

DEFAULT_LOSS = "sum"


@dataclass(frozen=True, slots=True)
class Job:
    """A model, and what one step of it is made with.

    Attributes:
        model: stays as it is.
        optimizer: of its parameters, several as one, or what makes one; None for none.
        inputs: what the model, or `step`, is called with; where nobody gave any, those that a
            Keras model tells of itself, else None.
        loss: a name, or a function of what the model returns.
        step: called with the model and a batch, it returns the loss; None for an ordinary one.
        batch: for inputs that are shapes.
    """

    model: torch.nn.Module
    optimizer: Any = None
    inputs: Any = None
    loss: Any = DEFAULT_LOSS
    step: Callable[[Any, Any], Any] | None = None
    batch: int | None = None

    def arguments(self, default: torch.dtype) -> tuple[list[Any], dict[str, Any]]:
        """Positional and named arguments for what `calling` gives; in the mode of fake tensors.

        Args:
            default: dtype of shapes that name none.
        """
        if self.step is None:
            return fake_inputs(self.inputs, self.batch, default)
        return [fake_batch(self.inputs, self.batch, default)], {}

    def calling(self, model: Callable[..., Any]) -> Callable[..., Any]:
        """What is called in forward, of a likeness of the model."""
        return model if self.step is None else partial(self.step, model)

    @property
    def loss_of_outputs(self) -> Any:
        """The loss of what `calling` gives returned."""
        return self.loss if self.step is None else _is_loss


def job_of(
    model: Any, optimizer: Any, inputs: Any, *, batch: int | None, loss: str | Callable[[Any], Any]
) -> Job:
    """The job of a model, or of a function that makes one or a whole job.

    Args:
        model: a module; or a function, whose parameter `batch` gets the batch where it has one.
        optimizer, inputs, loss: fill in what the function leaves out.
        batch: for the function, and for inputs that are shapes.

    Raises:
        UsageError: something is given twice, or is not what it has to be.
        BreakdownError: the function fails, or makes no job.
    """
    if isinstance(model, torch.nn.Module):
        if inputs is None:
            inputs = _own_inputs(model)
        return Job(model, chosen(optimizer), inputs, loss, None, batch)
    if not callable(model):
        raise UsageError(
            f"the model is a {type(model).__name__}: give a torch.nn.Module or a function "
            "that makes one"
        )
    name = name_of(model)
    taken = _batch_parameter(model)
    if taken is not None:
        if batch is None:
            batch = taken.default if isinstance(taken.default, int) else 1
        model = partial(model, batch=batch)
    brought = _parts(build(model), name)
    given = {
        "optimizer": optimizer,
        "inputs": inputs,
        "loss": None if loss == DEFAULT_LOSS else loss,
    }
    for part, value in given.items():
        if value is None:
            continue
        if brought.get(part) is not None:
            raise UsageError(f"{name} brings its own {part}: leave out one of the two")
        if part == "loss" and brought.get("step") is not None:
            raise UsageError(f"{name} brings a step, which returns the loss: leave out the loss")
        brought[part] = value
    if brought.get("inputs") is None:
        brought["inputs"] = _own_inputs(brought["model"])
    if taken is not None and not has_shapes(brought.get("inputs")):
        batch = None  # it has had its use
    job = Job(
        model=brought["model"],
        optimizer=chosen(brought.get("optimizer"), f"{name} has a job whose optimizer is"),
        inputs=brought.get("inputs"),
        loss=brought.get("loss", DEFAULT_LOSS),
        step=brought.get("step"),
        batch=batch,
    )
    _check(job, name)
    return job


def _own_inputs(model: torch.nn.Module) -> Any:
    """The inputs that a model itself tells of, as Keras' do; None for any other."""
    keras = sys.modules.get("keras")
    if keras is None or not isinstance(model, keras.Model):
        return None
    from timeline.theory.keras_models import inputs_of

    return inputs_of(model)


def belongs(optimizer: Any, model: torch.nn.Module) -> None:
    """Look whether an optimizer is that of a model; what only makes one is.

    Raises:
        UsageError: it, or one of several, has no parameter of the model.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        return
    own = {id(p) for p in model.parameters()}
    parts = parts_of(optimizer)
    for number, each in enumerate(parts, 1):
        if not any(id(p) in own for group in each.param_groups for p in group["params"]):
            which = f"optimizer {number} of {len(parts)}" if len(parts) > 1 else "the optimizer"
            raise UsageError(f"{which} has no parameter of this model: give one made for it")


def model_in(made: Any) -> Any:
    """The model in what a function returned; None where there is none."""
    if isinstance(made, torch.nn.Module):
        return made
    if isinstance(made, Mapping):
        return made.get("model")
    if hasattr(made, "model"):
        return made.model
    return made[0] if isinstance(made, tuple | list) and made else None


def _parts(made: Any, name: str) -> dict[str, Any]:
    """What a function returned, by name; without what it left out."""
    if isinstance(made, Mapping):
        unknown = [str(each) for each in made if each not in PARTS]
        if unknown:
            raise UsageError(f"{name} returned a dict with {unknown[0]!r}: use {', '.join(PARTS)}")
        found = dict(made)
    elif isinstance(made, torch.nn.Module):
        found = {"model": made}
    elif hasattr(made, "model"):
        found = {part: getattr(made, part, None) for part in PARTS}
    elif isinstance(made, tuple | list):
        if len(made) > len(PARTS):
            raise UsageError(f"{name} returned {len(made)} values: give {FORMS}")
        found = dict(zip(PARTS, made, strict=False))
    else:
        raise BreakdownError(
            f"{name} returned {type(made).__name__}: a function that makes a torch.nn.Module is "
            f"needed, or a whole job: {FORMS}"
        )
    if not isinstance(found.get("model"), torch.nn.Module):
        raise BreakdownError(
            f"{name} returned a job whose model is a {type(found.get('model')).__name__}: a "
            "torch.nn.Module is needed"
        )
    return {part: value for part, value in found.items() if value is not None}


def _check(job: Job, name: str) -> None:
    belongs(job.optimizer, job.model)
    if job.step is not None:
        if not callable(job.step):
            raise UsageError(
                f"{name} returned a job whose step is a {type(job.step).__name__}: give a function "
                "step(model, batch) that returns the loss"
            )
        if job.loss != DEFAULT_LOSS:
            raise UsageError(f"{name} brings a loss and a step, which returns it: leave out one")
    elif isinstance(job.loss, torch.nn.modules.loss._Loss):
        raise UsageError(
            f"the loss of {name} is {type(job.loss).__name__}, which needs targets: give a "
            "function step(model, batch) that returns the loss, or one of what the model returns"
        )


def _is_loss(value: Any) -> torch.Tensor:
    if not isinstance(value, torch.Tensor):
        raise UsageError(
            f"step(model, batch) returned a {type(value).__name__}: it has to return the loss"
        )
    if value.numel() != 1 or not value.requires_grad:
        raise UsageError(
            f"step(model, batch) returned a tensor of the shape {tuple(value.shape)}"
            f"{'' if value.requires_grad else ' without a gradient'}: it has to return the loss, "
            "one number that depends on the parameters"
        )
    return value


def _batch_parameter(function: Callable[..., Any]) -> inspect.Parameter | None:
    try:
        found = inspect.signature(function).parameters.get("batch")
    except (TypeError, ValueError):  # of a builtin there is none to be had
        return None
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return found if found is not None and found.kind in by_name else None
