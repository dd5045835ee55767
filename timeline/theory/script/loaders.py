"""Data loaders that fetch one batch, without workers, and give it again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils.data import DataLoader, _utils
from torch.utils.data.dataloader import _DatasetKind

from timeline.theory.storages import tensors_in

if TYPE_CHECKING:
    from timeline.theory.script.course import Course

ENOUGH = 2
"""Batches of a loop that trains nothing, such as an evaluation, or of any loop once the peak of
the training's step has repeated."""


def put_on(course: Course, note: Callable[[str], None]) -> None:
    """Let every DataLoader give its first batch as often as the course wants it."""
    batches: dict[int, Any] = {}

    def iterate(loader: Any) -> Iterator[Any]:
        course.fetching()
        key = id(loader)
        if key not in batches:
            batches[key] = loader, first_batch(loader)
            note(f"every batch is like the first: {shapes_of(batches[key][1])}")
        return _again(loader, batches[key][1], course)

    DataLoader.__iter__ = iterate


def _again(loader: Any, batch: Any, course: Course) -> Iterator[Any]:
    trained = course.backwards
    given = 0
    limit = _length(loader)
    while given < limit:
        idle = course.backwards == trained
        if given >= ENOUGH and (idle or course.settled):
            return
        course.fetching()
        given += 1
        yield copied(batch)
        course.fetching()


def _length(loader: Any) -> float:
    try:
        return len(loader)
    except (TypeError, NotImplementedError, AttributeError):
        return float("inf")


def first_batch(loader: Any) -> Any:
    """What a loader's first batch is, fetched and collated in this process."""
    iterable = loader._dataset_kind == _DatasetKind.Iterable
    fetcher = _DatasetKind.create_fetcher(
        loader._dataset_kind,
        loader.dataset,
        loader._auto_collation,
        loader.collate_fn,
        getattr(loader, "drop_last", False),
    )
    del iterable
    index = next(iter(loader._index_sampler))
    return fetcher.fetch(index)


def copied(batch: Any) -> Any:
    """The batch with tensors of its own, since a loader never gives the same ones twice."""
    return _utils.pin_memory.pin_memory(batch) if False else _copied(batch)


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        if isinstance(value, FakeTensor):
            return value
        with torch._C._DisableTorchDispatch():
            return value.view(value.shape) if value.dim() else value.clone()
    if isinstance(value, dict) or (hasattr(value, "items") and hasattr(value, "copy")):
        made = value.copy()
        for key, inner in value.items():
            made[key] = _copied(inner)
        return made
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(_copied, value))
    if type(value) in (list, tuple):
        return type(value)(map(_copied, value))
    return value


def shapes_of(batch: Any) -> str:
    """The shapes of a batch in a few words."""
    shapes = [f"{list(each.shape)}" for each in tensors_in(batch)]
    more = f" and {len(shapes) - 4} more" if len(shapes) > 4 else ""
    return ", ".join(shapes[:4]) + more if shapes else "no tensors"
