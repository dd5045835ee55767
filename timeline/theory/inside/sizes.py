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
