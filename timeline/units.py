"""Bytes and durations as text, and back. The only place where a unit is spelled.

Binary units (KiB, MiB, GiB, TiB) are powers of 1024; decimal ones (kB, MB, GB, TB) powers of
1000, as IEC 80000-13 has it. Text for people is binary; both are understood.
"""

from __future__ import annotations

import math
import re

from timeline.errors import UsageError

KiB, MiB, GiB, TiB = (1024**n for n in (1, 2, 3, 4))
kB, MB, GB, TB = (1000**n for n in (1, 2, 3, 4))

_FACTORS = {
    "b": 1, "kib": KiB, "mib": MiB, "gib": GiB, "tib": TiB,
    "kb": kB, "mb": MB, "gb": GB, "tb": TB,
}  # fmt: skip
_BYTES = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*")


def format_bytes(count: int, *, signed: bool = False) -> str:
    """Text of a number of bytes in the binary unit that leaves 1 to 4 digits before the point.

    Args:
        count: bytes, of either sign.
        signed: whether a positive number carries its ``+``, as a difference should.

    >>> format_bytes(1536), format_bytes(-3 * 1024**2), format_bytes(0, signed=True)
    ('1.50 KiB', '-3.00 MiB', '0 B')
    """
    sign = "-" if count < 0 else "+" if signed and count > 0 else ""
    size = abs(count)
    if size < KiB:
        return f"{sign}{size} B"
    for unit, factor in (("KiB", KiB), ("MiB", MiB), ("GiB", GiB)):
        # Compare what will be printed: 1023.996 MiB must not read "1024.0 MiB".
        if size / factor < 1023.95:
            return f"{sign}{_three_digits(size / factor)} {unit}"
    return f"{sign}{_three_digits(size / TiB)} TiB"


def _three_digits(value: float) -> str:
    if value < 9.995:
        return f"{value:.2f}"
    if value < 1000:
        return f"{value:.1f}"
    return f"{value:.0f}"


def byte_unit(count: int) -> tuple[str, int]:
    """The name and size in bytes of the largest binary unit that ``count`` bytes fill.

    >>> byte_unit(1536), byte_unit(5)
    (('KiB', 1024), ('B', 1))
    """
    for unit, factor in (("TiB", TiB), ("GiB", GiB), ("MiB", MiB), ("KiB", KiB)):
        if abs(count) >= factor:
            return unit, factor
    return "B", 1


def parse_bytes(text: str) -> int:
    """The bytes that a text such as ``4GiB``, ``512 MB`` or ``1048576`` stands for.

    Raises:
        UsageError: the text is no number with one of the units of this module.
    """
    found = _BYTES.fullmatch(text)
    factor = _FACTORS.get(found[2].lower() or "b") if found else None
    size = float(found[1]) * factor if found and factor else math.inf
    if size == math.inf:  # of hundreds of digits, too
        raise UsageError(f"{text!r} is not a size: write a number and a unit, such as 4GiB")
    return round(size)


def format_duration(seconds: float) -> str:
    """Text of a duration, from nanoseconds to days, in at most two units.

    >>> format_duration(0.0123), format_duration(75.2), format_duration(90061)
    ('12.3 ms', '1 min 15 s', '1 d 1 h')
    """
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds == 0:
        return "0 s"
    for unit, factor in (("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3)):
        if seconds / factor < 999.5:
            return f"{_short(seconds / factor)} {unit}"
    if seconds < 59.95:
        return f"{_short(seconds)} s"
    whole = round(seconds)
    if whole < 3600:
        return _two(whole // 60, "min", whole % 60, "s")
    if whole < 86400:
        return _two(whole // 3600, "h", whole % 3600 // 60, "min")
    return _two(whole // 86400, "d", whole % 86400 // 3600, "h")


def time_unit(duration_ns: int) -> tuple[str, int]:
    """The name and nanoseconds of the unit for the ticks of a time axis of that length.

    >>> time_unit(90 * 10**9), time_unit(7200 * 10**9)
    (('s', 1000000000), ('h', 3600000000000))
    """
    second = 10**9
    for unit, factor, least in (
        ("d", 86400, 172800), ("h", 3600, 7200), ("min", 60, 300), ("s", 1, 1),
    ):  # fmt: skip
        if duration_ns >= least * second:
            return unit, factor * second
    return ("ms", 10**6) if duration_ns >= 10**6 else ("µs", 1000)


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit} {small} {small_unit}" if small else f"{large} {large_unit}"
