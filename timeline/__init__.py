"""A memory timeline for deep-learning code: where it goes, by phase, with exact peaks.

``python -m timeline train.py`` records an unmodified script. In code: `record`, `phase`, `mark`,
`Recorder`. To read a recording: `load`, `analyze`. The theory of a model: `breakdown`; a
run predicted for a GPU without one: `estimate`.
"""

from __future__ import annotations

from timeline._version import __version__
from timeline.errors import TimelineError
from timeline.recorder.session import mark, phase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from timeline.analysis.analyze import analyze
    from timeline.interchange.loading import load
    from timeline.recorder.decorator import record
    from timeline.recorder.recorder import Recorder
    from timeline.theory.advising import advice
    from timeline.theory.breakdown import breakdown
    from timeline.theory.estimate import estimate

__all__ = [
    "Recorder",
    "TimelineError",
    "__version__",
    "advice",
    "analyze",
    "breakdown",
    "estimate",
    "load",
    "mark",
    "phase",
    "record",
]

_LATER = {
    "Recorder": "timeline.recorder.recorder",
    "record": "timeline.recorder.decorator",
    "load": "timeline.interchange.loading",
    "analyze": "timeline.analysis.analyze",
    "advice": "timeline.theory.advising",
    "breakdown": "timeline.theory.breakdown",
    "estimate": "timeline.theory.estimate",
}


def __getattr__(name: str) -> object:
    """The rest of the door opens on first use (PEP 562): importing timeline stays light."""
    home = _LATER.get(name)
    if home is None:
        raise AttributeError(f"module 'timeline' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
