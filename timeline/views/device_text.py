"""The GPUs on the terminal: for each the peak, what lay over it, and each phase's peak on it."""

from __future__ import annotations

from timeline.analysis.types import Analysis, DeviceMemory
from timeline.views.device_words import (
    layers_words,
    main_channel,
    peak_words,
    title,
    trouble_words,
)
from timeline.views.table import phase_table
from timeline.views.terminal import Look

DEVICES_SHOWN = 16


def devices_shown(analysis: Analysis, look: Look) -> list[list[str]]:
    """A block of lines for each device."""
    shown = analysis.devices[:DEVICES_SHOWN]
    blocks = [_block(analysis, memory, look) for memory in shown]
    if len(analysis.devices) > len(shown):
        blocks.append(look.lines(f"and {len(analysis.devices) - len(shown)} more GPUs", "  ", "  "))
    return blocks


def _block(analysis: Analysis, memory: DeviceMemory, look: Look) -> list[str]:
    lines = look.lines(f"{title(memory)}: {peak_words(analysis, memory)}", "", "  ")
    for words in (layers_words(memory), trouble_words(memory)):
        lines += look.lines(words, "  ", "  ") if words else []
    table = phase_table(analysis, look, main_channel(memory), f"on {memory.name}")
    return [*lines, *table]
