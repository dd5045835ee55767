"""What a model is called with: tensors, shapes or texts of shapes, made into fake tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from timeline.errors import UsageError
from timeline.theory.packing import know_as
from timeline.theory.sparse import remember

_SHAPE = re.compile(
    r"(?:(?P<name>[A-Za-z_]\w*)=)?(?P<shape>\d+(?:x\d+)*|scalar)(?::(?P<dtype>\w+))?"
)

_MOST_BYTES = 2**47
"""All that a process can address with page tables of four levels; what a model makes of as much
still fits the 64 bits, one of them a sign, in which sizes are counted."""

_SHORT = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "fp64": "float64"}


@dataclass(frozen=True, slots=True)
class Shape:
    """One input without its batch: a shape, its dtype if it is not the model's, its name."""

    sizes: tuple[int, ...]
    dtype: str | None = None
    name: str | None = None


def parse_shape(text: str) -> Shape:
    """The input that a text such as ``3x224x224`` or ``input_ids=128:int64`` stands for.

    Raises:
        UsageError: it is not of that form.
    """
    found = _SHAPE.fullmatch(text.strip())
    if found is None:
        raise UsageError(
            f"{text!r} is no input: write its sizes without the batch, such as 3x224x224, with a "
            "dtype and a name if needed, such as input_ids=128:int64"
        )
    sizes = () if found["shape"] == "scalar" else tuple(map(int, found["shape"].split("x")))
    if found["dtype"]:
        parse_dtype(found["dtype"])
    return Shape(sizes, found["dtype"], found["name"])


def parse_dtype(text: str) -> torch.dtype:
    """The dtype of a name such as ``bf16`` or ``float32``.

    Raises:
        UsageError: torch has none of that name.
    """
    found = getattr(torch, _SHORT.get(text, text), None)
    if not isinstance(found, torch.dtype):
        raise UsageError(f"{text!r} is no dtype of torch: use one such as float32, bf16 or int64")
    return found


def parse_cast(text: str) -> torch.dtype:
    """The dtype that a model is cast to: `torch.nn.Module.to` takes no other.

    Raises:
        UsageError: torch has none of that name, or it holds whole numbers.
    """
    found = parse_dtype(text)
    if not (found.is_floating_point or found.is_complex):
        raise UsageError(
            f"no model is cast to {text}, as parameters are of a floating dtype: use one such as "
            "bfloat16"
        )
    return found


def fake_inputs(
    inputs: Any, batch: int | None, default: torch.dtype
) -> tuple[list[Any], dict[str, Any]]:
    """Positional and named arguments, with fake tensors for shapes and tensors; in their mode.

    Args:
        inputs: one or a list of tensors, shapes (tuples of sizes without the batch), texts of
            shapes, or other values; or a mapping of them by name.
        batch: goes before the sizes of shapes; None counts as 1. Tensors have theirs.
        default: dtype of shapes that name none.

    Raises:
        UsageError: a text is no shape, or a batch was given with tensors alone.
    """
    _needs_shapes(inputs, batch)

    def made(value: Any) -> Any:
        return _fake(value, batch, default)

    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    if isinstance(inputs, Mapping):
        kwargs = {str(name): made(value) for name, value in inputs.items()}
    else:
        for value in inputs if _several(inputs) else [inputs]:
            shape = parse_shape(value) if isinstance(value, str) else value
            if isinstance(shape, Shape) and shape.name:
                kwargs[shape.name] = made(shape)
            else:
                args.append(made(shape))
    return args, kwargs


def fake_batch(inputs: Any, batch: int | None, default: torch.dtype) -> Any:
    """What `fake_inputs` makes as one value, built as the inputs are: a tensor, a list, a dict.

    Raises:
        UsageError: as `fake_inputs`, or some shapes of a list have a name and others none.
    """
    _needs_shapes(inputs, batch)
    if isinstance(inputs, list) and inputs and all(isinstance(each, Shape) for each in inputs):
        names = [each.name for each in inputs]
        if all(names):
            inputs = dict(zip(names, inputs, strict=True))
        elif any(names):
            raise UsageError("a batch is a list or a dict: name all of its inputs, or none")
        elif len(inputs) == 1:
            (inputs,) = inputs
    return _fake(inputs, batch, default)


def has_shapes(inputs: Any) -> bool:
    """Whether a batch's size is still to be put before something here."""
    if isinstance(inputs, Mapping):
        return any(map(has_shapes, inputs.values()))
    if _several(inputs):
        return any(map(has_shapes, inputs))
    return isinstance(inputs, str | Shape | tuple)


def _needs_shapes(inputs: Any, batch: int | None) -> None:
    if batch is not None and not has_shapes(inputs):
        raise UsageError(
            "batch is for inputs given as shapes, or for a function with a parameter batch that "
            "makes them: tensors have theirs"
        )


def _fake(value: Any, batch: int | None, default: torch.dtype) -> Any:
    if isinstance(value, str):
        value = parse_shape(value)
    if isinstance(value, tuple) and all(isinstance(n, int) for n in value):
        value = Shape(tuple(value))
    if isinstance(value, Shape):
        dtype = parse_dtype(value.dtype) if value.dtype else default
        sizes = (batch or 1, *value.sizes)
        if math.prod(max(each, 1) for each in sizes) * dtype.itemsize > _MOST_BYTES:
            raise UsageError(
                f"an input of {'x'.join(map(str, sizes))} has more bytes than can be addressed: "
                "give smaller sizes"
            )
        return torch.empty(sizes, dtype=dtype)
    if isinstance(value, torch.Tensor):
        like = torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device="cpu")
        know_as(like, value)
        remember(like, value)
        return like.requires_grad_(value.requires_grad)
    if isinstance(value, Mapping):
        return {name: _fake(each, batch, default) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_fake(each, batch, default) for each in value)
    return value


def _several(inputs: Any) -> bool:
    if isinstance(inputs, tuple) and inputs and all(isinstance(n, int) for n in inputs):
        return False
    return isinstance(inputs, tuple | list)
