"""A GPU as the rules see it: what its architecture changes, and what a context takes on it."""

from __future__ import annotations

from dataclasses import dataclass

from timeline.theory.cards import find
from timeline.theory.tape import Amount
from timeline.units import MiB


@dataclass(frozen=True, slots=True)
class Card:
    """A kind of GPU.

    Attributes:
        name: such as ``a100-40gb``.
        memory: bytes that ``cudaMemGetInfo`` gives as total.
        capability: compute capability, such as ``(8, 0)``.
        multiprocessors: how many it has.
    """

    name: str
    memory: int
    capability: tuple[int, int]
    multiprocessors: int

    @property
    def tensor_float_32(self) -> bool:
        """Whether convolutions of float32 run on tensor cores: from Ampere on, by default."""
        return self.capability >= (8, 0)


DEFAULT = "a100-40gb"


def card(name: str | Card) -> Card:
    """The card of a name; a size such as ``24GiB`` is taken as an Ampere card of that memory.

    Raises:
        UsageError: there is none of that name.
    """
    if isinstance(name, Card):
        return name
    found = find(DEFAULT if name.strip().lower() in ("cuda", "gpu", "cuda:0") else name)
    return Card(found.key, found.visible, found.capability or (8, 0), found.processors or 108)


def context(of: Card) -> Amount:
    """What a process takes on a card beside the allocator: CUDA's context and loaded kernels.

    It grows with the number of multiprocessors, and with what has been loaded so far (lazily,
    since CUDA 11.7). On an RTX 4060 it was at most 119 MiB (xMem's row 156: what a run took of a
    full card); some 400 to 500 MiB are usually told of on data centre cards. CUDA 11 without lazy
    loading takes several hundred MiB more, which the high end has.
    """
    if of.capability >= (9, 0):
        return Amount(430 * MiB, 550 * MiB, 900 * MiB)
    if of.capability >= (8, 0):
        low, expected, high = (350, 430, 700) if of.multiprocessors > 100 else (90, 150, 450)
        return Amount(low * MiB, expected * MiB, high * MiB)
    return Amount(100 * MiB, 300 * MiB, 550 * MiB)
