"""The sum of the formulas over a model: what should be saved for backward, by algebra.

The second way to the activations of `breakdown`. Both need to know which layer gets what from
which other, and so both follow the model on fake tensors; but here torch is never asked what it
saves. A layer is asked by its formula; where none fits, the operators inside it are, each by the
rule of its derivative; and an operator without a rule is named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from timeline.errors import BreakdownError, UsageError
from timeline.theory.apart import apart
from timeline.theory.corrections import ran
from timeline.theory.failing import LEFT, why
from timeline.theory.inputs import fake_inputs
from timeline.theory.layers import Formula, formula, has_rule
from timeline.theory.layers.operations import kept, known, name_of
from timeline.theory.likeness import build, fake_mode, likeness
from timeline.theory.packing import padding
from timeline.theory.storages import storages_of, tensors_in


@dataclass(frozen=True, slots=True)
class Saved:
    """What autograd should save, by the formulas; bytes.

    Attributes:
        bytes: all of it, each storage once, without parameters, buffers and inputs.
        of_layers: of that, what layers with a formula save.
        of_operators: and what single operators do, that no such layer stands for.
        layers: how many calls of layers were counted by their formula, by class.
        not_counted: what has no rule and may save something, with how often it was called.
    """

    bytes: int
    of_layers: int
    of_operators: int
    layers: dict[str, int]
    not_counted: tuple[str, ...]


@apart()
def saved_by_formula(
    model: torch.nn.Module | Callable[[], Any], inputs: Any, *, batch: int | None = None
) -> Saved:
    """Sum what the layers of a model save for backward in training, by their formulas.

    Args:
        model, inputs, batch: as `timeline.breakdown` takes them. The model stays as it is.

    Raises:
        UsageError: the inputs cannot be understood.
        BreakdownError: the model does not run on them without values.
    """
    mode = fake_mode()
    if not isinstance(model, torch.nn.Module):
        model = build(model)
    copy = likeness(model, None, mode)[0]
    if not copy.training:
        copy.train()
    with mode:
        floating = next(
            (each.dtype for each in copy.parameters() if each.dtype.is_floating_point),
            torch.get_default_dtype(),
        )
        args, kwargs = fake_inputs(inputs, batch, floating)
        counting = _Counting()
        counting.leave_out([*copy.parameters(), *copy.buffers()])
        counting.leave_out(tensors_in((args, kwargs)))
        try:
            with counting, torch.enable_grad(), _asked(copy, counting), padding():
                outputs = copy(*args, **kwargs)
            counting.graph(outputs)
        except LEFT as error:
            raise BreakdownError(
                f"forward of {type(model).__name__} cannot be followed: {why(error)}"
            ) from error
    return counting.saved()


class _Counting(TorchDispatchMode):  # type: ignore[misc]
    """Knows each storage by itself, and keeps it, so that none is taken for another."""

    def __init__(self) -> None:
        super().__init__()
        self.inside: torch.nn.Module | None = None
        self._seen: dict[int, Any] = {}
        self._sizes: dict[int, int] = {}
        self._left_out: set[int] = set()
        self._counted: set[int] = set()
        self._of = {"layers": 0, "operators": 0}
        self._layers: Counter[str] = Counter()
        self._unknown: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = ran(func, args, kwargs, lambda _: None)
        if self.inside is None and torch.is_grad_enabled() and _differentiable(args, kwargs, out):
            if not known(func):
                self._unknown[name_of(func)] += 1
            if torch._C._autograd._top_saved_tensors_default_hooks(True) is not None:
                self._unknown["saved under the model's own hooks, such as checkpointing's"] += 1
            for saved, copied in kept(func, args, out):
                for tensor in tensors_in(saved):
                    if copied:
                        self._of["operators"] += tensor.numel() * tensor.element_size()
                    else:
                        self._add(tensor, "operators")
            for mask in tensors_in((kwargs or {}).get("attn_mask")):
                self._add(mask, "operators")
        return out

    def graph(self, outputs: Any) -> None:
        """Name the model's own functions, which save what they will."""
        waiting = [each.grad_fn for each in tensors_in(outputs)]
        seen: set[Any] = set()
        while waiting:
            node = waiting.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if isinstance(node, torch.autograd.function.BackwardCFunction):
                self._unknown[type(node).__name__.removesuffix("Backward")] += 1
            waiting += [each for each, _ in node.next_functions]

    def leave_out(self, tensors: Any) -> None:
        """These stand anyway, saved or not."""
        for tensor in tensors:
            self._left_out.update(self._keys(tensor))

    def layer(self, layer: torch.nn.Module, told: Formula, given: Any, out: Any) -> None:
        """A layer was called that has a formula."""
        name = type(layer).__name__
        if tuple(out.shape) != told.output:
            self._unknown[f"{name}, whose formula says {told.output} and not {out.shape}"] += 1
            return
        self._layers[name] += 1
        if not told.in_place:
            # By algebra, not by what torch made.
            size = prod(told.output) * out.element_size()
            for key in self._keys(out):
                if key not in self._left_out and not _shares(out, given):
                    self._sizes.setdefault(key, size)
        if not out.requires_grad:
            return
        if told.saves_input:
            self._add(given, "layers")
        if told.saves_output:
            self._add(out, "layers")
        self._of["layers"] += told.more

    def _keys(self, tensor: torch.Tensor) -> Iterator[int]:
        for storage in storages_of(tensor):
            self._seen[storage._cdata] = storage
            yield storage._cdata

    def _add(self, tensor: torch.Tensor, whose: str) -> None:
        for key in self._keys(tensor):
            if key not in self._left_out and key not in self._counted:
                self._counted.add(key)
                self._of[whose] += self._sizes.get(key, self._seen[key].nbytes())

    def saved(self) -> Saved:
        """What was counted."""
        return Saved(
            sum(self._of.values()),
            self._of["layers"],
            self._of["operators"],
            dict(self._layers),
            tuple(f"{name} ({times})" for name, times in sorted(self._unknown.items())),
        )


def _differentiable(args: Any, kwargs: Any, out: Any) -> bool:
    if not any(each.requires_grad for each in tensors_in((args, kwargs))):
        return False
    return any(each.dtype.is_floating_point for each in tensors_in(out))


def _shares(out: torch.Tensor, given: torch.Tensor) -> bool:
    return bool(out.untyped_storage()._cdata == given.untyped_storage()._cdata)


@contextmanager
def _asked(model: torch.nn.Module, counting: _Counting) -> Iterator[None]:
    """Each call of a layer whose formula fits is counted by it, and nothing inside it is."""
    asked: list[tuple[Formula, torch.Tensor]] = []

    def enter(layer: torch.nn.Module, args: Any, kwargs: Any) -> None:
        if counting.inside is None and torch.is_grad_enabled():
            told = _formula_for(layer, args, kwargs)
            if told is not None:
                counting.inside = layer
                asked.append((told, args[0]))

    def leave(layer: torch.nn.Module, args: Any, out: Any) -> None:
        if counting.inside is layer:
            counting.inside = None
            told, given = asked.pop()
            counting.layer(layer, told, given, next(tensors_in(out)))

    handles = []
    for layer in model.modules():
        if has_rule(layer):
            handles.append(layer.register_forward_pre_hook(enter, with_kwargs=True))
            handles.append(layer.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _formula_for(layer: torch.nn.Module, args: Any, kwargs: Any) -> Formula | None:
    """The formula of a layer, if this call is one of those that it is for.

    They are for one tensor, in the order of its shape, and for training with all parameters
    trained and of the input's dtype.
    """
    if not args or not isinstance(args[0], torch.Tensor) or not layer.training:
        return None
    if any(each is not None and each is not False for each in (*args[1:], *kwargs.values())):
        return None
    given = args[0]
    dtypes = {each.dtype for each in layer.parameters()}
    if given.dtype.is_floating_point:
        dtypes.add(given.dtype)
    trained = all(each.requires_grad for each in layer.parameters())
    if len(dtypes) != 1 or not trained or not given.is_contiguous():
        return None
    try:
        return formula(layer, tuple(given.shape), next(iter(dtypes)).itemsize)
    except UsageError:
        return None
