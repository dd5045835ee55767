"""What a CPU's operators allocate inside and free before they return: no tensor shows it.

Each rule says by how much the most that an operator holds exceeds what it returns. They were found
by listing what torch's allocator is asked for inside each operator, and the tests do it again. The
layouts are oneDNN's on x86 with AVX-512, with torch 2.14; on another CPU nothing is added, and the
breakdown says that this memory is not counted.
"""

from __future__ import annotations

import platform
from typing import Any

import torch

from timeline.theory.inside import (
    attention,
    casting,
    composed,
    convolutions,
    products,
    recurrent,
    rows,
)

__all__ = ["held_inside", "known_here"]

_RULES = {
    **products.RULES,
    **rows.RULES,
    **convolutions.RULES,
    **attention.RULES,
    **recurrent.RULES,
    **composed.RULES,
    **casting.RULES,
}


def known_here() -> bool:
    """Whether the rules are those of this machine's operators."""
    return (
        platform.machine() in ("x86_64", "AMD64")
        and torch.backends.mkldnn.is_available()
        and "AVX512" in torch.backends.cpu.get_cpu_capability()
    )


def held_inside(func: Any, args: Any, kwargs: Any, out: Any) -> int:
    """The bytes that an operator holds inside beyond what it returns; 0 where nothing is known."""
    rule = _RULES.get(func)
    if rule is None:
        return 0
    return max(rule(_in_order(func, args, kwargs) if kwargs else args, out), 0)


def _in_order(func: Any, args: Any, kwargs: Any) -> tuple[Any, ...]:
    """All arguments by their place, as rules ask for them, with what is left out as by default."""
    wanted = func._schema.arguments[len(args) :]
    return (*args, *(kwargs.get(each.name, each.default_value) for each in wanted))
