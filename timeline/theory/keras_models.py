"""Keras 3 models on its torch backend: their layers are torch modules, called in their own way."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from timeline.errors import BreakdownError, TimelineError, UsageError
from timeline.theory.inputs import Shape
from timeline.theory.likeness import likeness_of_optimizer
from timeline.theory.storages import tensors_in
from timeline.theory.subject import Part, Subject

if TYPE_CHECKING:
    from timeline.theory.tracing import Watch


def needs_keras() -> Any:
    """Import Keras with torch as its backend.

    Raises:
        TimelineError: it is not installed, or another backend was chosen.
    """
    os.environ.setdefault("KERAS_BACKEND", "torch")
    try:
        import keras
    except ImportError as error:
        raise TimelineError(
            f"keras cannot be imported ({error}): pip install 'memory-timeline[keras]'"
        ) from error
    backend = keras.backend.backend()
    if backend != "torch":
        raise TimelineError(
            f"keras runs on {backend}, and its models are told of on torch only: set "
            "KERAS_BACKEND=torch"
        )
    return keras


def application(name: str, sizes: tuple[int, ...] | None) -> Callable[[], Any]:
    """A function that makes a model of keras.applications, with random weights.

    Args:
        name: such as ``VGG16``.
        sizes: height, width and channels of its input; None is the model's own.

    Raises:
        UsageError: there is no such model.
    """
    keras = needs_keras()
    known = {
        each: made
        for each, made in vars(keras.applications).items()
        if callable(made) and each[:1].isupper()
    }
    if name not in known:
        import difflib

        near = difflib.get_close_matches(name, known, n=4, cutoff=0.5)
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise UsageError(f"keras.applications has no model {name!r}{hint}")
    options = {"input_shape": sizes} if sizes else {}

    def make() -> Any:
        try:
            with keras.device("meta"):
                return known[name](weights=None, **options)
        except ValueError as error:
            if not sizes:
                raise
            first = keras.config.image_data_format() == "channels_first"
            order = "channels x height x width" if first else "height x width x channels"
            raise UsageError(
                f"keras:{name} does not take an input of {'x'.join(map(str, sizes))} ({error}): "
                f"sizes are {order}, such as {'3x224x224' if first else '224x224x3'}"
            ) from error

    make.__qualname__ = f"keras:{name}"  # what a sentence calls it, if it fails
    return make


def inputs_of(model: Any) -> Any:
    """What a model is called with, as it says itself; None where a size but the batch is open."""
    try:
        given = list(model.inputs)
    except (AttributeError, TypeError, ValueError):  # a subclass has none until it is called
        return None
    shapes = [(tuple(each.shape[1:]), str(each.dtype)) for each in given]
    if not shapes or any(size is None for sizes, _ in shapes for size in sizes):
        return None
    told = [Shape(sizes, dtype) for sizes, dtype in shapes]
    return told if len(told) == 1 else [told]  # several are one list for Keras


@contextmanager
def open_keras(
    model: Any,
    optimizer: torch.optim.Optimizer | None,
    mode: Any,
    *,
    cast: torch.dtype | None,
    train: bool,
) -> Iterator[Subject]:
    """A Keras model made ready to be looked at; its variables are fake until this is left.

    It cannot be copied as a torch module can: copying writes its weights and reads them again.

    Raises:
        BreakdownError: it has not been built, so that its weights have no shape.
        UsageError: it is to be cast, which Keras does when it is made.
    """
    if cast is not None:
        raise UsageError("a Keras model has its dtype from its making: use keras.config.set_floatx")
    if not model.built:
        raise BreakdownError("the Keras model has not been built: call its build() with a shape")
    layers = dict(_named(model, ""))
    variables = {id(each): each for layer in layers for each in (*_own(layer), *_seeds(layer))}
    kept = [(each, each._value) for each in variables.values()]
    try:
        with mode:
            for each, value in kept:
                fake = torch.empty(tuple(value.shape), dtype=value.dtype, device="cpu")
                each._value = torch.nn.Parameter(fake, requires_grad=value.requires_grad)
        fakes = {id(value): each._value for each, value in kept}
        copied = likeness_of_optimizer(optimizer, mode, fakes) if optimizer else None
        yield Subject(
            title=type(model).__name__,
            call=partial(model, training=train),
            parts=[_part(layer, name) for layer, name in layers.items()],
            watched=lambda watch: _wrapped(watch, layers),
            optimizer=copied,
        )
    finally:
        for each, value in kept:
            each._value = value


def _named(layer: Any, name: str) -> Iterator[tuple[Any, str]]:
    """Each layer with its name, the model itself as ``""``."""
    yield layer, name
    for inner in getattr(layer, "_layers", ()):
        yield from _named(inner, f"{name}.{inner.name}" if name else inner.name)


def _own(layer: Any) -> Iterator[Any]:
    yield from layer._trainable_variables
    yield from layer._non_trainable_variables


def _seeds(layer: Any) -> Iterator[Any]:
    for each in getattr(layer, "_seed_generators", ()):
        yield each.state


def _part(layer: Any, name: str) -> Part:
    return Part(
        name,
        type(layer).__name__,
        {each.name: each._value for each in _own(layer)},
        [each._value for each in _seeds(layer)],
    )


@contextmanager
def _wrapped(watch: Watch, layers: dict[Any, str]) -> Iterator[None]:
    """Keras does not call layers as torch calls modules: their ``call`` is wrapped."""

    def tell(name: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        watch.enter(name)
        if not name:  # an InputLayer is not called: it passes on what the model is called with
            for inner, given in zip(entrances, tensors_in((args, kwargs)), strict=False):
                watch.returned(inner, given)
        output = call(*args, **kwargs)
        watch.leave(name, output)
        return output

    entrances = [name for layer, name in layers.items() if type(layer).__name__ == "InputLayer"]
    wrapped = []
    try:
        for layer, name in layers.items():
            if "call" not in vars(layer):
                vars(layer)["call"] = partial(tell, name, layer.call)
                wrapped.append(layer)
        yield
    finally:
        for layer in wrapped:
            del vars(layer)["call"]
