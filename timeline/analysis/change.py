"""A change to a weighed step, with the course that its tensors would take."""

from __future__ import annotations

from dataclasses import dataclass

from timeline.analysis.moments import Bytes


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
