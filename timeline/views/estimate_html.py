"""The page of an estimate: one HTML file that opens from disk and needs no network."""

from __future__ import annotations

import os
from typing import Any

from timeline._version import __version__
from timeline.theory.cards import Card
from timeline.theory.estimate_types import Estimate
from timeline.theory.types import CATEGORIES
from timeline.units import format_bytes
from timeline.views import whole
from timeline.views.chart.ticks import byte_ticks
from timeline.views.course import STACK, Measured, drawn
from timeline.views.estimate_json import verdict
from timeline.views.estimate_text import cut_sentence, fit_sentence, measured_sentence
from timeline.views.page.words import escaped
from timeline.views.palette import phase_colors
from timeline.views.parts import LABELS, colors

ROWS = 200
"""Of what is alive at the peak."""

_GREY = "#7a7f8c"  # readable on light paper and on dark
_RED = "#d1495b"

_STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1f2430;--faint:#6b7280;--grid:#e5e7eb}
@media(prefers-color-scheme:dark){:root{--paper:#14171f;--ink:#e6e8ee;--faint:#9aa1b0;--grid:#2a2f3b}}
body{background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif;margin:0 auto;
max-width:1180px;padding:24px}
h1{font-size:24px;margin:0}h2{font-size:16px;margin:28px 0 8px}p{margin:4px 0}
.faint{color:var(--faint)}.no{color:#d1495b;font-weight:600}.yes,.maybe{font-weight:600}
.tiles{display:flex;flex-wrap:wrap;gap:12px;margin:18px 0}
.tile{border:1px solid var(--grid);border-radius:8px;padding:10px 16px;flex:1 1 200px}
.tile b{display:block;font-size:21px}
table{border-collapse:collapse;width:100%}td,th{padding:3px 10px;
border-bottom:1px solid var(--grid);text-align:left;font-weight:normal;overflow-wrap:anywhere}
th{color:var(--faint)}
td.n,th.n{text-align:right;white-space:nowrap}
i.swatch{display:inline-block;width:12px;height:12px;margin-right:8px;border-radius:2px}
.key{display:inline-block;margin-right:18px}
"""


def write(
    estimate: Estimate,
    card: Card,
    path: str | os.PathLike[str],
    *,
    measured: Measured | None = None,
) -> None:
    """Write the page; the file is replaced as a whole, or after an error left as it was.

    Args:
        estimate: what to show.
        card: that it is held against.
        path: of the HTML file.
        measured: a recording of the same program, to be laid over it.

    Raises:
        OSError: the file cannot be written.
    """
    whole.replace(path, render(estimate, card, measured=measured).encode("utf-8"))


def render(estimate: Estimate, card: Card, *, measured: Measured | None = None) -> str:
    """The text of the page; arguments as those of `write`."""
    from bokeh.embed import components
    from bokeh.resources import Resources

    resources = Resources(mode="inline", components=["bokeh"], minified=True, log_level="warn")
    script, chart = components(_chart(estimate, card, measured))
    title = escaped(estimate.title)
    body = "".join(
        (
            f"<h1>{title}</h1>",
            f'<p class="faint">predicted for {escaped(card.title)}, without a GPU</p>',
            f'<p class="no">{escaped(cut_sentence(estimate))}</p>' if estimate.cut_off else "",
            f'<p class="{verdict(estimate, card)}">{escaped(fit_sentence(estimate, card))}</p>',
            f"<p>{escaped(measured_sentence(estimate, measured))}</p>",
            _tiles(estimate),
            chart,
            _phase_keys(estimate),
            '<p class="faint">Along the axis: what the allocator is asked for, one after the '
            "other. Drag to move, wheel to zoom; a click on a key hides its area.</p>",
            _categories(estimate),
            _alive(estimate),
            _sentences("Assumed", estimate.assumptions),
            _sentences("Not counted", estimate.not_counted),
            f'<p class="faint">timeline {__version__}</p>',
        )
    )
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style>{resources.render_js()}</head><body>{body}{script}</body></html>\n"
    )


def _chart(estimate: Estimate, card: Card, measured: Measured | None) -> Any:
    from bokeh.layouts import column
    from bokeh.models import ColumnDataSource, HoverTool
    from bokeh.models.annotations import Legend, Span
    from bokeh.models.ranges import Range1d
    from bokeh.models.tickers import FixedTicker
    from bokeh.plotting import figure

    data, tints = drawn(estimate), colors("light")
    source = ColumnDataSource(
        {
            "x": data.x,
            **{name: data.categories[name] for name in STACK},
            "allocated": data.allocated,
            "reserved": data.reserved,
            **{f"{name}_": [format_bytes(int(n)) for n in data.categories[name]] for name in STACK},
            "allocated_": [format_bytes(int(n)) for n in data.allocated],
            "reserved_": [format_bytes(int(n)) for n in data.reserved],
        }
    )
    last = max(data.length - 1, 1)
    across: Any = Range1d(start=0, end=last, bounds=(0, last))
    plot: Any = figure(
        height=420,
        sizing_mode="stretch_width",
        x_range=across,
        tools="xpan,xwheel_zoom,reset,save",
        active_scroll="xwheel_zoom",
        background_fill_alpha=0,
        border_fill_alpha=0,
        outline_line_color=None,
    )
    plot.y_range.start = 0
    highest = max(1, int(data.reserved.max(initial=0)), estimate.peak_allocated)
    if measured is not None:
        highest = max([highest, *(int(each.max(initial=0)) for each in measured.series.values())])
    areas = plot.varea_stack(
        list(STACK), x="x", source=source, color=[tints[name] for name in STACK], alpha=0.9
    )
    lines = {
        "reserved": plot.step("x", "reserved", source=source, mode="after", color=_GREY,
                              line_width=2),
        "allocated": plot.step("x", "allocated", source=source, mode="after", color="#1d4e89"),
    }  # fmt: skip
    measures: dict[str, list[Any]] = {}
    if measured is not None:
        for name, dash in (("reserved", [8, 4]), ("allocated", [2, 2])):
            if name in measured.series:
                both = [
                    plot.step(measured.x[name], measured.series[name], mode="after", **how)
                    for how in (
                        # White under black, to be seen on every area, and on dark paper.
                        {"color": "white", "line_width": 4},
                        {"color": "black", "line_width": 2, "line_dash": dash},
                    )
                ]
                measures[f"measured {name}"] = both
    room = card.visible - estimate.context.expected
    if 0 < room <= 2 * max(estimate.peak_reserved, 1):
        plot.add_layout(Span(location=room, dimension="width", line_color=_RED,
                             line_dash="dashed"))  # fmt: skip
        highest = max(highest, room)
    for step in data.steps:
        plot.add_layout(Span(location=step, dimension="height", line_color=_GREY, line_alpha=0.4))
    items = [(LABELS[name], [area]) for name, area in zip(STACK, areas, strict=True)][::-1]
    items += [(name, [line]) for name, line in lines.items()]
    items += list(measures.items())
    plot.add_layout(
        Legend(items=items, click_policy="hide", orientation="horizontal", ncols=9,
               background_fill_alpha=0, border_line_alpha=0, label_text_color=_GREY),
        "below",
    )  # fmt: skip
    tips = [(LABELS[name], f"@{name}_") for name in STACK[::-1]]
    tips += [("allocated", "@allocated_"), ("reserved", "@reserved_")]
    plot.add_tools(HoverTool(renderers=[lines["allocated"]], tooltips=tips, mode="vline"))
    plot.y_range.end = top = 1.08 * highest
    ticks = byte_ticks(top, 7)
    plot.yaxis.ticker = FixedTicker(ticks=[place for place, _ in ticks])
    plot.yaxis.major_label_overrides = dict(ticks)
    lane = _lane(data.phases, across)
    for each in (plot, lane):
        each.grid.grid_line_color, each.grid.grid_line_alpha = _GREY, 0.2
        each.axis.major_label_text_color = each.axis.axis_line_color = _GREY
        each.axis.major_tick_line_color = each.axis.minor_tick_line_color = None
        each.toolbar.logo = None
    plot.xaxis.visible = False
    return column(plot, lane, sizing_mode="stretch_width")


def _lane(phases: tuple[tuple[int, int, str], ...], across: Any) -> Any:
    from bokeh.models import ColumnDataSource
    from bokeh.models.ranges import Range1d
    from bokeh.plotting import figure

    tints = phase_colors(name for _, _, name in phases)
    source = ColumnDataSource(
        {
            "begin": [begin for begin, _, _ in phases],
            "end": [end for _, end, _ in phases],
            "name": [name for _, _, name in phases],
            "color": [tints[name] for _, _, name in phases],
        }
    )
    lane: Any = figure(
        height=54,
        sizing_mode="stretch_width",
        x_range=across,
        y_range=Range1d(start=0, end=1),
        tools="hover",
        toolbar_location=None,
        tooltips="@name",
        background_fill_alpha=0,
        border_fill_alpha=0,
        outline_line_color=None,
    )
    lane.quad("begin", "end", 0.95, 0.05, source=source, color="color", line_width=0)
    lane.yaxis.visible = False
    return lane


def _phase_keys(estimate: Estimate) -> str:
    """What the colours of the lane stand for: a box there has no room for its name."""
    tints = phase_colors(name for _, _, name in drawn(estimate).phases)
    keys = "".join(
        f'<span class="key"><i class="swatch" style="background:{tint}"></i>{escaped(name)}</span>'
        for name, tint in tints.items()
    )
    return f'<p class="faint">{keys}</p>' if keys else ""


def _tiles(estimate: Estimate) -> str:
    total = estimate.process_total
    tiles = (
        ("Peak allocated", format_bytes(estimate.peak_allocated), f"in {estimate.peak_phase}"),
        ("Peak reserved", format_bytes(estimate.peak_reserved), "by torch's allocator"),
        ("Process", format_bytes(total.expected),
         f"{format_bytes(total.low)} to {format_bytes(total.high)} with CUDA's context"),
        ("Steps", str(estimate.steps), "followed"),
    )  # fmt: skip
    return (
        '<div class="tiles">'
        + "".join(
            f'<div class="tile"><span class="faint">{what}</span><b>{figure}</b>'
            f'<span class="faint">{escaped(rest)}</span></div>'
            for what, figure, rest in tiles
        )
        + "</div>"
    )


def _categories(estimate: Estimate) -> str:
    tints = colors("light")
    rows = "".join(
        f'<tr><td><i class="swatch" style="background:{tints[name]}"></i>{LABELS[name]}</td>'
        f'<td class="n">{format_bytes(estimate.categories_at_peak.get(name, 0))}</td>'
        f'<td class="n">{format_bytes(max(estimate.course.categories.get(name, ()), default=0))}'
        "</td></tr>"
        for name in CATEGORIES
    )
    return (
        "<h2>What it is for</h2><table><tr><th></th>"
        f'<th class="n">at the peak</th><th class="n">at most</th></tr>{rows}</table>'
    )


def _alive(estimate: Estimate) -> str:
    rows = "".join(
        f"<tr><td>{escaped(each.layer or '(outside of modules)')}</td>"
        f"<td>{LABELS.get(each.category, each.category)}</td><td>{escaped(each.phase)}</td>"
        f'<td class="n">{each.storages:,}</td><td class="n">{format_bytes(each.bytes)}</td></tr>'
        for each in estimate.alive_at_peak[:ROWS]
    )
    more = len(estimate.alive_at_peak) - ROWS
    rest = f'<p class="faint">and {more:,} more</p>' if more > 0 else ""
    return (
        "<h2>Alive at the peak</h2><table><tr><th>layer</th><th>for</th><th>made in</th>"
        f'<th class="n">tensors</th><th class="n">size</th></tr>{rows}</table>{rest}'
    )


def _sentences(heading: str, several: tuple[str, ...]) -> str:
    if not several:
        return ""
    items = "".join(f"<li>{escaped(each)}</li>" for each in several)
    return f"<h2>{heading}</h2><ul>{items}</ul>"
