"""What a graph of autograd holds for its backward, read without unpacking or changing anything."""

from __future__ import annotations

from typing import Any

from timeline.recorder.hooks.pieces import tensors_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_RAW = "_raw_saved_"

_LEAFS = "AccumulateGrad"
"""The class of the nodes that make a leaf's gradient: half of all, and they go on to nothing."""

_places: dict[type, tuple[tuple[str, ...], bool]] = {}
"""By class of node, the attributes that hold what it saved, and whether it has others of its own,
as those of a Function have: to ask a node for what it has not takes longer than for what it has."""


def nodes_of(tensors: Iterable[Any]) -> Iterator[tuple[Any, list[Any]]]:
    """Every node of the graphs behind tensors that makes no leaf's gradient, each once.

    With those that it goes on to; both live until the next one is asked for, and all until the
    last.
    """
    waiting = [each.grad_fn for each in tensors if getattr(each, "grad_fn", None) is not None]
    seen: dict[int, Any] = {}  # kept: the wrapper of a node lives as long as somebody holds it
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen[id(node)] = node
        if type(node).__name__ == _LEAFS:
            continue
        inputs = node.next_functions
        if not inputs:
            continue
        before = [each for each, _ in inputs if each is not None]
        waiting += before
        yield node, before


def held_by(node: Any) -> Iterator[Any]:
    """The tensors that a node holds for backward.

    What hooks have packed is not unpacked, which may compute it again (checkpointing) or fetch it
    from elsewhere: what lies packed is looked through for tensors.

    Raises:
        AttributeError: this torch's saved tensors do not tell.
    """
    names, has_own = _places_of(node)
    for name in names:
        try:
            saved = getattr(node, name)
        except RuntimeError:  # freed by an earlier backward
            continue
        for each in saved if isinstance(saved, (list, tuple)) else (saved,):
            if each is None:
                continue
            hook = each.unpack_hook
            if hook is None:
                if each.data is not None:
                    yield each.data
                continue
            yield from tensors_in(each.data)
            yield from _kept_by_checkpoint(hook)
    if has_own:  # what a Function's forward put on its ctx
        yield from tensors_in(node.__dict__)


def held_by_all(nodes: list[Any]) -> tuple[list[Any], list[Any]]:
    """The tensors that nodes hold for backward, and with each its node; in no order.

    As `held_by`, with one question asked of all nodes of a class after the other.

    Raises:
        AttributeError: this torch's saved tensors do not tell.
    """
    kinds: dict[type, list[Any]] = {}
    for node in nodes:
        kinds.setdefault(type(node), []).append(node)
    tensors: list[Any] = []
    whose: list[Any] = []
    for those in kinds.values():
        names, has_own = _places_of(those[0])
        try:
            if has_own:
                raise NotImplementedError
            for name in names:
                saved = [getattr(node, name) for node in those]
                if {each.unpack_hook for each in saved} != {None}:
                    raise NotImplementedError
                tensors += [each.data for each in saved]
                whose += those
        except (AttributeError, NotImplementedError, RuntimeError):
            # Lists, what hooks have packed, what a Function keeps, what was freed: one by one.
            # What of these was asked before is the same, and known by its storage.
            for node in those:
                held = list(held_by(node))
                tensors += held
                whose += [node] * len(held)
    there = [place for place, each in enumerate(tensors) if each is not None]
    if len(there) < len(tensors):
        tensors, whose = [tensors[i] for i in there], [whose[i] for i in there]
    return tensors, whose


def _places_of(node: Any) -> tuple[tuple[str, ...], bool]:
    kind = type(node)
    places = _places.get(kind)
    if places is None:
        found = (name for base in kind.__mro__ for name in vars(base) if name.startswith(_RAW))
        places = _places[kind] = tuple(found), hasattr(node, "__dict__")
    return places


def _kept_by_checkpoint(hook: Any) -> Iterator[Any]:
    """The inputs that a checkpoint keeps to compute the rest again.

    It has them in a node of its own that no graph leads to, behind the hook's frame
    (torch.utils.checkpoint._CheckpointFrame.input_saver).
    """
    for cell in getattr(hook, "__closure__", None) or ():
        try:
            saver = getattr(cell.cell_contents, "input_saver", None)
        except ValueError:
            continue
        if saver is not None and hasattr(saver, "_raw_saved_tensors"):
            try:
                for each in saver._raw_saved_tensors:
                    yield from tensors_in(each.data)
            except RuntimeError:
                continue
