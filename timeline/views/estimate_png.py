"""The picture of an estimate: categories over the steps, what is reserved, the card's memory."""

from __future__ import annotations

import io
import os
from typing import Any

from timeline.theory.cards import Card
from timeline.theory.estimate_types import Estimate
from timeline.units import format_bytes
from timeline.views import whole
from timeline.views.course import STACK, Drawn, Measured, drawn
from timeline.views.estimate_text import cut_sentence, fit_sentence, measured_sentence
from timeline.views.palette import PALETTES, Theme, ink_on, phase_colors
from timeline.views.parts import LABELS, colors
from timeline.views.png import as_shipped

FURTHEST = 2.0
"""Times the highest reserved: a card with more is told in words, or the stack would be a strip."""

MEASURED = ("reserved", "allocated")

PHASES_NAMED = 8
"""Phases that have a key; an estimate has hardly more."""

_WIDTH, _HEIGHT, _DPI = 10.0, 5.4, 200


def write(
    estimate: Estimate,
    card: Card,
    path: str | os.PathLike[str],
    *,
    theme: Theme = "light",
    measured: Measured | None = None,
) -> None:
    """Write the picture; the file is replaced as a whole, or after an error left as it was.

    Args:
        estimate: what to show.
        card: whose memory is drawn as a line.
        path: of the PNG.
        theme: ``light`` or ``dark``.
        measured: a recording of the same program, to be laid over it.

    Raises:
        OSError: the file cannot be written.
    """
    whole.replace(path, render(estimate, card, theme=theme, measured=measured))


def render(
    estimate: Estimate, card: Card, *, theme: Theme = "light", measured: Measured | None = None
) -> bytes:
    """The bytes of the picture; arguments as those of `write`."""
    with as_shipped():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        palette = PALETTES[theme]
        figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=_DPI, facecolor=palette.paper)
        _draw(figure, estimate, card, theme, measured)
        out = io.BytesIO()
        FigureCanvasAgg(figure).print_png(out, metadata={"Software": "timeline"})  # type: ignore[no-untyped-call]
    return out.getvalue()


def _draw(
    figure: Any, estimate: Estimate, card: Card, theme: Theme, measured: Measured | None
) -> None:
    palette = PALETTES[theme]
    data = drawn(estimate)
    left, width = 0.085, 0.895
    told = [cut_sentence(estimate), measured_sentence(estimate, measured)]
    told = [each for each in told if each]
    axes = figure.add_axes((left, 0.29, width, 0.55 - 0.035 * (len(told) > 1)), facecolor="none")
    lane = figure.add_axes((left, 0.23, width, 0.045), facecolor="none")
    tints = colors(theme)
    most = max(data.reserved.max(initial=1), estimate.peak_allocated)
    if measured is not None:
        most = max([most, *(int(each.max(initial=0)) for each in measured.series.values())])
    axes.stackplot(
        data.x,
        [data.categories[name] for name in STACK],
        colors=[tints[name] for name in STACK],
        step="post",
        linewidth=0,
    )
    axes.plot(data.x, data.reserved, color=palette.ink, linewidth=1.3, drawstyle="steps-post")
    axes.plot(data.x, data.allocated, color=palette.curve, linewidth=0.7, drawstyle="steps-post")
    if measured is not None:
        for name in MEASURED:
            if name in measured.series:
                axes.plot(measured.x[name], measured.series[name], drawstyle="steps-post",
                          **_of_measured(name, palette))  # fmt: skip
    room = card.visible - estimate.context.expected
    top = most * 1.08
    if 0 < room <= most * FURTHEST:
        top = max(top, room * 1.08)
        axes.axhline(room, color=palette.peak, linewidth=1.0, linestyle=(0, (5, 3)))
        axes.text(data.length * 0.005, room, f"{card.title}, less CUDA's context: "
                  f"{format_bytes(room)}", color=palette.peak, fontsize=8, va="bottom")  # fmt: skip
    axes.set_xlim(0, max(data.length - 1, 1))
    axes.set_ylim(0, top)
    _axes(axes, palette, top)
    for step in data.steps:
        axes.axvline(step, color=palette.faint, linewidth=0.5, alpha=0.6)
    at = int(data.allocated.argmax()) if len(data.x) else 0
    if len(data.x):
        axes.plot([data.x[at]], [data.allocated[at]], "o", color=palette.peak, markersize=4)
    _lane(lane, data, palette)
    _words(figure, estimate, card, palette)
    for row, text in enumerate(told):
        _told(figure, text, 0.86 - 0.035 * row, palette, hot=text.startswith("Cut"))
    _keys(figure, tints, palette, measured, left)
    _phase_keys(figure, data, palette, left)


def _axes(axes: Any, palette: Any, top: float) -> None:
    from timeline.views.chart.ticks import byte_ticks

    ticks = byte_ticks(top, 7)
    axes.set_yticks([place for place, _ in ticks], [label for _, label in ticks])
    axes.tick_params(colors=palette.faint, labelsize=8, length=0)
    axes.grid(axis="y", color=palette.grid, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xticks([])
    for side in axes.spines.values():
        side.set_visible(False)


def _lane(axes: Any, data: Drawn, palette: Any) -> None:
    tints = phase_colors(name for _, _, name in data.phases)
    axes.set_xlim(0, max(data.length - 1, 1))
    axes.set_ylim(0, 1)
    axes.set_axis_off()
    axes.broken_barh(
        [(begin, end - begin) for begin, end, _ in data.phases],
        (0, 1),
        facecolors=[tints[name] for _, _, name in data.phases],
    )
    for begin, end, name in data.phases:
        short = name.split("/")[-1]
        # About a thousandth of the width for a letter and a margin.
        if (end - begin) / max(data.length, 1) > 0.0085 * (len(short) + 1):
            axes.text((begin + end) / 2, 0.46, short, color=ink_on(tints[name]), fontsize=7,
                      ha="center", va="center", clip_on=True)  # fmt: skip


def _words(figure: Any, estimate: Estimate, card: Card, palette: Any) -> None:
    from timeline.views.chart import lettering

    title = lettering.fit(lettering.drawable(estimate.title), 13, 6.4, bold=True)
    figure.text(0.02, 0.945, title, color=palette.ink, fontsize=13, fontweight="bold",
                parse_math=False)  # fmt: skip
    figure.text(
        0.98, 0.945, "predicted, without a GPU", color=palette.faint, fontsize=9, ha="right"
    )
    total = estimate.process_total
    figure.text(
        0.02,
        0.895,
        f"{card.title}  ·  peak allocated {format_bytes(estimate.peak_allocated)} in "
        f"{estimate.peak_phase}  ·  reserved {format_bytes(estimate.peak_reserved)}  ·  process "
        f"{format_bytes(total.low)} to {format_bytes(total.high)}",
        color=palette.faint,
        fontsize=9,
        parse_math=False,
    )
    figure.text(0.02, 0.03, fit_sentence(estimate, card), color=palette.ink, fontsize=9)
    figure.text(0.98, 0.03, "along the axis: what the allocator is asked for, one after the other",
                color=palette.faint, fontsize=7.5, ha="right")  # fmt: skip


def _told(figure: Any, text: str, y: float, palette: Any, *, hot: bool) -> None:
    from timeline.views.chart import lettering

    color = palette.peak if hot else palette.ink
    fitting = lettering.fit(lettering.drawable(text), 9, 9.6)
    figure.text(0.02, y, fitting, color=color, fontsize=9, parse_math=False)


def _of_measured(name: str, palette: Any) -> dict[str, Any]:
    """How a measured curve is drawn: with a seam of paper, to be seen on any of the areas."""
    from matplotlib.patheffects import Normal, Stroke

    return {
        "color": palette.ink,
        "linewidth": 1.2,
        "linestyle": (0, (4, 2)) if name == "reserved" else (0, (1, 1)),
        "path_effects": [Stroke(linewidth=2.6, foreground=palette.paper), Normal()],
    }


def _keys(figure: Any, tints: Any, palette: Any, measured: Measured | None, left: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(color=tints[name], label=LABELS[name]) for name in STACK[::-1]]
    handles.append(Line2D([], [], color=palette.ink, linewidth=1.3, label="reserved"))
    handles.append(Line2D([], [], color=palette.curve, linewidth=0.9, label="allocated"))
    if measured is not None:
        for name in MEASURED:
            if name in measured.series:
                how = _of_measured(name, palette)
                handles.append(Line2D([], [], label=f"measured {name}", **how))
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(left - 0.012, 0.085),
        ncol=5 if measured is None else 6,
        frameon=False,
        fontsize=8,
        labelcolor=palette.ink,
        handlelength=1.3,
        columnspacing=1.6,
    )


def _phase_keys(figure: Any, data: Drawn, palette: Any, left: float) -> None:
    """One row under the lane: a box there is mostly too narrow for its name."""
    from matplotlib.patches import Patch

    tints = phase_colors(name for _, _, name in data.phases)
    names = list(tints)[:PHASES_NAMED]
    handles = [Patch(color=tints[name], label=name.split("/")[-1]) for name in names]
    if len(tints) > len(names):
        handles.append(Patch(color="none", label=f"and {len(tints) - len(names):,} more"))
    if not handles:
        return
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(left - 0.012, 0.235),
        ncol=len(handles),
        frameon=False,
        fontsize=7.5,
        labelcolor=palette.faint,
        handlelength=1.0,
        columnspacing=1.4,
    )
