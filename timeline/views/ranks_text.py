"""The ranks of a run for the terminal: the peak, the extremes of many ranks, and the phases."""

from __future__ import annotations

from collections.abc import Sequence

from timeline.analysis.rank_types import RankPhase, RanksAnalysis, RankSummary
from timeline.analysis.rank_words import ranks_named
from timeline.units import format_bytes, format_duration
from timeline.views.ranks_words import (
    channel_sentences,
    clock_sentences,
    ended_words,
    size_words,
    slowest_words,
)
from timeline.views.table import figure
from timeline.views.terminal import (
    BOLD,
    DIM,
    HOT,
    NARROWEST,
    WIDEST,
    Look,
    columns,
    fit,
    pad,
    wrap,
)

RANKS_SHOWN = 16
"""More ranks than this are told by their extremes: the highest, the lowest, and what failed."""

HIGHEST, LOWEST, FAILED = 5, 2, 5

PHASES_SHOWN = 20


def render(
    analysis: RanksAnalysis, *, width: int = 80, color: bool = False, ascii: bool = False
) -> str:
    """The tables of all ranks, as lines that end with a newline.

    Args:
        analysis: what to show.
        width: columns; no line is longer. Less than 40 counts as 40, more than 200 as 200.
        color: whether to use ANSI colours.
        ascii: whether to keep to ASCII.
    """
    look = Look(min(max(width, NARROWEST), WIDEST), color, ascii)
    blocks = [
        [*_heading(analysis, look), *_peak(analysis, look)],
        _ranks(analysis, look),
        _phases(analysis, look),
        _others(analysis, look),
        _clocks(analysis, look),
        [
            *_bullets("Not measured", analysis.missing, look),
            *_bullets("Note", analysis.notes, look),
        ],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _heading(analysis: RanksAnalysis, look: Look) -> list[str]:
    took = format_duration(analysis.duration_ns / 1e9)
    title = fit(look.plain(analysis.title), look.width - 1, ellipsis=look.ellipsis)
    rest = f"{size_words(analysis)}, {took}, {analysis.ending}"
    lines = wrap([f"{title}:", *look.plain(rest).split()], look.width, rest="  ")
    if lines[0].startswith(title):
        lines[0] = look.paint(title, BOLD) + lines[0][len(title) :]
    return lines


def _peak(analysis: RanksAnalysis, look: Look) -> list[str]:
    if analysis.peak is None:
        return look.lines("Peak unknown: no reading of host memory of any rank", rest="  ")
    top = analysis.rank(analysis.peak.most_rank)
    peak = top.peaks[analysis.channel]
    size = figure(peak.bytes, peak.exact)
    phrases = [size, f"on rank {top.rank}", f"({look.plain(top.host)})"]
    phrases.append(f"at {look.plain(format_duration(peak.t_ns / 1e9))}")
    if peak.phase is not None:
        phrases.append(f"in {look.phase(peak.phase)}")
    if peak.exact:
        phrases[-1] += ","
        phrases.append("exact")
    lines = wrap(phrases, look.width, first="Peak ", rest="  ")
    lines[0] = lines[0].replace(size, look.paint(size, HOT), 1)
    if len(analysis.ranks) > 1:
        peaks = analysis.peak
        lines += look.lines(
            f"Imbalance {peaks.imbalance:.2f}: median {format_bytes(peaks.median)}, "
            f"least {format_bytes(peaks.least)} on rank {peaks.least_rank}",
            rest="  ",
        )
    return lines


def _ranks(analysis: RanksAnalysis, look: Look) -> list[str]:
    shown = chosen(analysis)
    hosts = len({each.host for each in analysis.ranks}) > 1
    heading = ["rank", *(["host"] if hosts else []), "peak", "of median", "at", "in", "ended"]
    rows = [_row(each, analysis, look, hosts) for each in shown]
    left = {heading.index("in"), heading.index("ended"), *([1] if hosts else [])}
    lines = _table(heading, rows, left, look, shrink=[heading.index("in"), heading.index("ended")])
    top = analysis.peak.most_rank if analysis.peak else None
    for i, each in enumerate(shown, 1):
        hot = each.rank == top
        lines[i] = (look.plain("▶ ") if hot else "  ") + lines[i]
        lines[i] = look.paint(lines[i], BOLD if hot else "1;31" if each.failed else "")
    lines[0] = look.paint("  " + lines[0], DIM)
    rest = len(analysis.ranks) - len(shown)
    if rest:
        sizes = sorted(
            each.peaks[analysis.channel].bytes
            for each in analysis.ranks
            if analysis.channel in each.peaks
        )
        tenths = [sizes[(len(sizes) - 1) * tenth // 10] for tenth in (1, 5, 9)]
        text = (
            f"and {rest:,} more; of all: a tenth up to {format_bytes(tenths[0])}, half up to "
            f"{format_bytes(tenths[1])}, nine tenths up to {format_bytes(tenths[2])}"
        )
        lines += [look.paint(line, DIM) for line in look.lines(text, "  ", "  ")]
    if analysis.absent:
        many = "have no recordings" if len(analysis.absent) > 1 else "has no recording"
        lines += look.lines(f"{ranks_named(analysis.absent)} {many} here", "  ", "  ")
    return lines


def chosen(analysis: RanksAnalysis) -> list[RankSummary]:
    """The ranks to show: all, or the extremes of many, in the order of ranks."""
    ranks = analysis.ranks
    if len(ranks) <= RANKS_SHOWN:
        return list(ranks)
    read = [each for each in ranks if analysis.channel in each.peaks]
    by_peak = sorted(read, key=lambda each: -each.peaks[analysis.channel].bytes)
    failed = sorted((each for each in ranks if each.failed), key=lambda each: each.end_ns)
    keep = {each.rank for each in (*by_peak[:HIGHEST], *by_peak[-LOWEST:], *failed[:FAILED])}
    late = {
        each.slowest.rank
        for each in analysis.phases
        if each.slowest and each.slowest.told and each.slowest.one
    }
    keep |= set(sorted(late)[:LOWEST])
    return [each for each in ranks if each.rank in keep]


def _row(rank: RankSummary, analysis: RanksAnalysis, look: Look, hosts: bool) -> list[str]:
    peak = rank.peaks.get(analysis.channel)
    median = analysis.peak.median if analysis.peak else 0
    cells = [f"{rank.rank}", *([look.plain(rank.host)] if hosts else [])]
    if peak is None:
        cells += [look.plain("–")] * 3 + [""]
    else:
        cells += [
            figure(peak.bytes, peak.exact),
            f"{peak.bytes / median:.2f}" if median else "",
            look.plain(format_duration(peak.t_ns / 1e9)),
            look.phase(peak.phase) if peak.phase is not None else "(outside)",
        ]
    return [*cells, look.plain(ended_words(rank))]


def _phases(analysis: RanksAnalysis, look: Look) -> list[str]:
    if not analysis.phases or len(analysis.ranks) < 2:
        return []
    phases = list(analysis.phases)
    if len(phases) > PHASES_SHOWN:
        order = sorted(phases, key=lambda each: -(each.peak.most if each.peak else 0))
        keep = {each.path for each in order[:PHASES_SHOWN]}
        phases = [each for each in phases if each.path in keep]
    heading = ["phase", "ranks", "count", "most", "on", "median", "least", "slowest into it"]
    rows = [_phase(each, look) for each in phases]
    lines = _table(heading, rows, {0, 7}, look, shrink=[0, 7], drop=[1, 2, 6])
    lines = ["  " + line for line in lines]
    lines[0] = look.paint(lines[0], DIM)
    more = len(analysis.phases) - len(phases)
    if more:
        lines += [look.paint(line, DIM) for line in look.lines(f"and {more:,} more", "  ", "  ")]
    return lines


def _phase(phase: RankPhase, look: Look) -> list[str]:
    peak = phase.peak
    sizes = [look.plain("–")] * 4
    if peak is not None:
        sizes = [
            figure(peak.most, phase.exact),
            f"{peak.most_rank}",
            format_bytes(peak.median),
            format_bytes(peak.least),
        ]
    slowest = look.plain(slowest_words(phase.slowest)) if phase.slowest else ""
    return [look.phase(phase.path), f"{phase.ranks:,}", f"{phase.count:,}", *sizes, slowest]


def _others(analysis: RanksAnalysis, look: Look) -> list[str]:
    lines: list[str] = []
    for text in channel_sentences(analysis):
        lines += look.lines(text, "  ", "    ")
    return lines


def _clocks(analysis: RanksAnalysis, look: Look) -> list[str]:
    lines: list[str] = []
    for text in clock_sentences(analysis):
        lines += look.lines(text, rest="  ")
    return [look.paint(line, DIM) for line in lines]


def _table(
    heading: Sequence[str],
    rows: Sequence[Sequence[str]],
    left: set[int],
    look: Look,
    *,
    shrink: Sequence[int],
    drop: Sequence[int] = (),
) -> list[str]:
    """Lines of cells two columns apart, within the width less two.

    Args:
        heading, rows: the cells.
        left: columns that are left-aligned.
        look: of the terminal.
        shrink: columns that are shortened where there is no room, in this order.
        drop: columns that go before that.
    """
    both = [list(heading), *map(list, rows)]
    shown = list(range(len(heading)))
    widths = [max(columns(row[i]) for row in both) for i in shown]

    def over() -> int:
        return sum(widths[i] + 2 for i in shown) - 2 - (look.width - 2)

    for i in drop:
        if over() > 0:
            shown.remove(i)
    for i in shrink:
        widths[i] = max(widths[i] - max(over(), 0), min(widths[i], 8))
    for i in reversed(range(1, len(heading))):
        if over() > 0 and i in shown and len(shown) > 2:
            shown.remove(i)
    lines = []
    for row in both:
        cells = [fit(row[i], widths[i], ellipsis=look.ellipsis) for i in shown]
        cells = [
            pad(cell, widths[i]) if i in left else " " * (widths[i] - columns(cell)) + cell
            for i, cell in zip(shown, cells, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _bullets(heading: str, sentences: tuple[str, ...], look: Look) -> list[str]:
    lines = []
    for sentence in sentences:
        lines += look.lines(f"{heading}: {sentence}", rest="  ")
    return [look.paint(line, DIM) for line in lines]
