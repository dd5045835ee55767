"""Which GPUs a recording tells of: the driver's word and the program's, brought together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from timeline.recording.documents import Document
from timeline.recording.types import UNKNOWN, Device, Limit

_CUDA_FACT = re.compile(r"cuda(\d{1,3})")
_TORCH_CHANNEL = re.compile(r"torch\.cuda(\d{1,3})\.\w+")


def read_devices(
    meta: Document, facts: Mapping[str, str], channels: Iterable[str]
) -> tuple[Device, ...]:
    """The devices that ``meta.json`` describes or torch's channels are of, by CUDA's number.

    The program's own word, the UUID of each device that CUDA gave it, goes before what the sampler
    concluded from the environment, which the program may have changed.

    Args:
        meta: its channels' entries have a ``device``.
        facts: of the program; ``cuda0`` is a UUID.
        channels: the names of all that were read.
    """
    told = {
        int(found[1]): _bare(value)
        for name, value in facts.items()
        if (found := _CUDA_FACT.fullmatch(name))
    }
    by_uuid = {uuid: number for number, uuid in told.items()}
    devices = []
    entries = meta.inner("channels")
    for key in entries.found:
        name, dot, value = key.rpartition(".")
        entry = entries.inner(key)
        if not dot or value != "used" or not isinstance(entry.found.get("device"), dict):
            continue
        device = entry.inner("device")
        uuid = device.text("uuid")
        number = device.integer("cuda", UNKNOWN) if not told else UNKNOWN
        devices.append(
            Device(
                name,
                device.text("model"),
                uuid,
                device.integer("total", UNKNOWN),
                by_uuid.get(_bare(uuid), number),
            )
        )
    known = {each.cuda for each in devices}
    used = {int(found[1]) for name in channels if (found := _TORCH_CHANNEL.fullmatch(name))}
    # Of these the driver told nothing.
    devices += [
        Device("", uuid=told.get(number, ""), cuda=number) for number in sorted(used - known)
    ]
    return tuple(sorted(devices, key=lambda each: (each.cuda == UNKNOWN, each.cuda, each.name)))


def limits_of(devices: Iterable[Device]) -> tuple[Limit, ...]:
    """The memory of each device as a limit of what is used of it."""
    return tuple(
        Limit(each.name, each.total, f"{each.name}.used", "nvml")
        for each in devices
        if each.name and each.total != UNKNOWN
    )


def _bare(uuid: str) -> str:
    """A UUID without its prefix: torch leaves it out, the driver writes it."""
    return uuid.removeprefix("GPU-").removeprefix("MIG-")
