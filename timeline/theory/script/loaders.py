"""Data loaders that fetch a few batches, without workers, and give them again and again.

Most loaders give batches of one shape: then one is enough. Where the second differs from the first,
such as sentences padded to the longest among them, some more are fetched. The loop gets them in
their order, and from then on the one whose step needed the most.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _DatasetKind

from timeline.theory.script.values import line
from timeline.theory.storages import tensors_in

if TYPE_CHECKING:
    from timeline.theory.script.course import Course

ENOUGH = 2
"""Batches of a loop that trains nothing, such as an evaluation, or of any loop once the peak of
the training's step has repeated."""

LOOKED_AT = 8
"""Batches that are fetched where they differ."""

FETCHING_S = 10.0
"""Seconds after which no further one is fetched."""


def put_on(course: Course, note: Callable[[str], None]) -> None:
    """Let every DataLoader give its first batches as often as the course wants them."""
    feeds: dict[int, Feed] = {}

    def iterate(loader: Any) -> Iterator[Any]:
        course.fetching()
        feed = feeds.get(id(loader))
        if feed is None:
            feed = feeds[id(loader)] = Feed(loader, course)
            note(feed.said())
        return feed.again()

    DataLoader.__iter__ = iterate


class Feed:
    """The batches of one loader.

    Args:
        loader: it is kept, so that no other has its id.
        course: wants them.
    """

    def __init__(self, loader: Any, course: Course) -> None:
        self._loader = loader
        self._course = course
        self._batches = first_batches(loader)
        self._largest = max(self._batches, key=size_of, default=None)
        self._steps: list[int] = []  # by batch, the step that it was given for

    def said(self) -> str:
        """What is taken for granted of them."""
        batches = self._batches
        if not batches:
            return f"the loader at {line()} gives no batch"
        if len(batches) == 1:
            return f"every batch is like the first: {shapes_of(batches[0])}"
        smallest, largest = apart(min(batches, key=size_of), self._largest)
        return (
            f"the batches of the loader at {line()} differ (from {smallest} to "
            f"{largest}): its first {len(batches)} are followed, and then the one "
            "that needs the most again and again; a larger one would need more"
        )

    def again(self) -> Iterator[Any]:
        """One pass through the loader."""
        course = self._course
        trained, given = course.backwards, 0
        limit = _length(self._loader) if self._batches else 0
        had_largest = False
        while given < limit:
            idle = course.backwards == trained
            if given >= ENOUGH and (idle or course.settled):
                if had_largest:
                    return
                batch = self._largest
            else:
                batch = self._next()
            course.fetching()
            given += 1
            had_largest = had_largest or batch is self._largest
            yield copied(batch)
            course.fetching()
            trains = course.backwards > trained
            course.waits_for(self, trains and len(self._steps) < len(self._batches))

    def _next(self) -> Any:
        at, course = len(self._steps), self._course
        if at < len(self._batches):
            self._steps.append(course.steps)
            return self._batches[at]
        # Its numbers do not tell what a batch needs: images may be padded to the largest of them.
        peaks = [course.peaks[step] if step < course.steps else 0 for step in self._steps]
        needed = zip(peaks, map(size_of, self._batches), self._batches, strict=True)
        return max(needed, key=lambda each: each[:2])[-1]


def _length(loader: Any) -> float:
    try:
        return len(loader)
    except (TypeError, NotImplementedError, AttributeError):
        return float("inf")


def first_batches(loader: Any) -> list[Any]:
    """A loader's first batch, and some more where the second differs from it.

    They are fetched and collated in this process. A last one of fewer examples is none of them.
    """
    fetcher = _DatasetKind.create_fetcher(
        loader._dataset_kind,
        loader.dataset,
        loader._auto_collation,
        loader.collate_fn,
        getattr(loader, "drop_last", False),
    )
    began = time.monotonic()
    found: list[Any] = []
    full = None
    for index in islice(loader._index_sampler, LOOKED_AT):
        count = len(index) if isinstance(index, list | tuple) else None
        full = full or count
        if count != full:
            break
        try:
            found.append(fetcher.fetch(index))
        except StopIteration:  # of a data set that is an iterator
            break
        if len(found) == 2 and _alike(*found):
            break
        if time.monotonic() > began + FETCHING_S:
            break
    return found[:1] if len(found) == 2 and _alike(*found) else found


def _alike(first: Any, second: Any) -> bool:
    """Whether two batches have the same shapes; of texts, where there is no tensor, the lengths."""
    shapes = [[each.shape for each in tensors_in(batch)] for batch in (first, second)]
    return shapes[0] == shapes[1] if any(shapes) else size_of(first) == size_of(second)


def size_of(batch: Any) -> int:
    """The numbers in a batch's tensors, or where there are none the signs of its texts."""
    tensors = list(tensors_in(batch))
    return sum(each.numel() for each in tensors) if tensors else len(repr(batch))


def copied(batch: Any) -> Any:
    """The batch with tensors of its own, since a loader never gives the same ones twice."""
    if isinstance(batch, torch.Tensor):
        if isinstance(batch, FakeTensor):
            return batch
        with torch._C._DisableTorchDispatch():
            return batch.view(batch.shape) if batch.dim() else batch.clone()
    if isinstance(batch, dict) or (hasattr(batch, "items") and hasattr(batch, "copy")):
        made = batch.copy()
        for key, inner in batch.items():
            made[key] = copied(inner)
        return made
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*map(copied, batch))
    if type(batch) in (list, tuple):
        return type(batch)(map(copied, batch))
    return batch


def shapes_of(batch: Any) -> str:
    """The shapes of a batch in a few words."""
    shapes = [list(each.shape) for each in tensors_in(batch)]
    return _in_few_words(shapes) if shapes else f"{size_of(batch)} signs"


def apart(first: Any, second: Any) -> tuple[str, str]:
    """Two batches in a few words: where both have as many tensors, those that differ alone."""
    shapes = [[list(each.shape) for each in tensors_in(batch)] for batch in (first, second)]
    if len(shapes[0]) != len(shapes[1]) or shapes[0] == shapes[1]:
        return shapes_of(first), shapes_of(second)
    differ = [pair for pair in zip(*shapes, strict=True) if pair[0] != pair[1]]
    smaller, larger = zip(*differ, strict=True)
    return _in_few_words(smaller), _in_few_words(larger)


def _in_few_words(shapes: Sequence[list[int]]) -> str:
    more = f" and {len(shapes) - 4} more" if len(shapes) > 4 else ""
    return ", ".join(map(str, shapes[:4])) + more
