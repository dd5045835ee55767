"""Dropout: CUDA's kernel saves a mask of bytes, the CPU's one of the input's dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from timeline.theory.cuda.rules import Platform, group

GROUP = group(
    "native-dropout",
    "aten/src/ATen/native/Dropout.cpp: is_fused_kernel_acceptable asks for CUDA and 0 < p < 1",
)


def substitutes(platform: Platform) -> list[tuple[str, str, Callable[..., Any]]]:
    """What takes the place of dropout."""
    return [("dropout", "AutogradCPU", _dropout)]


def _dropout(source: torch.Tensor, p: float, train: bool) -> torch.Tensor:
    if not train or p == 0 or source.numel() == 0:
        return source
    if p == 1:
        return source.mul(torch.zeros((), dtype=source.dtype))
    result: torch.Tensor = torch.ops.aten.native_dropout(source, p, train)[0]
    return result
