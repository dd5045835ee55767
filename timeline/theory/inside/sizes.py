"""What the rules share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Rule = Callable[[Any, Any], int]
"""Of an operator's arguments and its result, the bytes held inside beyond the result."""


def size_of(tensor: torch.Tensor) -> int:
    """Bytes of its numbers."""
    size: int = tensor.numel() * tensor.element_size()
    return size


def is_given(args: Any, which: int) -> bool:
    """Whether there is such an argument: at the end torch leaves out what is as by default."""
    return len(args) > which and args[which] is not None


def lies_in_order(tensor: torch.Tensor) -> bool:
    """Whether a tensor is contiguous, by rows or with the channels last."""
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(tensor.dim())
    if tensor.is_contiguous():
        return True
    return last is not None and bool(tensor.is_contiguous(memory_format=last))
