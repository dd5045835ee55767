"""What stands beside an estimate: the files that it goes to, and a recording laid over it."""

from __future__ import annotations

from pathlib import Path

from timeline.errors import UsageError
from timeline.theory.estimate_types import Estimate
from timeline.views.course import Measured

SUFFIXES = (".html", ".png", ".json", ".txt")


def checked(path: Path) -> Path:
    """The path, if its suffix says what to write.

    Raises:
        UsageError: it does not.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"{path} has no suffix that says what to write: use one of {', '.join(SUFFIXES)}"
        )
    return path


def over(run: str, estimate: Estimate) -> Measured:
    """What a recording measured, on the axis of an estimate.

    Raises:
        RecordingError: there is no recording.
        UsageError: it has no memory of torch on a GPU.
    """
    from timeline.analysis.overlay import on_axis_of
    from timeline.interchange.loading import load

    found = on_axis_of(load(run), estimate.course)
    return Measured(
        name=Path(run).name,
        x={kind: each.x for kind, each in found.items()},
        series={kind: each.size for kind, each in found.items()},
        peaks={kind: each.peak for kind, each in found.items()},
    )
