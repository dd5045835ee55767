"""Changes to a weighed step, each with the course that its tensors would take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from timeline.analysis.moments import ACTIVATION, INPUT, Bytes, Moments
from timeline.recording.anatomy import Anatomy


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


def changes(weighed: Anatomy, moments: Moments) -> Iterator[Change]:
    """Every change that the recording can tell of, whether it saves or not."""
    yield from _smaller_batch(moments)


def _smaller_batch(moments: Moments) -> Iterator[Change]:
    size = moments.course.batch
    if size < 2:
        return
    with_it = moments.of(ACTIVATION, INPUT) + moments.passing
    gone = with_it * (size - size // 2) // size
    yield Change(
        "batch",
        f"a batch of {size // 2} instead of {size}; two of them and one optimizer step give "
        "the same gradients, except through batch normalisation",
        "twice as many passes",
        moments.total - gone,
    )
