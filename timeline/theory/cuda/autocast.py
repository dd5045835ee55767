"""Autocast on CUDA: its lists of operators, in the place of the CPU's.

The lists are those of ``aten/src/ATen/autocast_mode.h``. The dispatcher of every build of torch
knows the kernels of CUDA's autocast by name, so that which operators are on the lists is asked
of the torch that is installed; here stands only what is done with each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from timeline.theory.cuda.rules import Platform, group

GROUP = group(
    "autocast",
    "aten/src/ATen/autocast_mode.h and autocast_mode.cpp",
)


def substitutes(platform: Platform) -> list[tuple[str, str, Callable[..., Any]]]:
    """What takes the place of the CPU's casts."""
    return []
