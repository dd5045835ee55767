"""What the views say of a GPU in words: which it is, and what was on it at its peak."""

from __future__ import annotations

import os

from timeline.analysis.types import Analysis, DeviceMemory
from timeline.units import format_bytes, format_duration
from timeline.views.table import figure, summary_of


def title(memory: DeviceMemory) -> str:
    """Such as ``cuda0 (gpu0, NVIDIA H100 80GB HBM3)``."""
    device = memory.device
    known = [device.name if device.name != memory.name else "", device.model]
    more = ", ".join(word for word in known if word)
    return f"{memory.name} ({more})" if more else memory.name


def main_channel(memory: DeviceMemory) -> str:
    """The channel whose peak is the device's."""
    if memory.by_torch:
        return f"torch.cuda{memory.device.cuda}.allocated"
    return f"{memory.device.name}.used"


def channels_of(analysis: Analysis) -> set[str]:
    """The channels that the GPUs' own part of a view tells of."""
    prefixes = tuple(
        prefix
        for memory in analysis.devices
        for prefix in (
            f"{memory.device.name}." if memory.device.name else "",
            f"torch.cuda{memory.device.cuda}." if memory.device.cuda >= 0 else "",
        )
        if prefix
    )
    return {
        each.channel.name for each in analysis.channels if each.channel.name.startswith(prefixes)
    }


def peak_words(analysis: Analysis, memory: DeviceMemory) -> str:
    """Such as ``allocated peak 3.00 GiB at 1.20 s in step/backward, exact``."""
    summary = summary_of(analysis, main_channel(memory))
    if summary is None:
        return "not one reading"
    what = "allocated" if memory.by_torch else "used"
    words = f"{what} peak {figure(summary.peak, summary.exact)}"
    words += f" at {format_duration(summary.peak_ns / 1e9)}"
    if summary.peak_phase is not None:
        words += f" in {summary.peak_phase}"
    return words + (", exact" if summary.exact else "")


def layers_words(memory: DeviceMemory) -> str:
    """What lay over it at that moment; empty where nothing else is known."""
    peak, total = memory.peak, memory.device.total
    words = []
    if peak.cached >= 0:
        words.append(f"{format_bytes(peak.cached)} cached")
    if memory.by_torch and peak.outside >= 0:
        outside = f"{format_bytes(peak.outside)} outside torch"
        if 0 <= peak.process <= peak.used:
            others = peak.used - peak.process
            outside += f" ({format_bytes(others)} by other processes)" if others else ""
        words.append(outside)
    of = f" of {format_bytes(total)}" if total > 0 else ""
    if memory.by_torch and peak.used >= 0:
        words.append(f"{format_bytes(peak.used)}{of} used")
    if not memory.by_torch and of:
        words.append(f"{format_bytes(peak.used)}{of}")
    if not memory.by_torch and peak.process >= 0:
        words.append(f"{format_bytes(peak.process)} by the program and its children")
    if memory.by_torch and memory.device.name and peak.used < 0:
        words.append("what else is used is not known")
    return "then " + ", ".join(words) if words else ""


def trouble_words(memory: DeviceMemory) -> str:
    """What the allocator had to do when there was no room; empty where there was."""
    words = []
    if memory.retries > 0:
        times = "once" if memory.retries == 1 else f"{memory.retries:,} times"
        words.append(f"torch gave its cached memory back {times} to make room")
    if memory.ooms > 0:
        failed = "1 allocation" if memory.ooms == 1 else f"{memory.ooms:,} allocations"
        words.append(f"{failed} failed: out of memory")
    return "; ".join(words)


def snapshot_words(analysis: Analysis) -> list[str]:
    """Where torch's own history lies, and how to read it."""
    return [
        f"{'where an allocation failed' if 'oom' in os.path.basename(path) else 'of the peak'}: "
        f"timeline report {path}"
        for path in analysis.snapshots
    ]


ALIVE_COLUMNS = ("alive at the peak", "blocks", "in", "from")


def alive_rows(analysis: Analysis, most: int) -> list[tuple[str, str, str, str]]:
    """What was handed out at the peak, by place: bytes, blocks, part of a step, place."""
    rows = []
    for each in analysis.alive[:most]:
        place = each.place or ("before the recording began" if each.during == "before" else "")
        if not place:
            place = f"{each.operation}, no Python frame" if each.operation else "unknown"
        elif each.operation:
            place += f" ({each.operation})"
        during = "" if each.during == "before" else each.during
        rows.append((format_bytes(each.bytes), f"{each.blocks:,}", during, place))
    return rows
