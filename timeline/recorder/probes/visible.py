"""Which GPUs a program sees, by ``CUDA_VISIBLE_DEVICES``, and in which order.

The rules are CUDA's own (CUDA C++ Programming Guide, environment variables): numbers, or UUIDs of
which the beginning is enough where it is unambiguous; the first that means no device ends the list;
one named twice makes it empty.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Place = tuple[int, int]
    """A GPU's number and, behind it, that of an instance of it (MIG); -1 for the whole GPU."""


def visible(
    asked: str | None, uuids: Sequence[str], instances: Sequence[Sequence[tuple[int, str]]]
) -> list[Place]:
    """The devices that CUDA would count as 0, 1, … in the order of the PCI bus.

    Args:
        asked: ``CUDA_VISIBLE_DEVICES``; None where it is not set.
        uuids: of the GPUs, by their number.
        instances: of each GPU its instances with their UUIDs; none where MIG is off.
    """

    def whole(gpu: int) -> Place:
        # Of a GPU that is divided, CUDA takes the first instance.
        return gpu, instances[gpu][0][0] if instances[gpu] else -1

    if asked is None:
        return [whole(gpu) for gpu in range(len(uuids))]
    gpus = [(uuid, whole(gpu)) for gpu, uuid in enumerate(uuids)]
    parts = [(uuid, (gpu, i)) for gpu, each in enumerate(instances) for i, uuid in each]
    found: list[Place] = []
    for word in asked.split(","):
        word = word.strip()
        if word.startswith("GPU-"):
            place = _only([place for uuid, place in gpus if uuid.startswith(word)])
        elif word.startswith("MIG-"):
            place = _only([place for uuid, place in parts if uuid.startswith(word)])
        else:
            number = _number(word)
            place = whole(number) if 0 <= number < len(uuids) else None
        if place is None:
            break
        if place in found:
            return []
        found.append(place)
    return found


def _only(places: list[Place]) -> Place | None:
    return places[0] if len(places) == 1 else None


def _number(word: str) -> int:
    """What C's strtoul makes of it: the number that it begins with; -1 for none."""
    digits = ""
    for char in word.removeprefix("+"):
        if not char.isascii() or not char.isdigit():
            break
        digits += char
    return int(digits) if 0 < len(digits) < 9 else -1
