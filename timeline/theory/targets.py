"""What the command line names a model by, such as ``torchvision:resnet18``."""

from __future__ import annotations

import difflib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timeline.errors import BreakdownError, TimelineError, UsageError
from timeline.theory.breakdown import needs_torch

if TYPE_CHECKING:
    from timeline.theory.inputs import Shape

FORMS = "torchvision:NAME, transformers:NAME-OR-CONFIG.json, keras:NAME or module:factory"


@dataclass(frozen=True, slots=True)
class Target:
    """A model that can be made, and what it is called with.

    Attributes:
        title: what it was named by.
        make: makes it, with random weights and no download; may be a module already. The user's
            own function may make a whole job, see `timeline.theory.job`.
        inputs: as `breakdown` takes them; None where none were given.
    """

    title: str
    make: Callable[[], Any]
    inputs: Any


def resolve(text: str, inputs: Sequence[str] = ()) -> Target:
    """The model that a text names, with the inputs that texts such as ``3x224x224`` name.

    Raises:
        UsageError: a text has no such form, or there is no such model.
        TimelineError: the library that it names is not installed.
        BreakdownError: the user's module fails when it is imported.
    """
    family, colon, name = text.partition(":")
    if not colon or not family or not name:
        raise UsageError(f"{text!r} names no model: write {FORMS}")
    needs_torch()
    from timeline.theory.inputs import parse_shape

    shapes = [parse_shape(each) for each in inputs]
    known = _FAMILIES.get(family)
    return known(text, name, shapes) if known else _of_module(text, family, name, shapes)


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise TimelineError(
            f"{name} cannot be imported ({error}): pip install {name}, or give module:factory"
        ) from error
    except Exception as error:
        raise _does_not_go(name, error) from error


def _does_not_go(name: str, error: Exception) -> TimelineError:
    """Of a library that fails inside, as one does that was built for another torch."""
    said = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    version = import_module("torch").__version__
    return TimelineError(
        f"{name} cannot be used with torch {version} ({said}): install the {name} that goes with "
        "it, or give module:factory"
    )


def _none_of(kind: str, name: str, names: Iterable[str]) -> UsageError:
    close = difflib.get_close_matches(name, list(names), n=4, cutoff=0.5)
    hint = f"; near it: {', '.join(close)}" if close else ""
    return UsageError(f"{kind} has no model {name!r}{hint}")


def _torchvision(text: str, name: str, shapes: list[Shape]) -> Target:
    models = _library("torchvision").models
    names = models.list_models()
    if name not in names:
        raise _none_of("torchvision", name, names)
    build = models.get_model_builder(name)
    taken = inspect.signature(build).parameters
    # Without weights nothing is downloaded; init_weights is slow, and there is nothing to set.
    options = {"weights": None, "weights_backbone": None, "init_weights": False}
    chosen = {key: value for key, value in options.items() if key in taken}
    return Target(text, lambda: build(**chosen), shapes or None)


def _transformers(text: str, name: str, shapes: list[Shape]) -> Target:
    transformers = _library("transformers")
    path = Path(name)
    if path.suffix == ".json" or path.exists():
        if not path.exists():
            raise UsageError(f"there is no file {name}: give a config.json or the type of a model")
        config = transformers.AutoConfig.from_pretrained(path)
    else:
        names = list(transformers.CONFIG_MAPPING.keys())
        if name not in names:
            raise _none_of("transformers", name, names)
        config = transformers.AutoConfig.for_model(name)
    try:
        kind = _architecture(transformers, config)
    except (ImportError, RuntimeError) as error:  # it imports its models when they are asked for
        raise _does_not_go("transformers", error) from error
    main = getattr(kind, "main_input_name", None) or "input_ids"
    if hasattr(config, "use_cache"):
        config.use_cache = False  # in training the keys and values are not kept
    make = kind._from_config if hasattr(kind, "_from_config") else kind
    if len(shapes) == 1 and not shapes[0].name:
        dtype = shapes[0].dtype or ("int64" if main.endswith("_ids") else None)
        shapes = [replace(shapes[0], name=main, dtype=dtype)]
    return Target(text, lambda: make(config), shapes or None)


def _keras(text: str, name: str, shapes: list[Shape]) -> Target:
    from timeline.theory.keras_models import application

    make = application(name, shapes[0].sizes if shapes else None)
    return Target(text, make, shapes or None)  # its own inputs, as the model tells of them


def _architecture(transformers: Any, config: Any) -> Any:
    named = (getattr(config, "architectures", None) or [None])[0]
    if named and hasattr(transformers, named):
        return getattr(transformers, named)
    for mapping in ("MODEL_FOR_CAUSAL_LM_MAPPING", "MODEL_MAPPING"):
        classes = getattr(transformers, mapping)
        if type(config) in classes:
            found = classes[type(config)]
            return found[0] if isinstance(found, tuple | list) else found
    raise UsageError(f"transformers has no model for {type(config).__name__}")


def _of_module(text: str, home: str, name: str, shapes: list[Shape]) -> Target:
    os.environ.setdefault("KERAS_BACKEND", "torch")  # if it imports Keras: no other can be told of
    if "" not in sys.path:
        sys.path.insert(0, "")  # as python -m has it: the directory that the command is given in
    try:
        module = import_module(home)
    except ModuleNotFoundError as error:
        if error.name is not None and (home == error.name or home.startswith(error.name + ".")):
            raise UsageError(
                f"{text!r} names no model: there is no module {home}; write {FORMS}"
            ) from error
        raise BreakdownError(f"{home} cannot be imported: {error}") from error
    except (Exception, SystemExit) as error:
        from timeline.theory.failing import why

        raise BreakdownError(f"{home} cannot be imported: {why(error)}") from error
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise _none_of(
                f"the module {home}",
                name,
                [n for n, value in vars(module).items() if n[0] != "_" and callable(value)],
            )
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(
            f"{text} is a {type(found).__name__}: name a function that makes a model, or a model"
        )
    return Target(text, found, shapes or None)


_FAMILIES: dict[str, Callable[[str, str, list[Shape]], Target]] = {
    "torchvision": _torchvision,
    "transformers": _transformers,
    "keras": _keras,
}
