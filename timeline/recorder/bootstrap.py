"""What happens in the program that is recorded, before its first line.

It is called from ``inject/sitecustomize.py`` while the interpreter starts, on its way to plain
``python script.py``. Whatever goes wrong here costs the recording its phases, and the program
nothing.
"""

from __future__ import annotations

from timeline.recorder import session
from timeline.recorder.overall import Overall, replace_getrusage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Of inspect, which costs 5 ms to import: a generator, a coroutine or an asynchronous generator.
_NOT_RUN_BY_A_CALL = 0x20 | 0x80 | 0x200


def start(
    directory: str, *, exact: bool, fd: int, anatomy: int = 0, snapshot: bool = False
) -> None:
    """Open this process's part of the recording and let phases begin. Never raises.

    Args:
        directory: the run directory.
        exact: whether marks take readings.
        fd: of the `Overall` that the sampler notes in; -1 for none.
        anatomy: the number of the training step to weigh; 0 for none, -1 for an early one.
        snapshot: whether torch's own history of GPU memory is recorded and written.
    """
    overall = None
    try:
        if fd >= 0:
            overall = Overall(fd)
        own = session.Session(directory, exact=exact)
    except (OSError, ValueError):
        # Without a file of marks the launcher sees that there is none, and says so.
        return
    import atexit

    # The first to be registered is the last to run: the program's own ends are still recorded.
    atexit.register(own.close_at_exit)
    session.activate(own)
    if own.own is not None:
        replace_getrusage(own.own, overall, launched=True)
    try:
        from timeline.recorder import hooks

        hooks.install(anatomy=anatomy, snapshot=snapshot)
        if anatomy:
            atexit.register(hooks.close_anatomy)
    except Exception as error:
        own.missing(f"no phases without being asked: {type(error).__name__}: {error}")
    _trace_lines(own)
    import builtins

    # kernprof and mprof put a profile there, and scripts are left with it.
    vars(builtins).setdefault("profile", profile)


def _trace_lines(own: session.Session) -> None:
    """Trace functions line by line, if the launcher has left names of some."""
    import os

    if not os.path.exists(os.path.join(own.directory, "lines.json")):
        return
    try:
        import atexit

        from timeline.recorder import lines

        tracer = lines.start(own, lines.asked_for(own.directory))
        if tracer is not None:
            atexit.register(tracer.stop)
    except Exception as error:
        own.missing(f"no lines: {type(error).__name__}: {error}")


def profile(function: Any = None, /, **options: Any) -> Any:
    """``@profile`` without an import: each call of the function is a phase called by its name."""
    if function is None:
        return profile
    flags = getattr(getattr(function, "__code__", None), "co_flags", _NOT_RUN_BY_A_CALL)
    if flags & _NOT_RUN_BY_A_CALL:
        return function
    path = function.__qualname__.replace(".<locals>", "")

    def profiled(*args: Any, **kwargs: Any) -> Any:
        opened = session.enter(path)
        try:
            return function(*args, **kwargs)
        finally:
            session.leave(opened)

    for name in ("__module__", "__name__", "__qualname__", "__doc__", "__annotations__"):
        setattr(profiled, name, getattr(function, name))
    profiled.__dict__.update(function.__dict__)
    profiled.__dict__["__wrapped__"] = function
    return profiled
