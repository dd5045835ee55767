"""The sampler of a recording made from inside: a process beside or, second best, a thread."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from timeline.recorder.beside import Beside
    from timeline.recorder.overall import Overall

    class Sampling(Protocol):
        """What a recording needs of its sampler."""

        def stop(self, words: dict[str, object]) -> str:
            """End it, within a bound. Returns a sentence about what went wrong, or nothing."""

        def abandon(self) -> None:
            """Let go of it, in a forked child."""


def start_sampling(
    kind: str, task: dict[str, Any], overall: Overall | None
) -> tuple[Sampling | None, str]:
    """Start the sampler.

    Args:
        kind: ``process`` or ``thread``.
        task: the arguments of `timeline.recorder.beside.Beside`.
        overall: keeps the true maximum for the program to see.

    Returns:
        The sampler, or None, and a sentence about what is not as it was asked for.
    """
    why = ""
    if kind == "process":
        from timeline.recorder.spawn import Worker, python_path

        shared = None if overall is None else overall.fd
        try:
            worker = Worker(
                {**task, "path": python_path(), "overall": shared},
                keep=() if shared is None else (shared,),
            )
        except Exception as error:
            why = f"sampling from a thread, which C code can hold up: {error}"
        else:
            return worker, ""
    try:
        return ThreadSampling(task, overall), why
    except Exception as error:
        return None, f"nothing is sampled, marks alone carry readings: {error}"


class ThreadSampling:
    """The sampler as a thread of the recorded process."""

    def __init__(self, task: dict[str, Any], overall: Overall | None) -> None:
        """Start it.

        Raises:
            TimelineError, OSError: it cannot read or write what it must.
        """
        from timeline.recorder.beside import Beside

        self._beside: Beside | None = Beside(**task, overall=overall, guest=True)
        self._beside.start()

    def stop(self, words: dict[str, Any]) -> str:
        """End it and write how the recording ended."""
        beside, self._beside = self._beside, None
        try:
            if beside is not None:
                beside.stop(**words)
        except Exception as error:
            return f"the recording's end could not be written: {error}"
        return ""

    def abandon(self) -> None:
        """In a forked child there is no such thread."""
        self._beside = None
