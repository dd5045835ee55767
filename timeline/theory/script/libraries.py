"""Libraries that a script may import, put in order as soon as they are."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from timeline.theory.script import values
from timeline.theory.script.saved import Shelf
from timeline.theory.script.values import line


def watch(shelf: Shelf, note: Callable[[str], None]) -> None:
    """Wait for them to be imported."""

    def of_safetensors(module: Any) -> None:
        module.save_file = shelf.save
        module.load_file = lambda filename, device="cpu": shelf.load(filename, str(device))

    def of_transformers(module: Any) -> None:
        def save_pretrained(self: Any, save_directory: Any, *_: object, **__: object) -> None:
            note(f"{line()} saves a model, which has no values: only its configuration is written")
            os.makedirs(save_directory, exist_ok=True)
            self.config.save_pretrained(save_directory)

        module.PreTrainedModel.save_pretrained = save_pretrained

    sys.meta_path.insert(
        0,
        _After(
            {
                "safetensors.torch": of_safetensors,
                "transformers.modeling_utils": of_transformers,
                "torchvision": lambda module: values.learn_torchvision(),
            }
        ),
    )


class _After:
    """A finder that has something done after a module's code has run.

    Args:
        then: by the module's name.
    """

    def __init__(self, then: dict[str, Callable[[Any], None]]) -> None:
        self._then = then

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that Python finds, with a loader that goes on to what is to be done."""
        then = self._then.get(name)
        spec = PathFinder.find_spec(name, path, target) if then else None
        loader: Any = spec.loader if spec else None
        if then is None or loader is None:
            return None
        run = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            then(module)

        loader.exec_module = exec_module
        return spec
