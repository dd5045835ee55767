"""Round ticks: binary ones for bytes, those of a clock for time."""

from __future__ import annotations

from timeline.units import byte_unit, time_unit

Ticks = list[tuple[float, str]]
"""Places on an axis and what to write there."""

_SECOND = 10**9
_STEPS_NS = (
    *(digit * 10**power for power in range(3, 10) for digit in (1, 2, 5)),  # 1 µs to 5 s
    *(s * _SECOND for s in (10, 20, 30, 60, 120, 300, 600, 900, 1800)),
    *(h * 3600 * _SECOND for h in (1, 2, 3, 6, 12, 24, 48, 120, 240)),
)


def byte_ticks(top: float, most: int) -> Ticks:
    """At most ``most`` ticks from 0 up to ``top`` bytes, a power of two apart, in one unit.

    Every label carries the unit, so that a part of the picture can be read on its own.
    """
    step = 1
    while top // step > max(most - 1, 1):
        step *= 2
    count = int(top // step)
    unit, factor = byte_unit(count * step)
    return [(i * step, f"{i * step / factor:g} {unit}" if i else "0") for i in range(count + 1)]


def time_ticks(begin_ns: int, end_ns: int, most: int) -> Ticks:
    """At most ``most`` ticks within ``begin_ns`` to ``end_ns``, a round time apart, in one unit."""
    span = max(end_ns - begin_ns, 1)
    most = max(most - 1, 1)
    step = next((each for each in _STEPS_NS if span / each <= most), _STEPS_NS[-1])
    while span / step > most:
        step *= 2
    unit, factor = time_unit(span)
    return [
        (i * step, f"{i * step / factor:g} {unit}" if i else "0")
        for i in range(-(-begin_ns // step), end_ns // step + 1)
    ]
