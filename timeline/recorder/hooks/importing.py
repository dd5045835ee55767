"""Wait for an import, whoever does it and however, and leave no frame in its traceback.

A finder in front of the others asks them for the module's spec, and gives it a class that notices
when the import system sets ``_initializing`` back to False: that is the end of the import, failed
or not, and it comes after the module's code has left the stack. A wrapper around the loader's
``exec_module`` would show in the traceback of a torch that fails to import. `imported` watches
imports of all modules in the same way.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

_waiting: dict[int, list[Watcher]] = {}
"""By the id of a spec, the watchers that wait for its import to end; the last one came first."""


class _WatchedSpec(ModuleSpec):
    """The class that a module's spec has until its import has ended."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name != "_initializing":
            return
        if value:
            watchers = _waiting.get(id(self), [])
        else:
            watchers = _waiting.pop(id(self), [])
            self.__class__ = ModuleSpec  # type: ignore[assignment]
        for watcher in reversed(watchers):
            try:
                if value:
                    watcher.began()
                else:
                    watcher.ended()
            except Exception:  # it is the program that imports
                pass


class Watcher:
    """Stands in front of the finders, and waits for the end of imports that it has found."""

    def watch(self) -> None:
        """Be asked for every module that is looked for."""
        sys.meta_path.insert(0, self)

    def leave(self) -> None:
        """Be asked no more, and wait for no end."""
        # By identity: a finder of the program may define an __eq__ of its own.
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not self]
        for key, watchers in list(_waiting.items()):
            if self in watchers:
                watchers.remove(self)
            if not watchers:
                _waiting.pop(key, None)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The others' spec for a module that is waited for; nothing for every other one."""
        raise NotImplementedError

    def others(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        """What the finders behind this one find."""
        finders = list(sys.meta_path)
        places = [place for place, finder in enumerate(finders) if finder is self]
        # Those before it have asked already, and two watchers would ask each other for ever. One
        # that has left meanwhile asks no other: it may be asked by that.
        behind = finders[places[0] + 1 :] if places else finders
        for finder in behind:
            find = getattr(finder, "find_spec", None)
            if find is None or (not places and isinstance(finder, Watcher)):
                continue
            spec: ModuleSpec | None = find(name, path, target)
            if spec is not None:
                return spec
        return None

    def at_end_of(self, spec: ModuleSpec | None) -> None:
        """Wait for the end of the import that uses this spec."""
        if type(spec) is ModuleSpec:
            _waiting[id(spec)] = [self]
            spec.__class__ = _WatchedSpec
        elif type(spec) is _WatchedSpec:
            watchers = _waiting.setdefault(id(spec), [])
            if self not in watchers:
                watchers.append(self)

    def not_at_end_of(self, spec: ModuleSpec | None) -> None:
        """Do not wait for it after all."""
        if type(spec) is not _WatchedSpec:
            return
        watchers = _waiting.get(id(spec), [])
        if self in watchers:
            watchers.remove(self)
        if not watchers:
            _waiting.pop(id(spec), None)
            spec.__class__ = ModuleSpec  # type: ignore[assignment]

    def began(self) -> None:
        """The module's code begins to run."""

    def ended(self) -> None:
        """It has run, to its end or not."""


class ModuleWatcher(Watcher):
    """Calls ``then`` once, when an import of a module has ended well."""

    def __init__(self, name: str, then: Callable[[], None]) -> None:
        self._name = name
        self._then: Callable[[], None] | None = then

    def stop(self) -> None:
        """Call nobody any more, and leave nothing behind."""
        self._then = None
        self.leave()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The others' spec for the module; nothing for every other one."""
        if name != self._name or self._then is None:
            return None
        spec = self.others(name, path, target)
        # It may only have been looked up, as by importlib.util.find_spec: keep watching.
        self.at_end_of(spec)
        return spec

    def ended(self) -> None:
        """An import of it has ended, well or not."""
        then = self._then
        if then is not None and self._name in sys.modules:
            self.stop()
            then()


def is_importing(module: ModuleType) -> bool:
    """Whether the module's code is still running."""
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))
