"""Keeps torch's compiler out of a process that will compile nothing.

The first fake tensor imports a setting of ``torch._dynamo``, and the first optimizer a decorator of
it, as torchvision does; that brings the whole compiler, and triton with it: 120 MiB and 1.5 s of
CPU with torch 2.14's CUDA wheel. Here a stand-in takes its place, which lets through what needs no
compiler. Whatever else is asked of it brings the real one, and it stands aside.

It is for a command's own process, before torch is imported there; never for a user's.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

NAME = "torch._dynamo"

HARMLESS = {
    f"{NAME}.{each}"
    for each in (
        "config", "utils", "source", "metrics_context", "graph_utils", "bytecode_analysis",
        "bytecode_transformation", "_trace_wrapped_higher_order_op",
    )
}  # fmt: skip
"""Modules of it that can be imported alone."""


def _as_it_is(function: Any = None, *_: object, **__: object) -> Any:
    return (lambda each: each) if function is None else function


def _nothing(*_: object, **__: object) -> None:
    return None


_ANSWERS: dict[str, Callable[..., Any]] = {
    "disable": _as_it_is,
    "allow_in_graph": _as_it_is,
    "disallow_in_graph": _as_it_is,
    "forbid_in_graph": _as_it_is,
    "assume_constant_result": _as_it_is,
    "graph_break": _nothing,
    "mark_static_address": _nothing,
}


class _StandIn(ModuleType):
    """The package, until more is wanted than it has."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        inside = f"{NAME}.{name}"
        return import_module(inside) if inside in HARMLESS else getattr(_the_real(), name)


class _Finder(MetaPathFinder, Loader):
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == NAME:
            found = PathFinder.find_spec(name, path)
            if found is None:
                return None
            spec = ModuleSpec(name, self, is_package=True)
            spec.submodule_search_locations = found.submodule_search_locations
            return spec
        if not name.startswith(f"{NAME}."):
            return None
        if name in HARMLESS:
            found = PathFinder.find_spec(name, path)
            if found is not None and found.loader is not None:
                found.loader = _WithoutTriton(found.loader)
            return found
        _the_real()
        # Where the real package has imported it, it is to be that one and not a second.
        return ModuleSpec(name, _Known()) if name in sys.modules else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__.update(_ANSWERS)


class _WithoutTriton(Loader):
    """Loads a module that would have triton imported, only to know of its types."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        hide = "triton" not in sys.modules
        if hide:
            sys.modules["triton"] = None  # type: ignore[assignment]
        try:
            self._loader.exec_module(module)
        finally:
            if hide:
                sys.modules.pop("triton", None)
                asked = getattr(sys.modules.get("torch.utils._triton"), "has_triton_package", None)
                if asked is not None:
                    asked.cache_clear()


class _Known(Loader):
    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        return None


_FINDER = _Finder()


def _the_real() -> ModuleType:
    """Stand aside, and import it."""
    if _FINDER in sys.meta_path:
        sys.meta_path.remove(_FINDER)
        for each in [each for each in sys.modules if each == NAME or each.startswith(f"{NAME}.")]:
            del sys.modules[each]
        torch: Any = sys.modules["torch"]
        torch.__dict__.pop("_dynamo", None)
    return import_module(NAME)


def without_compiler() -> None:
    """From here on torch does without its compiler; nothing if torch is there already."""
    if "torch" not in sys.modules:
        sys.meta_path.insert(0, _FINDER)


@contextmanager
def loading() -> Iterator[None]:
    """While open, torch is imported, and nothing is looked through for garbage.

    What is imported stays: searching it again and again took 0.4 s of 3.3 for torch, torchvision
    and a first breakdown. At the end all that is there is left out of later searches.
    """
    on = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if on:
            gc.enable()
