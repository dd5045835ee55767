"""`record`: a decorator whose outermost call makes a recording and whose inner calls are phases."""

from __future__ import annotations

import sys
from functools import partial, update_wrapper

from timeline.errors import UsageError
from timeline.recorder import session
from timeline.recorder.recorder import Recorder, switched_off
from timeline.recorder.say import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Callable, Generator
    from types import TracebackType
    from typing import Any, TypeVar, overload

    F = TypeVar("F", bound=Callable[..., Any])

# Of inspect, which costs 5 ms to import, only these: the flags of a code object.
_GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x200

if TYPE_CHECKING:

    @overload
    def record(function: F, /) -> F: ...

    @overload
    def record(
        *,
        directory: str | os.PathLike[str] | None = None,
        name: str | None = None,
        interval_s: float = 0.01,
        exact: bool = True,
        backend: str = "auto",
        charts: bool = True,
        sampler: str = "process",
        force: bool = False,
        anatomy: int | str = "auto",
        snapshot: bool = False,
        lines: bool = False,
    ) -> Callable[[F], F]: ...


def record(function: Any = None, /, **options: Any) -> Any:
    """Record each outermost call of a function; calls inside a recording become phases of it.

    ``@record`` or ``@record(interval_s=0.001, …)``, on functions, async functions, generators,
    async generators and methods. The phase is called by the function's qualified name, or
    ``name``. A generator's phase lasts from its first value to its end, the loop around it
    included. A call that cannot be recorded says so on stderr and runs. In a child process, forked
    or made by multiprocessing, no call is recorded; `Recorder` records there where it is asked to.

    Args:
        function: what to record, where no option is given.
        **options: those of `Recorder`. ``directory`` names the first recording; a later one, and
            one that finds something there, has a number behind it. ``force`` is for the first.
            And ``lines``: whether to trace memory line by line, as memory_profiler does.

    Raises:
        UsageError: an option cannot be, or what is decorated is no function.
    """
    if function is None:
        # What cannot be is told where it is written, not at the first call.
        _recorder({key: each for key, each in options.items() if key != "lines"})
        return partial(_decorate, options=options)
    if options:
        raise UsageError("record takes options by name alone: @record(name='train')")
    return _decorate(function, {})


def _decorate(function: Any, options: dict[str, Any]) -> Any:
    for kind in (staticmethod, classmethod):
        if isinstance(function, kind):
            return kind(_decorate(function.__func__, options))
    if isinstance(function, (type, property)) or not callable(function):
        raise UsageError(
            f"record takes a function or method, not {function!r}: "
            "decorate a class's methods, a property's getter, or use @record(name=…)"
        )
    path = session.as_text(options.get("name") or _path_of(function))
    options = {**options, "name": path}
    if options.pop("lines", False):
        function = _with_lines(function)
    flags = _flags_of(function)
    if flags & _ASYNC_GENERATOR:
        wrapper = _around_async_generator(function, path, options)
    elif flags & _COROUTINE:
        wrapper = _around_coroutine(function, path, options)
    elif flags & _GENERATOR:
        wrapper = _around_generator(function, path, options)
    else:
        wrapper = _around_function(function, path, options)
    return update_wrapper(wrapper, function)


def _with_lines(function: Any) -> Any:
    if _flags_of(function) & (_GENERATOR | _COROUTINE | _ASYNC_GENERATOR):
        raise UsageError(
            "record(lines=True) takes a plain function: lines of a generator or an "
            "async function run in turn with others"
        )
    from timeline.recorder.lines import traced

    return update_wrapper(traced(function), function)


def _around_function(function: Any, path: str, options: dict[str, Any]) -> Any:
    def recorded(*args: Any, **kwargs: Any) -> Any:
        with _Call(path, options):
            return function(*args, **kwargs)

    return recorded


def _around_coroutine(function: Any, path: str, options: dict[str, Any]) -> Any:
    async def recorded(*args: Any, **kwargs: Any) -> Any:
        with _Call(path, options):
            return await function(*args, **kwargs)

    return recorded


def _around_generator(function: Any, path: str, options: dict[str, Any]) -> Any:
    def recorded(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        with _Call(path, options):
            return (yield from function(*args, **kwargs))

    return recorded


def _around_async_generator(function: Any, path: str, options: dict[str, Any]) -> Any:
    async def recorded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        with _Call(path, options):
            inner = function(*args, **kwargs)
            try:
                value = await inner.__anext__()
                while True:  # what `yield from` does, which async generators do not have
                    try:
                        sent = yield value
                    except GeneratorExit:
                        raise
                    except BaseException as error:
                        value = await inner.athrow(error)
                    else:
                        value = await inner.asend(sent)
            except StopAsyncIteration:
                return
            finally:
                await inner.aclose()

    return recorded


class _Call:
    """One call: a phase, and a recording around it where nothing records yet."""

    __slots__ = ("_opened", "_options", "_path", "_recorder")

    def __init__(self, path: str, options: dict[str, Any]) -> None:
        self._path = path
        self._options = options

    def __enter__(self) -> None:
        self._recorder: Recorder | None = None
        if session.current is None and not switched_off() and _records_here(self._path):
            try:
                self._recorder = _recorder(self._options)
                self._recorder.start()
                # What force overwrites is of before: the next call must not overwrite this one.
                self._options["force"] = False
            except Exception as error:
                self._recorder = None
                say(f"{self._path} is not recorded: {error}")
        # Another thread may have been first with its recording, which has absorbed this one.
        absorbed = self._recorder is not None and self._recorder.absorbed
        self._opened = None if absorbed else session.enter(self._path)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        session.leave(self._opened)
        if self._recorder is not None:
            self._recorder.__exit__(kind, error, trace)


_said_where = False


def _records_here(path: str) -> bool:
    """Whether a call may make a recording: in a program's first process, and in no worker of it.

    Each of its workers, each epoch anew, would leave one for each item that it is asked for.
    """
    global _said_where
    if session.forked_while_recording:
        return False
    if not session.forked and not _made_by_multiprocessing():
        return True
    loading = sys.modules.get("torch.utils.data._utils.worker")
    if not _said_where and getattr(loading, "_worker_info", None) is None:
        _said_where = True
        say(f"{path} is not recorded in a child process (`with timeline.Recorder():` would)")
    return False


def _made_by_multiprocessing() -> bool:
    # Loaded in every child of it, spawned or from its server; and else nobody's need.
    made = sys.modules.get("multiprocessing.process")
    if made is None:
        return False
    try:
        # While it runs the program's main module again it has no parent yet.
        inheriting = getattr(made.current_process(), "_inheriting", False)
        return bool(inheriting) or made.parent_process() is not None
    except Exception:  # a program's own module of that name
        return False


def _recorder(options: dict[str, Any]) -> Recorder:
    try:
        recorder = Recorder(**options)
    except TypeError as error:
        raise UsageError(f"record has no such option: {error}") from None
    recorder.numbered = True
    return recorder


def _path_of(function: Any) -> str:
    while isinstance(function, partial):
        function = function.func
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return str(name).replace(".<locals>", "")


def _flags_of(function: Any) -> int:
    while isinstance(function, partial):
        function = function.func
    function = getattr(function, "__func__", function)
    if not hasattr(function, "__code__"):
        function = getattr(type(function), "__call__", None)  # noqa: B004 - of an object
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    return flags if isinstance(flags, int) else 0
