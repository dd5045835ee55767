"""What is worth keeping of the exception that a program ends with.

Imported when there is one, and not before.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

_FURTHEST = 10
"""How many causes of an exception are looked at, and how many would not end."""

_LONGEST = 400
_TRACEBACK = 1000


def described(error: BaseException) -> dict[str, object]:
    """What is worth keeping of it, by the keys of the line; where memory was the cause, of that."""
    error = _cause(error)
    found: dict[str, object] = {"type": _name(error), "p": _text(error)}
    where = _where(error.__traceback__)
    if where:
        found["at"] = where
    for key, size in (("virtual", _most_address_space()), ("limit", _allowed())):
        if size is not None:
            found[key] = size
    return found


def _cause(error: BaseException) -> BaseException:
    """The error of memory among the causes, else the exception itself."""
    each: BaseException | None = error
    for _ in range(_FURTHEST):
        if each is None:
            break
        if isinstance(each, MemoryError) or type(each).__name__ == "OutOfMemoryError":
            return each
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return error


def _name(error: BaseException) -> str:
    # NumPy's own is a MemoryError by a long name that nobody knows.
    kind = MemoryError if isinstance(error, MemoryError) else type(error)
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def _text(error: BaseException) -> str:
    try:
        lines = str(error).strip().splitlines()
    except Exception:
        return ""
    return lines[0][:_LONGEST] if lines else ""


def _where(trace: TracebackType | None) -> str:
    """The innermost line of the program's own that it came through, else of any code."""
    inside = own = ""
    for _ in range(_TRACEBACK):
        if trace is None:
            break
        file = trace.tb_frame.f_code.co_filename
        inside = f"{os.path.basename(file)}:{trace.tb_lineno}"
        if not file.startswith("<") and not _is_library(file):
            own = inside
        trace = trace.tb_next
    return own or inside


def _is_library(file: str) -> bool:
    library = os.path.dirname(os.__file__)
    return file.startswith(library + os.sep) or f"{os.sep}site-packages{os.sep}" in file


def _most_address_space() -> int | None:
    try:
        with open("/proc/self/status", "rb") as file:
            status = file.read()
        at = status.index(b"VmPeak:") + 7
        return int(status[at:].split(None, 1)[0]) << 10
    except (OSError, ValueError, IndexError):
        return None


def _allowed() -> int | None:
    try:
        import resource

        soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    except (ImportError, OSError, ValueError, AttributeError):
        return None
    return None if soft == resource.RLIM_INFINITY or soft >= 1 << 47 else soft
