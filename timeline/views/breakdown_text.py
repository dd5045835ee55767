"""A breakdown for the terminal: what the memory is for, and the layers that need most of it."""

from __future__ import annotations

from collections.abc import Sequence

from timeline.theory.types import CATEGORIES, Advice, Breakdown, Layer
from timeline.units import format_bytes
from timeline.views.terminal import BOLD, DIM, Look, columns, fit, pad, wrap

LAYERS_SHOWN = 20

_HEADINGS = ("layer", "kind", "output", "parameters", "weights", "saved", "output size")
_SHORTEST_NAME = 12


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
    peak = breakdown.peak
    names = [each.replace("_", " ") for each in CATEGORIES]
    rows = [
        [
            name,
            format_bytes(breakdown.categories[key]),
            format_bytes(peak.categories[key]) if peak else "",
        ]
        for key, name in zip(CATEGORIES, names, strict=True)
    ]
    heading = ["", "at most", "at the peak" if peak else ""]
    return table([heading, *rows], look, left=1)


def _weight(layer: Layer) -> int:
    return layer.parameter + layer.buffer + layer.activation + layer.output_bytes


def _advice(breakdown: Breakdown, advice: Sequence[Advice] | None, look: Look) -> list[str]:
    if advice is None or breakdown.peak is None:
        return []
    if not advice:
        return look.lines("Nothing that was tried lowers the peak", rest="  ")
    lines = look.lines("What would lower the peak, each alone:", rest="  ")
    width = max(columns(format_bytes(each.saves)) for each in advice)
    for each in advice:
        share = f"{100 * each.saves / breakdown.peak.bytes:.0f} %"
        saves = format_bytes(each.saves).rjust(width)
        # The words wrap beside the figures, not below them.
        figures = f"  {saves}  {share:>5}  "
        words = look.plain(f"{each.what}; costs {each.costs}").split()
        lines += wrap(words, look.width, first=figures, rest=" " * len(figures))
    return lines


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
    lines = table(rows, look, left=3)
    left_out = len(breakdown.layers) - len(chosen)
    if left_out:
        shown = {id(each) for each in chosen}
        rest = sum(_weight(each) for each in breakdown.layers if id(each) not in shown)
        text = f"and {left_out:,} more layers with {format_bytes(rest)}; --layers 0 shows all"
        lines += [look.paint(line, DIM) for line in look.lines(text, rest="  ")]
    return lines


def _in_all(breakdown: Breakdown) -> list[str]:
    """The sums of all layers, shown or not."""
    layers = breakdown.layers
    weights = sum(each.parameter + each.buffer for each in layers)
    saved = sum(each.activation for each in layers)
    outputs = breakdown.outputs_bytes
    sizes = [format_bytes(size) if size else "" for size in (weights, saved, outputs)]
    return ["in all", "", "", f"{breakdown.parameters:,}", *sizes]


def _cells(layer: Layer, look: Look) -> list[str]:
    shape = "x".join(map(str, layer.output_shape)) if layer.output_shape is not None else ""
    dtype = layer.output_dtype
    return [
        look.plain(layer.name or "(model)"),
        look.plain(layer.kind),
        f"{shape} {dtype}" if dtype and dtype != "float32" else shape,
        f"{layer.parameters:,}" if layer.parameters else "",
        format_bytes(layer.parameter + layer.buffer) if layer.parameter + layer.buffer else "",
        format_bytes(layer.activation) if layer.activation else "",
        format_bytes(layer.output_bytes) if layer.output_bytes else "",
    ]


_LEAST = (1, 4, 6, 2, 5)
"""Columns in the order in which they go where the width is small: kind first."""


def table(
    rows: Sequence[Sequence[str]], look: Look, *, left: int, least: Sequence[int] = _LEAST
) -> list[str]:
    """Lines of cells, the first `left` columns left-aligned, the first one shortened to fit.

    Where the width is small the columns go that are named by `least`, in that order.
    """
    widths = [max(columns(row[i]) for row in rows) for i in range(len(rows[0]))]
    shown = [i for i, width in enumerate(widths) if width]

    def needed() -> int:
        return sum(widths[i] + 2 for i in shown if i) + min(widths[0], _SHORTEST_NAME)

    for i in least:
        if needed() > look.width and i in shown:
            shown.remove(i)
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
        line = "  ".join(cells).rstrip()
        lines.append(look.paint(line, DIM) if number == 0 else line)
    return lines


def sentences(heading: str, several: Sequence[str], look: Look) -> list[str]:
    """A line for each sentence, or more where they are long."""
    lines: list[str] = []
    for each in several:
        lines += look.lines(f"{heading}: {each}", rest="  ")
    return [look.paint(line, DIM) for line in lines]
