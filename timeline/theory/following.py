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

from timeline.theory.cuda import kernels
from timeline.theory.cuda.rules import Platform
from timeline.theory.likeness import fake_mode
from timeline.theory.optimizers import any_value
from timeline.theory.taping import Taping


@contextmanager
def following(platform: Platform, mode: Any = None) -> Iterator[Taping]:
    """Follow what is done inside, as if it were done on a card.

    Args:
        platform: what it is taken to run on.
        mode: of the fake tensors, where they exist already.
    """
    taping = Taping(platform)
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        stack.enter_context(kernels.substituted(platform))
        stack.enter_context(mode or fake_mode())
        stack.enter_context(any_value())
        stack.enter_context(taping)
        try:
            yield taping
        finally:
            taping.end()


@contextmanager
def _quiet() -> Iterator[None]:
    """torch also logs what it raises: the error's sentence is enough."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
