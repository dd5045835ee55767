"""Operators that are others on CUDA: while open, the CPU's autograd takes CUDA's way.

Some operators choose among kernels before any mode sees them, by the device of their tensors:
dropout, attention, recurrent layers, what autocast casts. Here their choice is replaced by
kernels of the dispatcher, for as long as the context is open. A process has one dispatcher, so
that nothing else should run torch in it meanwhile.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from timeline.theory.cuda import (
    attention,
    autocast,
    blas,
    convolution,
    dropout,
    indexing,
    normalization,
    recurrent,
)
from timeline.theory.cuda.rules import Platform

__all__ = ["substituted"]

_OTHERS: tuple[Any, ...] = (dropout, attention, autocast)
"""Each has a ``substitutes(platform)``: operator, dispatch key and what to do instead."""

_RULES = (blas, convolution, indexing, normalization, recurrent)
"""Imported for their rules."""


@contextmanager
def substituted(platform: Platform) -> Iterator[None]:
    """Take CUDA's way in the operators that choose by device."""
    library = torch.library.Library("aten", "IMPL")
    others = ExitStack()
    clear = torch.clear_autocast_cache

    def clear_both() -> None:
        clear()
        autocast.end_of_context()

    torch.clear_autocast_cache = clear_both
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that a kernel is replaced: it is meant
            for part in _OTHERS:
                if part.GROUP.name in platform.without:
                    continue
                substitutes: list[tuple[str, str, Callable[..., Any]]] = part.substitutes(platform)
                for name, key, instead in substitutes:
                    library.impl(name, instead, key)
        if recurrent.GROUP.name not in platform.without:
            others.enter_context(recurrent.by_cudnn())
        yield
    finally:
        others.close()
        library._destroy()
        torch.clear_autocast_cache = clear
        autocast.forget()
