"""GPUs by name: their memory, what their architecture changes, and what a context takes on them."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from timeline.errors import UsageError
from timeline.theory.tape import Amount
from timeline.units import GiB, MiB, parse_bytes


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


# Totals as NVML and torch print them where known (three of them in xMem's rows), else the size on
# the label less what the driver and ECC keep; compute capabilities by NVIDIA's table.
_KNOWN = (
    Card("rtx-2080-ti", 11_554_717_696, (7, 5), 68),
    Card("rtx-3060", 12_622_168_064, (8, 6), 28),
    Card("rtx-3090", 25_438_126_080, (8, 6), 82),
    Card("rtx-4060", 8_318_222_336, (8, 9), 24),
    Card("rtx-4090", 25_393_692_672, (8, 9), 128),
    Card("rtx-5090", 33_661_911_040, (12, 0), 170),
    Card("t4", 15_828_320_256, (7, 5), 40),
    Card("v100-16gb", 16_935_682_048, (7, 0), 80),
    Card("v100-32gb", 34_079_637_504, (7, 0), 80),
    Card("a10", 23_836_033_024, (8, 6), 72),
    Card("l4", 23_580_639_232, (8, 9), 58),
    Card("l40s", 47_697_362_944, (8, 9), 142),
    Card("a6000", 51_033_931_776, (8, 6), 84),
    Card("a100-40gb", 42_474_471_424, (8, 0), 108),
    Card("a100-80gb", 85_097_971_712, (8, 0), 108),
    Card("h100-80gb", 85_029_158_912, (9, 0), 132),
    Card("h200", 150_754_820_096, (9, 0), 132),
    Card("b200", 191_514_411_008, (10, 0), 148),
)

CARDS = {card.name: card for card in _KNOWN}
DEFAULT = "a100-40gb"

_GENERIC = re.compile(r"\d+(\.\d+)?\s*(GiB|GB|MiB|MB)", re.IGNORECASE)


def card(name: str | Card) -> Card:
    """The card of a name; a size such as ``24GiB`` is an Ampere card of that memory.

    Raises:
        UsageError: there is none of that name.
    """
    if isinstance(name, Card):
        return name
    key = re.sub(r"[\s_]+", "-", name.strip().lower()).removeprefix("nvidia-")
    key = key.removeprefix("geforce-")
    if key in CARDS:
        return CARDS[key]
    if _GENERIC.fullmatch(name.strip()):
        return Card(name.strip(), parse_bytes(name.strip()), (8, 0), 108)
    if key in ("cuda", "gpu", "cuda:0"):
        return CARDS[DEFAULT]
    close = difflib.get_close_matches(key, CARDS, n=3, cutoff=0.4)
    hint = f" (near it: {', '.join(close)})" if close else ""
    raise UsageError(
        f"the card {name!r} is not known{hint}: use one of {', '.join(CARDS)}, or a size of memory "
        "such as 24GiB"
    )


def context(of: Card) -> Amount:
    """What a process takes on a card beside the allocator: CUDA's context and loaded kernels."""
    if of.capability >= (9, 0):
        return Amount(430 * MiB, 550 * MiB, 800 * MiB)
    if of.capability >= (8, 0):
        low, expected, high = (380, 420, 600) if of.memory > 30 * GiB else (100, 180, 400)
        return Amount(low * MiB, expected * MiB, high * MiB)
    return Amount(100 * MiB, 300 * MiB, 550 * MiB)
