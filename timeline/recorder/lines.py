"""Line by line: memory_profiler's LineProfiler traces chosen functions, and we own where it goes.

The functions are chosen by name, ``module.function`` or ``function`` of the script, or by a
decorator. Nothing of memory_profiler is imported unless lines were asked for. Tracing makes every
call of the program slower, and a chosen function much slower: it reads memory after each line.
"""

from __future__ import annotations

import os
import sys

from timeline.recorder import session
from timeline.recorder.say import say
from timeline.recording.format import FORMAT_VERSION, LINES, temporary_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import CodeType, FrameType
    from typing import Any

_MIB = 1 << 20

PHASES_KEPT = 8
"""Of a line that runs many phases, such as a call of the whole training, the first so many."""

current: Lines | None = None
"""What traces in this process, if something does."""


class _Seen:
    """What the runs of one line came to, in MiB."""

    def __init__(self) -> None:
        self.memory = self.increment = 0.0
        self.count = 0
        self.phases: dict[str, None] = {}


class Lines:
    """Traces functions in the thread that starts it, until `stop`.

    Attributes:
        names: ``module.function`` as the program knows the module; without a dot, of ``__main__``.
    """

    def __init__(self, own: session.Session, names: Iterable[str] = ()) -> None:
        """Import memory_profiler, and follow which phases begin.

        Raises:
            ImportError: it is not there.
        """
        from memory_profiler import LineProfiler, _get_memory

        self.names = {name if "." in name else f"__main__.{name}" for name in names}
        self._session = own
        self._open: dict[int, str] = {}
        self._begun: list[str] = []
        self._profiler = LineProfiler(backend="psutil")
        self._profiler._original_trace_function = None
        self._map = self._profiler.code_map
        self._map.trace = self._traced
        self._memory: Callable[[], float] = lambda: _get_memory(-1, self._profiler.backend)
        self._before: list[float] = []  # of each traced function that is running
        self._seen: dict[tuple[CodeType, int], _Seen] = {}
        self._callers: dict[CodeType, str] = {}
        self._refused: set[CodeType] = set()
        begin, end = own.begin, own.end

        def begun(opened: session.Open, path: str, detail: str = "") -> None:
            begin(opened, path, detail)
            self._open[opened.number] = path
            if len(self._begun) < PHASES_KEPT and path not in self._begun:
                self._begun.append(path)

        def ended(opened: session.Open) -> None:
            self._open.pop(opened.number, None)
            end(opened)

        own.begin, own.end = begun, ended  # type: ignore[method-assign]

    def start(self) -> None:
        """Trace from here on, in this thread."""
        global current
        current = self
        sys.settrace(self._gate)

    def stop(self) -> None:
        """Trace no more, and write the document."""
        global current
        if current is self:
            current = None
        if sys.gettrace() == self._gate:
            sys.settrace(None)
        try:
            self._write()
        except Exception as error:  # the program's end is not to fail for it
            self._session.missing(f"lines cannot be written: {type(error).__name__}: {error}")

    def choose(self, code: CodeType, name: str) -> None:
        """Trace a function whatever its name; its next call is the first."""
        self.names.add(name)
        self._add(code, name)

    def _gate(self, frame: FrameType, event: str, arg: Any) -> Any:
        """At each call of the program: is it one that was chosen?"""
        code = frame.f_code
        if code not in self._map:
            if code in self._refused:
                return None
            name = f"{frame.f_globals.get('__name__', '')}.{code.co_qualname}"
            if name not in self.names:
                self._refused.add(code)
                return None
            if not self._add(code, name):
                return None
        self._begun.clear()
        self._before.append(self._memory())
        return self._profiler.trace_memory_usage(frame, event, arg)

    def _add(self, code: CodeType, name: str) -> bool:
        try:
            if os.path.exists(code.co_filename):  # else it prints to the program's stdout
                self._map.add(code)
        except (OSError, TypeError):  # no source
            pass
        if code not in self._map:
            self._refused.add(code)
            self._session.missing(f"lines of {name}: its source is in no file")
            return False
        self._callers[code] = name
        return True

    def _traced(self, code: CodeType, line: int, before: int | None) -> None:
        """A line has ended: its memory is read, and its phases are those that began in it.

        In the place of memory_profiler's own sum, which compares with the largest reading of the
        line before, of whatever call: its first line has the whole process, once a call.
        """
        memory = self._memory()
        seen = self._seen.setdefault((code, line), _Seen())
        if self._before:
            seen.increment += memory - self._before[-1]
            self._before[-1] = memory
        seen.memory = max(seen.memory, memory)
        seen.count += 1
        for path in self._begun or self._around():
            if len(seen.phases) < PHASES_KEPT:
                seen.phases[path] = None
        self._begun.clear()
        # At a return LineProfiler forgets the function before it tells of its last line.
        if len(self._profiler.prevlines) < len(self._before):
            self._before.pop()

    def _around(self) -> list[str]:
        """The innermost phase that is open here."""
        opened = session._inside.get()
        while opened is not None and opened.session is None:
            opened = opened.outer
        path = self._open.get(opened.number) if opened is not None else None
        return [path] if path else []

    def _write(self) -> None:
        import json
        import linecache

        functions = []
        for file, code, numbers in self._map._toplevel:
            lines: list[dict[str, Any]] = []
            for number in numbers:
                text = linecache.getline(file, number).rstrip("\r\n")
                entry: dict[str, Any] = {"line": number, "text": text}
                seen = self._seen.get((code, number))
                if seen is not None:
                    entry |= {
                        "memory": round(seen.memory * _MIB),
                        "increment": round(seen.increment * _MIB),
                        "count": seen.count,
                        "phases": list(seen.phases),
                    }
                lines.append(entry)
            name = self._callers.get(code, code.co_qualname)
            functions.append({"name": name, "file": file, "lines": lines})
        known = {each["name"] for each in functions if any("count" in n for n in each["lines"])}
        for name in sorted(self.names - known):
            self._session.missing(f"lines of {name}: {_why_none(name)}")
        path = os.path.join(self._session.directory, LINES)
        temporary = temporary_name(path)
        with open(temporary, "w", encoding="ascii") as file_:
            json.dump({"timeline": FORMAT_VERSION, "functions": functions}, file_)
        os.replace(temporary, path)


def _why_none(name: str) -> str:
    """Why a function that was chosen has no lines: it, or its module, is not there."""
    words = name.split(".")
    for count in range(len(words) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(words[:count]))
        if found is not None:
            break
    else:
        if _is_module(words[0]):
            return f"{words[0]} was not imported"
        if hasattr(sys.modules.get("__main__"), words[0]):
            return f"there is no module {words[0]}: of the program's own it is __main__.{name}"
        return f"there is no module {words[0]}"
    where = "the program" if words[0] == "__main__" else ".".join(words[:count])
    for word in words[count:]:
        if word == "<locals>":  # a function that another one makes can be looked for nowhere
            break
        if not hasattr(found, word):
            if hasattr(found, "__path__") and _is_module(f"{found.__name__}.{word}"):
                return f"{found.__name__}.{word} was not imported"
            return f"there is no {'.'.join(words[count:])} in {where}"
        found = getattr(found, word)
    return "it was not called"


def _is_module(name: str) -> bool:
    """Whether there is one to import; the package that it is in has been imported."""
    from importlib.util import find_spec

    try:
        return find_spec(name) is not None
    except Exception:  # whatever a finder of the program's own raises
        return False


def others_trace() -> bool:
    """Whether something traces this thread that is not ours: a debugger, or coverage."""
    tracer = sys.gettrace()
    return tracer is not None and (current is None or tracer != current._gate)


def start(own: session.Session, names: Iterable[str]) -> Lines | None:
    """Trace functions by name; None where that cannot be, which the recording says."""
    try:
        lines = Lines(own, names)
    except Exception as error:
        why = f"no lines: memory_profiler cannot be used: {type(error).__name__}: {error}"
        own.missing(why)
        say(why)
        return None
    lines.start()
    return lines


def asked_for(directory: str) -> list[str]:
    """The functions that the launcher wants, as it has left them in the run directory."""
    try:
        with open(os.path.join(directory, LINES), encoding="ascii") as file:
            text = file.read()
    except (OSError, ValueError):
        return []
    import json

    wanted = json.loads(text).get("wanted", [])
    return [str(name) for name in wanted]


def ask_for(directory: str, names: Iterable[str]) -> None:
    """Leave the names for the program, in the run directory.

    Raises:
        OSError: it cannot be written.
    """
    import json

    with open(os.path.join(directory, LINES), "w", encoding="ascii") as file:
        json.dump({"timeline": FORMAT_VERSION, "functions": [], "wanted": list(names)}, file)


def traced(function: Any) -> Any:
    """The function, whose lines are traced wherever something records."""
    code = getattr(function, "__code__", None)
    if code is None:
        return function
    name = f"{function.__module__}.{code.co_qualname}"

    def with_lines(*args: Any, **kwargs: Any) -> Any:
        own = session.current
        if own is None:
            return function(*args, **kwargs)
        outer = current
        lines = outer or start(own, ())
        if lines is None:
            return function(*args, **kwargs)
        lines.choose(code, name)
        try:
            return function(*args, **kwargs)
        finally:
            if outer is None:
                lines.stop()

    return with_lines
