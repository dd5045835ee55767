"""The GPUs on the terminal: for each the peak, what lay over it, and each phase's peak on it."""

from __future__ import annotations

from timeline.analysis.types import Analysis, DeviceMemory
from timeline.units import format_bytes
from timeline.views.device_words import (
    ALIVE_COLUMNS,
    alive_rows,
    layers_words,
    main_channel,
    peak_words,
    snapshot_words,
    title,
    trouble_words,
)
from timeline.views.table import phase_table
from timeline.views.terminal import DIM, Look, columns, fit

DEVICES_SHOWN = 16
PLACES_SHOWN = 12


def devices_shown(analysis: Analysis, look: Look) -> list[list[str]]:
    """A block of lines for each device."""
    shown = analysis.devices[:DEVICES_SHOWN]
    blocks = [_block(analysis, memory, look) for memory in shown]
    said = [f"Snapshot {words}" for words in snapshot_words(analysis)]
    if said:
        blocks.append([line for words in said for line in look.lines(words, rest="  ")])
    if analysis.alive:
        blocks.append(_alive(analysis, look))
    if len(analysis.devices) > len(shown):
        blocks.append(look.lines(f"and {len(analysis.devices) - len(shown)} more GPUs", "  ", "  "))
    return blocks


def _block(analysis: Analysis, memory: DeviceMemory, look: Look) -> list[str]:
    lines = look.lines(f"{title(memory)}: {peak_words(analysis, memory)}", "", "  ")
    for words in (layers_words(memory), trouble_words(memory)):
        lines += look.lines(words, "  ", "  ") if words else []
    table = phase_table(analysis, look, main_channel(memory), f"on {memory.name}")
    return [*lines, *table]


def _alive(analysis: Analysis, look: Look) -> list[str]:
    rows = [tuple(map(look.plain, row)) for row in alive_rows(analysis, PLACES_SHOWN)]
    first, blocks, during, _ = (
        max(columns(row[i]) for row in (ALIVE_COLUMNS, *rows)) for i in range(4)
    )
    room = look.width - 2 - first - blocks - during - 6
    lines = []
    for row in (ALIVE_COLUMNS, *rows):
        head = f"  {row[0].rjust(first)}  {row[1].rjust(blocks)}  {row[2].ljust(during)}  "
        lines.append(head + fit(row[3], max(room, 1), ellipsis=look.ellipsis))
    lines[0] = look.paint(lines[0], DIM)
    left = analysis.alive[PLACES_SHOWN:]
    if left:
        rest = format_bytes(sum(each.bytes for each in left))
        lines += look.lines(f"and {rest} from {len(left):,} more places", "  ", "  ")
    return lines
