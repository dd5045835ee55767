"""Where a program is followed: fake tensors that stand for those of a GPU, and what sees them.

Everything that is done in the context runs as ordinary torch code on fake tensors of the CPU::

    with following(Platform(card("a100-40gb"), (2, 6))) as taping:
        taping.begin("load")
        ...
    tape = taping.end()
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from timeline.theory.cuda import kernels
from timeline.theory.cuda.rules import Platform
from timeline.theory.likeness import fake_mode
from timeline.theory.taping import Taping


@contextmanager
def following(
    platform: Platform, mode: Any = None, *, truth: bool | None = None
) -> Iterator[Taping]:
    """Follow what is done inside, as if it were done on a card.

    Args:
        platform: what it is taken to run on.
        mode: of the fake tensors, where they exist already.
        truth: what a tensor says that is asked for a truth value, such as whether a mask is all
            ones; None lets that be an error, as for any other value.
    """
    taping = Taping(platform)
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        stack.enter_context(kernels.substituted(platform))
        stack.enter_context(mode or fake_mode())
        if truth is not None:
            stack.enter_context(_Truth(truth))
        stack.enter_context(taping)
        taping.calibrate()
        try:
            yield taping
        finally:
            taping.end()


class _Truth(TorchDispatchMode):  # type: ignore[misc]
    """Answers for a tensor without a value that is asked whether it is true."""

    def __init__(self, answer: bool) -> None:
        super().__init__()
        self._answer = answer

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        asked = func is torch.ops.aten._local_scalar_dense.default
        if asked and args[0].dtype is torch.bool:
            return self._answer
        return func(*args, **(kwargs or {}))


@contextmanager
def _quiet() -> Iterator[None]:
    """torch also logs what it raises: the error's sentence is enough."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
