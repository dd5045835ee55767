"""GPUs that are known by name: how much memory each has, and how much of it a program can reach.

Two figures differ on every card. The driver reports what is built in, less what error correction
takes (``nvidia-smi --query-gpu=memory.total``; NVML). A program sees less, since the driver keeps
a part: ``total_memory`` of ``torch.cuda.get_device_properties``, in an out-of-memory error "total
capacity". It moves by a few hundred MiB with the driver; here stands the least that public logs
of torch show. A figure of which there is no log is taken as 96 % of the driver's.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from timeline.errors import UsageError
from timeline.units import GiB, MiB, format_bytes, parse_bytes


@dataclass(frozen=True, slots=True)
class Card:
    """One GPU.

    Attributes:
        key: what it is called on the command line.
        name: as the driver calls it; empty for a plain size.
        memory: bytes in all, as the driver reports them.
        visible: bytes that a program sees.
        capability: its compute capability, such as (8, 0); None where only a size was given.
        processors: its multiprocessors; 0 where not known.
        source: where the figures are from.
    """

    key: str
    name: str
    memory: int
    visible: int
    capability: tuple[int, int] | None
    processors: int = 0
    source: str = ""

    @property
    def title(self) -> str:
        """A few words for it."""
        return self.name or format_bytes(self.visible)


_SMI = "memory.total of nvidia-smi in public logs"
_PROPERTIES = f"{_SMI}; total_memory of torch.cuda.get_device_properties in public logs"
_YOLO = f"{_SMI}; total_memory as Ultralytics prints it in public logs"
_XMEM = f"{_SMI}; total bytes in xMem's published results (Middleware '25)"
_GUESS = f"{_SMI}; 96 % of it taken as visible, for want of a log"


def _card(
    key: str, name: str, memory: int, visible: int, capability: str, processors: int, source: str
) -> Card:
    major, _, minor = capability.partition(".")
    return Card(
        key, name, memory * MiB, visible * MiB, (int(major), int(minor)), processors, source
    )


CARDS: dict[str, Card] = {
    card.key: card
    for card in (
        _card("p100", "Tesla P100-PCIE-16GB", 16384, 16280, "6.0", 56, _PROPERTIES),
        _card("v100-16gb", "Tesla V100-SXM2-16GB", 16384, 16130, "7.0", 80, _PROPERTIES),
        _card("v100-32gb", "Tesla V100-SXM2-32GB", 32768, 32494, "7.0", 80, _YOLO),
        _card("t4", "Tesla T4", 15360, 15079, "7.5", 40, _PROPERTIES),
        _card("rtx2080ti", "NVIDIA GeForce RTX 2080 Ti", 11264, 10825, "7.5", 68, _YOLO),
        _card("a100-40gb", "NVIDIA A100-SXM4-40GB", 40960, 40326, "8.0", 108, _PROPERTIES),
        _card("a100-80gb", "NVIDIA A100-SXM4-80GB", 81920, 81038, "8.0", 108, _YOLO),
        _card("a10g", "NVIDIA A10G", 23028, 22587, "8.6", 80, _PROPERTIES),
        _card("a40", "NVIDIA A40", 46068, 45416, "8.6", 84, _PROPERTIES),
        _card("a6000", "NVIDIA RTX A6000", 49140, 48676, "8.6", 84, _PROPERTIES),
        _card("rtx3060", "NVIDIA GeForce RTX 3060", 12288, 11931, "8.6", 28, _PROPERTIES),
        _card("rtx3080", "NVIDIA GeForce RTX 3080", 10240, 10002, "8.6", 68, _YOLO),
        _card("rtx3090", "NVIDIA GeForce RTX 3090", 24576, 24259, "8.6", 82, _PROPERTIES),
        _card("l4", "NVIDIA L4", 23034, 22563, "8.9", 58, _YOLO),
        _card("l40s", "NVIDIA L40S", 46068, 45495, "8.9", 142, _PROPERTIES),
        _card("rtx4060", "NVIDIA GeForce RTX 4060", 8188, 7932, "8.9", 24, _XMEM),
        _card("rtx4070", "NVIDIA GeForce RTX 4070", 12282, 11994, "8.9", 46, _YOLO),
        _card("rtx4080", "NVIDIA GeForce RTX 4080", 16376, 15720, "8.9", 76, _GUESS),
        _card("rtx4090", "NVIDIA GeForce RTX 4090", 24564, 24081, "8.9", 128, _YOLO),
        _card("rtx6000ada", "NVIDIA RTX 6000 Ada Generation", 49140, 48622, "8.9", 142,
              _PROPERTIES),
        _card("h100-80gb", "NVIDIA H100 80GB HBM3", 81559, 81079, "9.0", 132, _PROPERTIES),
        _card("h200", "NVIDIA H200", 143771, 143156, "9.0", 132, _PROPERTIES),
        _card("b200", "NVIDIA B200", 183359, 182631, "10.0", 148, _PROPERTIES),
        _card("rtx5090", "NVIDIA GeForce RTX 5090", 32607, 32102, "12.0", 170, _YOLO),
    )
}  # fmt: skip
"""By key, the oldest architecture first."""

_ALSO = {
    "v100": "v100-16gb", "a100": "a100-40gb", "h100": "h100-80gb", "rtxa6000": "a6000",
    "a100-sxm4-40gb": "a100-40gb", "a100-sxm4-80gb": "a100-80gb", "a10": "a10g",
}  # fmt: skip
"""Other names of the same; of two sizes the smaller, which promises less."""

SMALLEST, LARGEST = 256 * MiB, 4096 * GiB
"""Of a size that can be meant as a GPU's memory."""


def find(text: str) -> Card:
    """The card of a name such as ``a100-40gb`` or ``RTX 4090``, or of a size such as ``24GiB``.

    Of a plain size all is taken as visible, and no architecture is known.

    Raises:
        UsageError: no card is called that, and it is no size that a GPU could have.
    """
    plain = _plain(text)
    card = CARDS.get(_ALSO.get(plain, plain))
    if card is None:
        named = {_plain(each.name): each for each in CARDS.values()}
        card = named.get(plain) or _by_squeezed(plain)
    if card is not None:
        return card
    if re.match(r"\s*\d+(\.\d+)?\s*([a-zA-Z]?i?[bB])?\s*$", text):
        return of_size(text)
    close = difflib.get_close_matches(plain, [*CARDS, *_ALSO], n=3, cutoff=0.5)
    hint = f"; near it: {', '.join(close)}" if close else ""
    raise UsageError(
        f"there is no card {text!r}{hint}: --gpu alone lists those that are known; a size such as "
        "24GiB will do"
    )


def of_size(text: str) -> Card:
    """A card of which only its memory is known.

    Raises:
        UsageError: the text is no size, or none that a GPU could have.
    """
    size = parse_bytes(text)
    if not SMALLEST <= size <= LARGEST:
        raise UsageError(
            f"{text!r} is {format_bytes(size)}: a GPU's memory lies between "
            f"{format_bytes(SMALLEST)} and {format_bytes(LARGEST)}; write a unit, such as 24GiB"
        )
    return Card(key=text.strip(), name="", memory=size, visible=size, capability=None,
                source="the size that was given")  # fmt: skip


def _plain(text: str) -> str:
    """In small letters, without a maker's name, blanks and underscores."""
    words = text.lower().replace("_", "-").split()
    return "".join(word for word in words if word not in ("nvidia", "geforce", "tesla", "gpu"))


def _by_squeezed(plain: str) -> Card | None:
    """The only card that the name without any sign fits, such as ``rtx-4090`` or ``4090``."""
    squeezed = plain.replace("-", "")
    found = [each for each in CARDS.values() if squeezed in _spellings(each)]
    return found[0] if len(found) == 1 else None


def _spellings(card: Card) -> Iterable[str]:
    key = card.key.replace("-", "")
    return (key, key.removeprefix("rtx"), key.removesuffix("gb"))
