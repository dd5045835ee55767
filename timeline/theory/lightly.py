"""Keeps out of a process what torch would import there and a model that is followed never needs.

The first fake tensor imports a setting of ``torch._dynamo``, and the first optimizer a decorator of
it, as torchvision does; that brings the whole compiler, and triton with it: 120 MiB and 1.5 s of
CPU with torch 2.14's CUDA wheel. The first operator on a fake tensor imports the arithmetic of
symbolic sizes, and sympy with it. Here a stand-in takes the place of each, which lets through what
needs none of that. Whatever else is asked of it brings the real one, and it stands aside.

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

from timeline.theory import plain_sizes

COMPILER = "torch._dynamo"

HARMLESS = {
    f"{COMPILER}.{each}"
    for each in (
        "config", "utils", "source", "metrics_context", "graph_utils", "bytecode_analysis",
        "bytecode_transformation", "_trace_wrapped_higher_order_op",
    )
}  # fmt: skip
"""Modules of it that can be imported alone."""


class _StandIn(ModuleType):
    """A module or a package, until more is wanted than it has."""

    def __init__(self, name: str, finder: _Finder) -> None:
        super().__init__(name)
        self.__dict__["_finder"] = finder

    def __getattr__(self, name: str) -> Any:
        # Python itself asks every module for its file and the like.
        if name.startswith("__") and name not in ("__all__", "__version__"):
            raise AttributeError(name)
        finder = self.__dict__["_finder"]
        inside = f"{finder.name}.{name}"
        if inside in finder.harmless:
            return import_module(inside)
        if finder.names_only(name, sys._getframe(1).f_globals.get("__name__")):
            return _Nothing
        return getattr(finder.the_real(), name)


class _Nothing:
    """A class that nothing is of."""


class _Finder(MetaPathFinder, Loader):
    """Finds a stand-in in the place of a module, and brings the module itself.

    Args:
        name: of the module.
        answers: what the stand-in has, given what brings the real one.
        harmless: modules in it that can be imported alone.
        named: classes that are asked for by one module only to see whether something is of them, or
            for symbols alone: with the name of that module.
    """

    def __init__(
        self,
        name: str,
        answers: Callable[[Callable[[], Any]], dict[str, Any]] = lambda real: {},
        harmless: frozenset[str] | set[str] = frozenset(),
        named: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self.harmless = harmless
        self._answers = answers
        self._named = named or {}

    def names_only(self, name: str, module: str | None) -> bool:
        """Whether a module asks for a class that it cannot meet, since nobody has made one."""
        return module is not None and self._named.get(name) == module and self in sys.meta_path

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == self.name:
            found = PathFinder.find_spec(name, path)
            if found is None:
                return None
            inside = found.submodule_search_locations
            spec = ModuleSpec(name, self, origin=found.origin, is_package=inside is not None)
            spec.has_location = found.has_location
            if inside is not None:
                spec.submodule_search_locations = inside
            return spec
        if not name.startswith(f"{self.name}."):
            return None
        if name in self.harmless:
            found = PathFinder.find_spec(name, path)
            if found is not None and found.loader is not None:
                found.loader = _WithoutTriton(found.loader)
            return found
        self.the_real()
        # Where the real package has imported it, it is to be that one and not a second.
        return ModuleSpec(name, _Known()) if name in sys.modules else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StandIn(spec.name, self)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__.update(self._answers(self.the_real))

    def the_real(self) -> ModuleType:
        """Stand aside, and import it."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            parts = [each for each in sys.modules if f"{each}.".startswith(f"{self.name}.")]
            for each in parts:
                del sys.modules[each]
            home, _, own = self.name.rpartition(".")
            if home in sys.modules:
                sys.modules[home].__dict__.pop(own, None)
        return import_module(self.name)


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


def _as_it_is(function: Any = None, *_: object, **__: object) -> Any:
    return (lambda each: each) if function is None else function


def _nothing(*_: object, **__: object) -> None:
    return None


def _of_the_compiler(real: Callable[[], Any]) -> dict[str, Any]:
    as_it_is = ("disable", "allow_in_graph", "disallow_in_graph", "forbid_in_graph",
                "assume_constant_result")  # fmt: skip
    return {
        **dict.fromkeys(as_it_is, _as_it_is),
        **dict.fromkeys(("graph_break", "mark_static_address"), _nothing),
    }


_FINDERS = (
    _Finder(COMPILER, _of_the_compiler, HARMLESS),
    _Finder(plain_sizes.NAME, plain_sizes.answers),
    # torch/_prims_common/__init__.py: in elementwise_dtypes and in is_non_overlapping_and_dense.
    _Finder("sympy", named={"Basic": "torch._prims_common"}),
    _Finder("torch.utils._sympy.functions", named={"Max": "torch._prims_common"}),
)


def without_compiler() -> None:
    """From here on torch does without its compiler and without symbols; nothing if it is there."""
    if "torch" not in sys.modules:
        sys.meta_path[:0] = _FINDERS


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
