"""The page of all ranks of a run: one HTML file that opens from disk and needs no network.

It is drawn by a script of its own on two canvases: a thousand ranks are a picture of pixels, which
a library of charts would make a thousand objects of.
"""

from __future__ import annotations

import os
import shlex
from typing import Any

import numpy as np

from timeline._version import __version__
from timeline.analysis.rank_types import RankPhase, RanksAnalysis, RankSummary
from timeline.analysis.rank_words import ranks_named
from timeline.recording.types import Ints
from timeline.units import format_bytes, format_duration
from timeline.views import whole
from timeline.views.page.frame import asset, block, filled, policy, remarks_card, style
from timeline.views.page.packing import Packer
from timeline.views.page.phases import shown_path
from timeline.views.page.words import escaped, script_json, visible
from timeline.views.ranks_words import (
    channel_sentences,
    clock_sentences,
    ended_words,
    size_words,
    slowest_words,
)
from timeline.views.table import figure

MOST_SIZES = 1_200_000
"""In the curves of all ranks; with more the buckets are made wider, and the page stays at 4 MB."""

MOST_NOTED = 50

_RANK_HEADINGS = ("Rank", "Host", "Peak", "Of median", "At", "In", "Ended")
_PHASE_HEADINGS = (
    "Phase",
    "Ranks",
    "Count",
    "Most",
    "On rank",
    "Median",
    "Least",
    "Slowest into it",
)


def write(analysis: RanksAnalysis, path: str | os.PathLike[str]) -> None:
    """Write the page; the file is replaced as a whole, or after an error left as it was.

    Raises:
        OSError: the file cannot be written.
    """
    whole.replace(path, render(analysis).encode("utf-8"))


def render(analysis: RanksAnalysis) -> str:
    """The text of the page, which UTF-8 can encode whatever names the run has."""
    packer = Packer()
    facts, width_ns = _facts(analysis, packer)
    own = "\n".join(
        ('"use strict";', "(() => {", *map(asset, ("words.js", "unpack.js", "ranks.js")), "})();")
    )
    scripts = [
        block("facts", "application/json", script_json(facts)),
        *(block(f"pack-{i}", "text/plain", text) for i, text in enumerate(packer.texts)),
        f"<script>{own}</script>",
    ]
    good = not any(each.failed for each in analysis.ranks) and not analysis.absent
    kind = "good" if good else "bad"
    wide = format_duration(width_ns / 1e9)
    return filled(
        asset("ranks.html"),
        {
            "policy": policy(own),
            "version": __version__,
            "title": escaped(analysis.title) or "recording",
            "ending": f'<span class="pill {kind}">{escaped(analysis.ending)}</span>',
            "command": escaped(shlex.join(analysis.argv)),
            "tiles": _tiles(analysis),
            "key": _key(analysis),
            "resolution": f"Drawn are the exact least and largest in every {wide}; the report of a "
            "rank alone has every reading.",
            "ranks": _ranks(analysis),
            "phases": _phases(analysis),
            "remarks": _remarks(analysis),
            "style": style() + asset("ranks.css"),
            "scripts": "\n".join(scripts),
        },
    )


def _facts(analysis: RanksAnalysis, packer: Packer) -> tuple[dict[str, Any], int]:
    curves, peak = analysis.curves, analysis.peak
    if curves is None or peak is None:
        return {"ranks": [], "world": analysis.world}, 1
    while curves.low.size * 2 > MOST_SIZES and len(curves.begin_ns) > 2:
        curves = curves.widened()
    least, middle, most = curves.envelope()
    columns: dict[str, Ints] = {
        "envelopeLow": least,
        "median": middle,
        "envelopeHigh": most,
        "low": curves.low.ravel(),
        "high": curves.high.ravel(),
    }
    hosts = list(dict.fromkeys(each.host for each in analysis.ranks))
    host_of = {each.rank: hosts.index(each.host) for each in analysis.ranks}
    top = analysis.rank(peak.most_rank).peaks[analysis.channel]
    return {
        "world": analysis.world,
        "ranks": list(curves.ranks),
        "hosts": [visible(host) for host in hosts],
        "host_of": [host_of[rank] for rank in curves.ranks],
        "peak_rank": peak.most_rank,
        "peak": top.bytes,
        "peak_s": top.t_ns / 1e9,
        "span_s": max(len(curves.begin_ns) * curves.width_ns, 1) / 1e9,
        "width_s": curves.width_ns / 1e9,
        "buckets": len(curves.begin_ns),
        "died": [[each.rank, each.end_ns / 1e9] for each in analysis.ranks if each.failed],
        "columns": {
            name: packer.pack(np.ascontiguousarray(values), differences=True)
            for name, values in columns.items()
        },
    }, curves.width_ns


def _tiles(analysis: RanksAnalysis) -> str:
    peak = analysis.peak
    if peak is None:
        first = _tile("Peak of host memory", "unknown", "no reading of any rank", first=True)
        spread = ""
    else:
        top = analysis.rank(peak.most_rank)
        own = top.peaks[analysis.channel]
        where = f"in <b>{escaped(own.phase)}</b> " if own.phase else ""
        first = _tile(
            "Highest peak of a rank",
            figure(own.bytes, own.exact),
            f"rank <b>{top.rank}</b> on <b>{escaped(top.host)}</b> {where}"
            f"at <b>{format_duration(own.t_ns / 1e9)}</b>",
            first=True,
        )
        spread = _tile(
            "Imbalance",
            f"{peak.imbalance:.2f}",
            f"median {format_bytes(peak.median)}, least {format_bytes(peak.least)} on rank "
            f"<b>{peak.least_rank}</b>",
        )
    failed = [each.rank for each in analysis.ranks if each.failed]
    running = sum(each.end == "running" for each in analysis.ranks)
    gone = f"{len(failed):,} failed" if failed else "none failed"
    absent = f", {ranks_named(analysis.absent)} not here" if analysis.absent else ""
    still = f", {running:,} running" if running else ""
    return "".join(
        (
            first,
            spread,
            _tile("Ranks", f"{analysis.world:,}", escaped(f"{size_words(analysis)}")),
            _tile(
                "Ended", gone, escaped(f"after {_duration(analysis.duration_ns)}{still}{absent}")
            ),
        )
    )


def _tile(what: str, shown: str, rest: str, *, first: bool = False) -> str:
    kind = "tile first" if first else "tile"
    return (
        f'<div class="{kind}"><div class="what">{what}</div>'
        f'<div class="figure">{shown}</div><div class="rest">{rest}</div></div>'
    )


def _key(analysis: RanksAnalysis) -> str:
    if analysis.peak is None:
        return "<span>Not a single reading was taken, so there is no curve.</span>"
    parts = (
        ("band", "all ranks, least to most"),
        ("median", "median of the ranks"),
        ("line", f"rank {analysis.peak.most_rank}, the highest"),
    )
    spans = [f'<span><i class="{kind}"></i>{words}</span>' for kind, words in parts]
    spans.append('<span><i class="chosen"></i><b id="chosen">a rank that you choose</b></span>')
    spans.append("<span>strip: a row for each rank, × where it died</span>")
    return "".join(spans)


def _ranks(analysis: RanksAnalysis) -> str:
    rows = "".join(_rank(each, analysis) for each in analysis.ranks)
    return _table("ranks", "Ranks", _RANK_HEADINGS, rows, left={1, 5, 6})


def _rank(rank: RankSummary, analysis: RanksAnalysis) -> str:
    peak = rank.peaks.get(analysis.channel)
    median = analysis.peak.median if analysis.peak else 0
    host = escaped(rank.host)
    cells = [_cell(rank.rank, f"{rank.rank}"), _cell(host, f"<bdi>{host}</bdi>", left=True)]
    if peak is None:
        cells += [_cell(-1, "–"), _cell(-1, "–"), _cell(-1, "–"), _cell("", "", left=True)]
    else:
        part = peak.bytes / median if median else 0
        inside = shown_path(peak.phase) if peak.phase is not None else "(outside)"
        cells += [
            _cell(peak.bytes, figure(peak.bytes, peak.exact)),
            _cell(part, f"{part:.2f}"),
            _cell(peak.t_ns, _duration(peak.t_ns)),
            _cell(inside, inside, left=True),
        ]
    ended = escaped(ended_words(rank))
    cells.append(_cell(ended, f'<span title="{escaped(rank.ending)}">{ended}</span>', left=True))
    kind = ' class="failed"' if rank.failed else ""
    return f'<tr data-rank="{rank.rank}"{kind}>{"".join(cells)}</tr>'


def _phases(analysis: RanksAnalysis) -> str:
    if not analysis.phases:
        return ""
    rows = "".join(map(_phase, analysis.phases))
    return _table("phases", "Phases over all ranks", _PHASE_HEADINGS, rows, left={7})


def _phase(phase: RankPhase) -> str:
    peak = phase.peak
    name = shown_path(phase.path)
    cells = [_cell(name, f"<bdi>{name}</bdi>", left=True)]
    cells += [_cell(phase.ranks, f"{phase.ranks:,}"), _cell(phase.count, f"{phase.count:,}")]
    if peak is None:
        cells += [_cell(-1, "–")] * 4
    else:
        cells += [
            _cell(peak.most, figure(peak.most, phase.exact)),
            _cell(peak.most_rank, f"{peak.most_rank}"),
            _cell(peak.median, format_bytes(peak.median)),
            _cell(peak.least, format_bytes(peak.least)),
        ]
    slowest = escaped(slowest_words(phase.slowest)) if phase.slowest else ""
    cells.append(_cell(slowest, slowest, left=True))
    return f"<tr>{''.join(cells)}</tr>"


def _table(name: str, heading: str, headings: tuple[str, ...], rows: str, *, left: set[int]) -> str:
    heads = "".join(
        f'<th scope="col" aria-sort="none"{_left(i in left)}><button type="button">{each}</button>'
        "</th>"
        for i, each in enumerate(headings)
    )
    return (
        f'<section class="card" aria-label="{heading}"><h2>{heading}</h2>'
        f'<div class="scroll" tabindex="0" role="group" aria-label="Table: {heading}">'
        f'<table id="{name}"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
        "</div></section>"
    )


def _cell(value: object, text: str, *, left: bool = False) -> str:
    return f'<td data-value="{value}"{_left(left)}>{text}</td>'


def _left(left: bool) -> str:
    return ' class="left"' if left else ""


def _remarks(analysis: RanksAnalysis) -> str:
    lists = (
        ("Beside host memory", channel_sentences(analysis)),
        ("Clocks", clock_sentences(analysis, MOST_NOTED)),
        ("Could not be measured", analysis.missing),
        ("To know about these figures", analysis.notes),
    )
    return remarks_card(lists)


def _duration(ns: int) -> str:
    return format_duration(ns / 1e9)
