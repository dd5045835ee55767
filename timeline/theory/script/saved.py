"""Files of tensors: what a script saves it finds again, by its sizes; no weights are downloaded.

A file that it saves holds a word by which its content is found here, so that it may be copied and
renamed as the real one would be. Such tensors are on the host until ``torch.load`` brings them to
the card, as in a real run.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.hub
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import _disable_current_modes

from timeline.theory.script.split import LARGEST_REAL, Split
from timeline.theory.script.values import line

_WORD = b"timeline: tensors without values, number %9d\n"
_START = _WORD[: _WORD.index(b"%")]


class NoWeights(dict[str, Any]):
    """Stands for weights that were not downloaded; loading them leaves a model as it is."""


class _Sizes(NamedTuple):
    """What is kept of a tensor without memory."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    card: bool
    parameter: bool


def put_on(split: Split, note: Callable[[str], None]) -> Shelf:
    """Let a script save, load and download; returns where its files are."""
    shelf = Shelf(split, note)
    torch.save, torch.load = shelf.save, shelf.load

    def download(*args: Any, **kwargs: Any) -> NoWeights:
        note("no weights are downloaded: the model keeps its own, of the same size")
        return NoWeights()

    torch.hub.load_state_dict_from_url = download
    load_state = torch.nn.Module.load_state_dict

    def load_state_dict(self: Any, state: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(state, NoWeights):
            return torch.nn.modules.module._IncompatibleKeys([], [])
        return load_state(self, state, *args, **kwargs)

    torch.nn.Module.load_state_dict = load_state_dict
    return shelf


class Shelf:
    """What was saved, by number.

    Args:
        split: makes tensors.
        note: takes a sentence on what was taken for granted.
    """

    def __init__(self, split: Split, note: Callable[[str], None]) -> None:
        self._split = split
        self._note = note
        self._kept: list[Any] = []
        self._load = torch.load

    def save(self, obj: Any, f: Any, *args: Any, **kwargs: Any) -> None:
        """``torch.save``."""
        self._note(f"{line()} saves tensors, which have no values: what it writes is their sizes")
        self._kept.append(_each_tensor(obj, self._keep))
        word = _WORD % (len(self._kept) - 1)
        if hasattr(f, "write"):
            f.write(word)
        else:
            with open(f, "wb") as file:
                file.write(word)

    def load(self, f: Any, map_location: Any = None, *args: Any, **kwargs: Any) -> Any:
        """``torch.load``."""
        if not hasattr(f, "read"):
            with open(f, "rb") as file:
                return self.load(file, map_location, *args, **kwargs)
        begin = f.tell()
        word = f.read(len(_WORD % 0))
        if word.startswith(_START):
            kept = self._kept[int(word.split()[-1])]
            return _each_tensor(kept, lambda each: self._restored(each, map_location))
        f.seek(begin)
        tags: dict[int, str] = {}

        def remember(storage: Any, tag: str) -> Any:
            tags[storage._cdata] = tag
            return storage

        with _disable_current_modes():
            found = self._load(f, remember, *args, **kwargs)

        def placed(each: Any) -> Any:
            if isinstance(each, torch.Tensor):
                tag = tags.get(each.untyped_storage()._cdata, "cpu")
                return each.to("cuda") if _is_card(map_location, tag) else each
            return each

        return _each_tensor(found, placed)

    def _keep(self, each: Any) -> Any:
        if isinstance(each, FakeTensor):
            return _Sizes(
                tuple(each.size()), tuple(each.stride()), each.dtype, self._split.on_card(each),
                isinstance(each, torch.nn.Parameter),
            )  # fmt: skip
        if isinstance(each, torch.Tensor) and each.nbytes <= LARGEST_REAL:
            with torch._C._DisableTorchDispatch():
                return each.detach().clone()
        return each

    def _restored(self, each: Any, map_location: Any) -> Any:
        if isinstance(each, torch.nn.Module):
            return copy.deepcopy(each)
        if not isinstance(each, _Sizes):
            return each
        made = self._split.empty(each.size, each.stride, each.dtype)
        if _is_card(map_location, "cuda:0" if each.card else "cpu"):
            made = made.to("cuda")
        return torch.nn.Parameter(made, False) if each.parameter else made


class _Storage:
    """Stands for one that a function of the script is to place."""

    is_card = False

    def cuda(self, *_: object, **__: object) -> _Storage:
        """On the card."""
        made = _Storage()
        made.is_card = True
        return made

    def cpu(self) -> _Storage:
        """On the host."""
        return _Storage()


def _is_card(map_location: Any, tag: str) -> bool:
    """Whether ``torch.load`` brings what was saved with a tag to the card."""
    if callable(map_location):
        placed = map_location(_Storage(), tag)
        return placed.is_card if isinstance(placed, _Storage) else tag.startswith("cuda")
    if isinstance(map_location, dict):
        return str(map_location.get(tag, tag)).startswith("cuda")
    if isinstance(map_location, bytes):
        map_location = map_location.decode()
    return str(map_location or tag).startswith("cuda")


def _each_tensor(value: Any, change: Callable[[Any], Any]) -> Any:
    """A value of dicts, lists and tuples with each of its leaves changed."""
    if isinstance(value, dict):
        made = copy.copy(value)  # of its kind: a state dict has an attribute of its own
        for key, inner in value.items():
            made[key] = _each_tensor(inner, change)
        return made
    if type(value) in (list, tuple):
        return type(value)(_each_tensor(inner, change) for inner in value)
    return change(value)
