"""A change to a weighed step, with the course that its tensors would take."""

from __future__ import annotations

from dataclasses import dataclass

from timeline.analysis.advice.moments import Bytes


@dataclass(frozen=True, slots=True)
class Change:
    """A step as it would be; ``kind``, ``what``, ``costs`` and ``layers`` as those of an `Advice`.

    Attributes:
        course: at each moment, the bytes that tensors would hold.
    """

    kind: str
    what: str
    costs: str
    course: Bytes
    layers: tuple[str, ...] = ()


def listed(names: tuple[str, ...]) -> str:
    """Names of layers, the first and the last of many."""
    if len(names) <= 4:
        return ", ".join(names)
    return f"{', '.join(names[:2])} … {names[-1]} ({len(names)} layers)"
