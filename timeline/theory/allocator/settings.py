"""The caching allocator's constants and what ``PYTORCH_CUDA_ALLOC_CONF`` can change of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from timeline.errors import UsageError
from timeline.units import MiB, format_bytes

# c10/core/AllocatorConfig.h, torch 2.13
MIN_BLOCK = 512
SMALL_SIZE = 1 * MiB
SMALL_BUFFER = 2 * MiB
MIN_LARGE_ALLOC = 10 * MiB
LARGE_SEGMENT = 20 * MiB
LARGE_BUFFER = 20 * MiB
ROUND_LARGE = 2 * MiB
UNLIMITED = 1 << 62

VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
"""Of the environment: torch takes the first that is there."""

BACKENDS = ("native", "cudaMallocAsync")

_POWERS = 16
_LIST = re.compile(r"\[(.*)\]")


@dataclass(frozen=True, slots=True)
class Settings:
    """How the allocator is set.

    Attributes:
        max_split_size: bytes; larger blocks are not split, nor given to smaller requests.
        max_non_split_rounding: bytes that such a block may be larger than its request.
        roundup_power2_divisions: 16 numbers, for sizes from 1 MiB on by powers of two (the first
            also below, the last also above); 0 for none.
        garbage_collection_threshold: of the limit, past which old segments are given back.
        backend: who has the memory; only torch's own, ``native``, is followed.
    """

    max_split_size: int = UNLIMITED
    max_non_split_rounding: int = 20 * MiB
    roundup_power2_divisions: tuple[int, ...] = (0,) * _POWERS
    garbage_collection_threshold: float = 0.0
    expandable_segments: bool = False
    backend: str = BACKENDS[0]

    @classmethod
    def parse(cls, text: str) -> Settings:
        """The settings of a text such as ``max_split_size_mb:128,expandable_segments:True``.

        Options that do not change the sizes (``pinned_use_…``) are passed over.

        Raises:
            UsageError: an option that torch does not know, or a value that it refuses.
        """
        settings = cls()
        for option in _options(text):
            name, colon, value = option.partition(":")
            if not colon:
                raise UsageError(f"allocator option {option!r} has no value: write name:value")
            settings = _set(settings, name.strip(), value.strip())
        return settings

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Settings | None:
        """The settings that an environment tells torch; None if it says nothing.

        Raises:
            UsageError: torch would end the program over it.
        """
        for name in VARIABLES:
            if environment.get(name):
                try:
                    return cls.parse(environment[name])
                except UsageError as error:
                    raise UsageError(f"{name}={environment[name]}: {error}") from None
        return None

    def round_size(self, size: int) -> int:
        """The block that a request of ``size`` bytes gets."""
        if size < MIN_BLOCK:
            return MIN_BLOCK
        divisions = self._divisions(size)
        if divisions > 1 and size > MIN_BLOCK * divisions:
            return _round_power2(size, divisions)
        return -(-size // MIN_BLOCK) * MIN_BLOCK

    def _divisions(self, size: int) -> int:
        return self.roundup_power2_divisions[_power(size)]


def _power(size: int) -> int:
    """Which of the 16 powers of two, from 1 MiB on, a size belongs to."""
    return min(max(size.bit_length() - MiB.bit_length(), 0), _POWERS - 1)


def _round_power2(size: int, divisions: int) -> int:
    """Up to the next of ``divisions`` equal steps between neighbouring powers of two."""
    if size <= 4 or divisions <= 1:
        return size
    power = 1 << (size.bit_length() - 1)
    step = power // divisions
    return -(-size // step) * step if step else power << 1


def _options(text: str) -> list[str]:
    # Commas separate options, but not inside [256:1,512:2].
    return [part.strip() for part in re.split(r",(?![^\[]*\])", text) if part.strip()]


def _set(settings: Settings, name: str, value: str) -> Settings:
    if name in _IGNORED or name.startswith("pinned_"):  # of memory on the host
        return settings
    if name == "expandable_segments":
        if value not in ("True", "False"):
            raise UsageError(f"expandable_segments is True or False, not {value!r}")
        return replace(settings, expandable_segments=value == "True")
    if name == "backend":
        if value not in BACKENDS:
            raise UsageError(f"backend is {' or '.join(BACKENDS)}, not {value!r}")
        return replace(settings, backend=value)
    if name == "roundup_power2_divisions":
        return replace(settings, roundup_power2_divisions=_divisions(value))
    if name not in ("max_split_size_mb", "max_non_split_rounding_mb", _GC):
        raise UsageError(f"{name!r} is no option of the CUDA caching allocator")
    try:
        number = float(value) if name == _GC else int(value)
    except ValueError:
        raise UsageError(f"{name} takes a number, not {value!r}") from None
    if name == _GC:
        if not 0 < number < 1:
            raise UsageError(f"{name} lies between 0 and 1, not at {value}")
        return replace(settings, garbage_collection_threshold=number)
    if number <= LARGE_BUFFER // MiB:
        raise UsageError(f"{name} must be more than {LARGE_BUFFER // MiB}, not {value}")
    if name == "max_split_size_mb":
        return replace(settings, max_split_size=int(number) * MiB)
    return replace(settings, max_non_split_rounding=int(number) * MiB)


_GC = "garbage_collection_threshold"
_IGNORED = {
    "release_lock_on_cudamalloc", "release_lock_on_hipmalloc",
    "graph_capture_record_stream_reuse", "per_process_memory_fraction",
}  # fmt: skip


def _divisions(value: str) -> tuple[int, ...]:
    """``4``, or ``[256:1,512:2,>:4]``: from 256 MiB on one, from 512 MiB two, above that four."""
    listed = _LIST.fullmatch(value)
    found = [0] * _POWERS
    last = -1
    try:
        for part in listed[1].split(",") if listed else [f">:{value}"]:
            size, _, count = (piece.strip() for piece in part.partition(":"))
            divisions = int(count)
            if divisions < 1 or divisions & (divisions - 1):
                raise UsageError(f"roundup_power2_divisions takes powers of two, not {count}")
            if size == ">":
                found[last + 1 :] = [divisions] * (_POWERS - last - 1)
                continue
            at = _power(int(size) * MiB)
            if last < 0:
                found[:at] = [divisions] * at
            found[at], last = divisions, at
    except ValueError:
        raise UsageError(f"roundup_power2_divisions: {value!r} is not a number or a list") from None
    return tuple(found)


def format_oom(size: int, capacity: int | None, reserved: int) -> str:
    """The sentence of an allocation that found no room."""
    room = format_bytes(capacity) if capacity is not None else "no end"
    return (
        f"out of device memory: {format_bytes(size)} asked for with {format_bytes(reserved)} "
        f"of {room} reserved"
    )
