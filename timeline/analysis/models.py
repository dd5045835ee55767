"""Which model is which, where a step has several of one class."""

from __future__ import annotations

import re
from collections.abc import Iterator

from timeline.recording.anatomy import Anatomy

_MOST = 4
"""Models that a sentence names."""

_NUMBERED = re.compile(r"([^.]+)#[0-9]+")
"""A model's name where there is another of its class before it."""


def of_one_class(weighed: Anatomy) -> Iterator[str]:
    """A sentence for each class of several models: by what a reader tells each from the others.

    A recording does not know what the program calls them. It knows how many parameters they have,
    and the first of their layers that was called, with what.
    """
    families: dict[str, list[str]] = {}
    for layer in weighed.layers:
        numbered = _NUMBERED.fullmatch(layer.name)
        if numbered and numbered[1] == layer.kind:
            families.setdefault(layer.kind, [layer.kind]).append(layer.name)
    called = {call.layer for call in weighed.calls}
    for kind, names in families.items():
        if not any(_owned(name, weighed) or _within(name, weighed) & called for name in names):
            # Such as the activations that a library builds as it is imported.
            continue
        told = [_told(name, weighed) for name in names[:_MOST]]
        more = f"; and {len(names) - _MOST} more" if len(names) > _MOST else ""
        yield f"of {len(names)} models of class {kind}: {'; '.join(told)}{more}"


def _within(name: str, weighed: Anatomy) -> set[int]:
    return {
        number
        for number, layer in enumerate(weighed.layers)
        if layer.name == name or layer.name.startswith(f"{name}.")
    }


def _owned(name: str, weighed: Anatomy) -> int:
    return sum(weighed.layers[number].parameters for number in _within(name, weighed))


def _told(name: str, weighed: Anatomy) -> str:
    own = _within(name, weighed)
    text = f"{name} has {_owned(name, weighed):,} parameters"
    for call in weighed.calls:
        if call.layer in own:
            shape = "x".join(map(str, call.shape))
            first = weighed.layers[call.layer].kind
            return f"{text} and begins with {first}" + (f" of {shape}" if shape else "")
    return text
