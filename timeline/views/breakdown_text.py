"""A breakdown for the terminal: what the memory is for, and the layers that need most of it."""

from __future__ import annotations

from collections.abc import Sequence

from timeline.theory.types import CATEGORIES, Advice, Breakdown, Layer
from timeline.units import format_bytes
from timeline.views import advice_text
from timeline.views.tensors import tensor
from timeline.views.terminal import BOLD, DIM, Look, columns, fit, pad

LAYERS_SHOWN = 20

_HEADINGS = ("layer", "kind", "output", "size", "parameters", "weights", "saved")
_LEAST = (5, 4, 1, 2, 3)
"""Columns of the layers that may go where the width is small, weights first."""

_SHORTEST_NAME = 12
_SHORTEST_WHOLE = 14
"""Columns of a name, where it is shortened and where it has a line of its own if it is longer."""


def render(
    breakdown: Breakdown,
    *,
    width: int = 80,
    color: bool = False,
    ascii: bool = False,
    layers: int = LAYERS_SHOWN,
    advice: Sequence[Advice] | None = None,
) -> str:
    """The tables of a breakdown, as lines that end with a newline.

    Args:
        breakdown: what to show.
        width: columns of a line.
        color: whether to use ANSI colours.
        ascii: whether to keep to ASCII.
        layers: how many layers are shown, those with the most bytes; 0 is all of them.
        advice: what would lower the peak; None where it was not asked for.
    """
    look = Look(width, color, ascii)
    blocks = [
        _heading(breakdown, look),
        _categories(breakdown, look),
        _layers(breakdown, layers, look),
        _advice(breakdown, advice, look),
        sentences("Not counted", breakdown.not_counted, look)
        + sentences("Assumed", breakdown.assumptions, look),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _heading(breakdown: Breakdown, look: Look) -> list[str]:
    title = look.plain(breakdown.title)
    text = f"{title}: {breakdown.parameters:,} parameters"
    lines = look.lines(text, rest="  ")
    if breakdown.peak is not None:
        size = format_bytes(breakdown.peak.bytes)
        lines += look.lines(f"Peak of tensors {size} in {breakdown.peak.phase}", rest="  ")
    lines[0] = look.paint(lines[0], BOLD)
    return lines


def _categories(breakdown: Breakdown, look: Look) -> list[str]:
    """What each category has at most, and at the peak of each phase."""
    peaks = breakdown.phases
    rows = [["", "at most", *(each.phase for each in peaks)]]
    for key in CATEGORIES:
        sizes = [breakdown.categories[key], *(each.categories[key] for each in peaks)]
        rows.append([key.replace("_", " "), *map(format_bytes, sizes)])
    if not peaks:
        return table(rows, look, left=1)
    rows.append(["in all", "", *(format_bytes(each.bytes) for each in peaks)])
    lowest = sorted(range(len(peaks)), key=lambda i: peaks[i].bytes)
    told = "The most of each at any moment, and what stands at the peak of each phase:"
    return [
        *look.lines(told, rest="  "),
        *table(rows, look, left=1, least=[1, *(i + 2 for i in lowest[:-1])]),
    ]


def _weight(layer: Layer) -> int:
    return layer.parameter + layer.buffer + layer.activation + layer.output_bytes


def _advice(breakdown: Breakdown, advice: Sequence[Advice] | None, look: Look) -> list[str]:
    if advice is None or breakdown.peak is None:
        return []
    if not advice:
        return look.lines("Nothing that was tried lowers the peak", rest="  ")
    return [
        *look.lines("What would lower the peak, each alone:", rest="  "),
        *advice_text.lines_of(advice, breakdown.peak.bytes, look),
    ]


def _layers(breakdown: Breakdown, most: int, look: Look) -> list[str]:
    chosen = list(breakdown.layers)
    if most and len(chosen) > most:
        keep = set(sorted(range(len(chosen)), key=lambda i: -_weight(chosen[i]))[:most])
        chosen = [each for i, each in enumerate(chosen) if i in keep]
    if not chosen:
        return []
    rows = [list(_HEADINGS), *(_cells(each, look) for each in chosen)]
    if len(breakdown.layers) > 1:
        rows.append(_in_all(breakdown))
    lines = table(rows, look, left=3, least=_LEAST, whole=True)
    remarks = []
    left_out = len(breakdown.layers) - len(chosen)
    if left_out:  # no sum of theirs: what one returns and the next one saves is one storage
        remarks.append(f"and {left_out:,} more layers; --layers 0 shows all")
    shown = _that_fit(rows, look, _LEAST, whole=True)
    narrow = [_HEADINGS[i] for i in _filled(rows) if i not in shown]
    if narrow:
        remarks.append(f"no room for {', '.join(narrow)}: a wider terminal, or --json, has all")
    for each in remarks:
        lines += [look.paint(line, DIM) for line in look.lines(each, rest="  ")]
    return lines


def _in_all(breakdown: Breakdown) -> list[str]:
    """The sums of all layers, shown or not."""
    layers = breakdown.layers
    weights = sum(each.parameter + each.buffer for each in layers)
    saved = sum(each.activation for each in layers)
    outputs = breakdown.outputs_bytes
    sizes = [format_bytes(size) if size else "" for size in (outputs, weights, saved)]
    return ["in all", "", "", sizes[0], f"{breakdown.parameters:,}", *sizes[1:]]


def _cells(layer: Layer, look: Look) -> list[str]:
    weights = layer.parameter + layer.buffer
    return [
        look.plain(layer.name or "(model)"),
        look.plain(layer.kind),
        look.plain(tensor(layer.output_shape, layer.output_dtype)),
        format_bytes(layer.output_bytes) if layer.output_bytes else "",
        f"{layer.parameters:,}" if layer.parameters else "",
        format_bytes(weights) if weights else "",
        format_bytes(layer.activation) if layer.activation else "",
    ]


def table(
    rows: Sequence[Sequence[str]],
    look: Look,
    *,
    left: int,
    least: Sequence[int] = (),
    whole: bool = False,
) -> list[str]:
    """Lines of cells, the first `left` columns left-aligned.

    Args:
        rows: the headings, then the cells.
        left: how many columns.
        least: columns that go where the width is small, in that order; others stay.
        whole: a first cell that is too long has a line of its own; else it is shortened.
    """
    widths = [max(columns(row[i]) for row in rows) for i in range(len(rows[0]))]
    shown = _that_fit(rows, look, least, whole=whole)
    room = look.width - sum(widths[i] + 2 for i in shown if i)
    widths[0] = max(min(widths[0], room), 1)
    lines = []
    for number, row in enumerate(rows):
        cells = [
            pad(fit(row[i], widths[i], ellipsis=look.ellipsis), widths[i])
            if i < left
            else row[i].rjust(widths[i])
            for i in shown
        ]
        if whole and columns(row[0]) > widths[0]:
            lines.append(fit(row[0], look.width, ellipsis=look.ellipsis))
            cells[0] = " " * widths[0]
        line = "  ".join(cells).rstrip()
        lines.append(look.paint(line, DIM) if number == 0 else line)
    return lines


def _filled(rows: Sequence[Sequence[str]]) -> list[int]:
    """The columns with anything under their heading."""
    return [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]


def _that_fit(
    rows: Sequence[Sequence[str]], look: Look, least: Sequence[int], *, whole: bool
) -> list[int]:
    """The columns that there is room for; one that went may leave room for a narrower one."""
    widths = [max(columns(row[i]) for row in rows) for i in range(len(rows[0]))]
    filled = _filled(rows)
    shown = [i for i in filled if i not in least]
    shortest = _SHORTEST_WHOLE if whole else _SHORTEST_NAME
    needed = sum(widths[i] + 2 for i in shown if i) + min(widths[0], shortest)
    for i in reversed(least):
        if i in filled and needed + widths[i] + 2 <= look.width:
            shown.append(i)
            needed += widths[i] + 2
    return sorted(shown)


def sentences(heading: str, several: Sequence[str], look: Look) -> list[str]:
    """A line for each sentence, or more where they are long."""
    lines: list[str] = []
    for each in several:
        lines += look.lines(f"{heading}: {each}", rest="  ")
    return [look.paint(line, DIM) for line in lines]
