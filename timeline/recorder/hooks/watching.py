"""What looks on while a phase of the weighed step is open, and tells the anatomy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from timeline.recorder.hooks.nesting import Watch

if TYPE_CHECKING:
    from timeline.recorder.hooks.anatomy import Anatomy
    from timeline.recorder.hooks.passage import Call
    from timeline.recorder.session import Open


class Watching(Watch):
    """Looks on at a call of a module or a backward."""

    __slots__ = ("_anatomy", "_call", "_inputs", "_module")

    def __init__(self, anatomy: Anatomy, module: Any, inputs: Any) -> None:
        """``module`` is None for a backward, whose ``inputs`` are what it begins from."""
        self._anatomy = anatomy
        self._module = module
        self._inputs = inputs
        self._call: Call | None = None

    def begin(self, path: str, detail: str, opened: Open) -> bool:
        """The phase has begun."""
        # Not kept: the program may give its inputs back while the call runs.
        inputs, self._inputs = self._inputs, None
        self._call = self._anatomy.begins(path, detail, opened, self._module, inputs)
        return self._call is not None

    def returned(self, value: Any) -> None:
        """A model returns this."""
        self._anatomy.returned(value)

    def end(self) -> None:
        """The phase is about to end."""
        if self._call is not None:
            if self._module is not None:
                self._anatomy.leave()
            self._anatomy.ends(self._call)

    def ended(self) -> None:
        """Its mark is written."""
        if self._call is not None:
            self._anatomy.ended(self._call)


class Stepping(Watching):
    """Looks on at a step of an optimizer."""

    __slots__ = ("_optimizer",)

    def __init__(self, anatomy: Anatomy, optimizer: Any) -> None:
        super().__init__(anatomy, None, ())
        self._optimizer = optimizer

    def begin(self, path: str, detail: str, opened: Open) -> bool:
        """The step has begun."""
        weighed = super().begin(path, detail, opened)
        if weighed:
            self._anatomy.steps(self._optimizer)
        return weighed

    def ended(self) -> None:
        """Its mark is written."""
        super().ended()
        self._anatomy.stepped(self._optimizer)


class Waiting(Watch):
    """Looks on at steps after the weighed one: a new optimizer may take turns with the others."""

    __slots__ = ("_anatomy", "_looking", "_optimizer")

    def __init__(self, anatomy: Anatomy, optimizer: Any) -> None:
        self._anatomy = anatomy
        self._optimizer = optimizer
        self._looking = anatomy.looking()

    def begin(self, path: str, detail: str, opened: Open) -> bool:
        """The step has begun."""
        return self._looking is not None and self._looking.begin(path, detail, opened)

    def end(self) -> None:
        """It is about to end."""
        if self._looking is not None:
            self._looking.end()

    def ended(self) -> None:
        """Its mark is written."""
        self._anatomy.stepped(self._optimizer)


class InnerCall(Watch):
    """A module that is called inside a weighed call."""

    __slots__ = ("_anatomy",)

    def __init__(
        self,
        anatomy: Anatomy | None,
        module: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._anatomy = anatomy
        if anatomy is not None:
            anatomy.enter(module, args, kwargs)

    def end(self) -> None:
        """It returned."""
        if self._anatomy is not None:
            self._anatomy.leave()
