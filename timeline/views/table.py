"""The table of the phases, for the terminal: what each needed, and a bar to compare them by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from timeline.analysis.types import HOST, Analysis, ChannelSummary, PhasePeak, PhaseSummary
from timeline.units import format_bytes, format_duration
from timeline.views.terminal import BOLD, COOL, DIM, HOT, Look, columns, fit, pad

PHASES_SHOWN = 30
"""With more paths than this, those with the largest peaks and the longest times are shown."""

OUTSIDE = "(outside)"

_SHORTEST_BAR, _LONGEST_BAR = 5, 24
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def host_of(analysis: Analysis) -> ChannelSummary | None:
    """The summary of host memory, if there is a single reading of it."""
    return summary_of(analysis, HOST)


def summary_of(analysis: Analysis, channel: str) -> ChannelSummary | None:
    """The summary of a channel, if there is a single reading of it."""
    for each in analysis.channels:
        if each.channel.name == channel and len(analysis.curves[channel].t_ns):
            return each
    return None


def highest_phase(analysis: Analysis) -> PhaseSummary | None:
    """The phase with the highest peak of host memory; None without any."""
    return max(analysis.phases, key=lambda each: each.peak[HOST].bytes, default=None)


def lines_above(analysis: Analysis) -> str:
    """Why a traced line stands above the peak; empty where none does."""
    host = host_of(analysis)
    most = max((line.memory for each in analysis.lines for line in each.lines), default=0)
    if host is None or most <= host.peak or not host.exact:
        return ""
    return (
        "a line may stand a little above the exact peak: memory_profiler reads /proc/PID/statm, "
        "where the kernel adds up the counters of its CPUs only now and then"
    )


def where_outside(analysis: Analysis, summary: ChannelSummary) -> str:
    """Where a channel peaked that peaked in no phase; empty where there are none at all."""
    if summary.peak_at_end:
        return "after the program's end, as its process ended"
    return "outside every phase" if analysis.phases else ""


def _hottest(analysis: Analysis, summary: ChannelSummary) -> PhaseSummary | None:
    """The phase, or the time outside, in which a channel peaked."""
    if summary.peak_phase is None:
        return analysis.outside
    return next((each for each in analysis.phases if each.path == summary.peak_phase), None)


def figure(size: int, exact: bool) -> str:
    """Bytes as text, marked where they may be more."""
    return format_bytes(size) if exact else "~" + format_bytes(size)


@dataclass(frozen=True, slots=True)
class _Column:
    """One column of figures; where the width is small those of least weight go first."""

    heading: str
    weight: int
    cell: Callable[[PhaseSummary, PhasePeak | None], str]


def _count(phase: PhaseSummary, peak: PhasePeak | None) -> str:
    return f"{phase.count:,}"


def _time(phase: PhaseSummary, peak: PhasePeak | None) -> str:
    return format_duration(phase.total_ns / 1e9)


def _share(phase: PhaseSummary, peak: PhasePeak | None) -> str:
    percent = 100 * phase.share
    return "<1 %" if 0 < percent < 0.5 else f"{percent:.0f} %"


def _bytes(phase: PhaseSummary, peak: PhasePeak | None) -> str:
    return figure(peak.bytes, peak.exact) if peak else "–"


def _delta(phase: PhaseSummary, peak: PhasePeak | None) -> str:
    return format_bytes(peak.delta, signed=True) if peak else "–"


def _kept(phase: PhaseSummary, peak: PhasePeak | None) -> str:
    return format_bytes(peak.kept, signed=True) if peak else "–"


_COLUMNS = (
    _Column("count", 3, _count),
    _Column("time", 4, _time),
    _Column("share", 2, _share),
    _Column("peak", 6, _bytes),
    _Column("delta", 5, _delta),
    _Column("kept", 1, _kept),
)
_OF_DEVICE = _COLUMNS[3:]
"""What a device has of its own: count and time are those of the table above."""


def phase_table(
    analysis: Analysis, look: Look, channel: str = HOST, heading: str = "phase"
) -> list[str]:
    """The lines of the table: the phases in the order of first appearance, then what is outside.

    Args:
        analysis: what to show.
        look: how.
        channel: whose peaks; of another than the host's only the phases that it has any of.
        heading: of the names.
    """
    phases, left_out = _chosen(analysis, channel)
    rows = [*phases, analysis.outside] if analysis.outside else phases
    if channel != HOST:
        rows = [each for each in rows if channel in each.peak]
    if not phases or not rows:
        return []
    host = summary_of(analysis, channel)
    hottest, highest = (_hottest(analysis, host), host.peak) if host else (None, 0)
    shown_columns = _COLUMNS if channel == HOST else _OF_DEVICE
    names = [OUTSIDE if each is analysis.outside else look.phase(each.path) for each in rows]
    cells = [
        [look.plain(column.cell(each, each.peak.get(channel))) for column in shown_columns]
        for each in rows
    ]
    if rows[-1] is analysis.outside and channel == HOST:
        cells[-1][0] = ""  # how many stretches lie between the phases tells nothing
    widths = [
        max(len(column.heading), *(columns(row[i]) for row in cells))
        for i, column in enumerate(shown_columns)
    ]
    shown, name_width, bar_width = _layout(
        max(map(columns, (heading, *names))), widths, look, shown_columns
    )

    def line(name: str, figures: Sequence[str]) -> str:
        name = pad(fit(name, name_width, ellipsis=look.ellipsis), name_width)
        return "  ".join((name, *(figures[i].rjust(widths[i]) for i in shown)))

    lines = [look.paint(f"  {line(heading, [each.heading for each in shown_columns])}", DIM)]
    for each, name, figures in zip(rows, names, cells, strict=True):
        hot = each is hottest
        peak = each.peak.get(channel)
        bar = _bar(peak.bytes / highest if peak and highest else 0, bar_width, look)
        text = (look.plain("▶ ") if hot else "  ") + line(name, figures)
        text = text if bar else text.rstrip()
        text = look.paint(text, BOLD if hot else DIM if each is analysis.outside else "")
        lines.append(text + "  " + look.paint(bar, HOT if hot else COOL) if bar else text)
    if left_out:
        lines += _rest_of_table(left_out, look, channel)
    return lines


def _chosen(analysis: Analysis, channel: str) -> tuple[list[PhaseSummary], list[PhaseSummary]]:
    """The phases to show, in the order of first appearance, and those left out."""
    phases = analysis.phases
    if len(phases) <= PHASES_SHOWN:
        return list(phases), []
    host = summary_of(analysis, channel)
    order = range(len(phases))
    hottest = _hottest(analysis, host) if host else None
    keep = {i for i in order if phases[i] is hottest}
    by_peak = sorted(order, key=lambda i: -_peak_bytes(phases[i], channel))
    keep.update(by_peak[: PHASES_SHOWN // 2])
    for i in sorted(order, key=lambda i: -phases[i].total_ns):
        if len(keep) == PHASES_SHOWN:
            break
        keep.add(i)
    shown = [phases[i] for i in sorted(keep)]
    return shown, [phases[i] for i in order if i not in keep]


def _peak_bytes(phase: PhaseSummary, channel: str) -> int:
    peak = phase.peak.get(channel)
    return peak.bytes if peak else 0


def _rest_of_table(left_out: list[PhaseSummary], look: Look, channel: str) -> list[str]:
    highest = format_bytes(max(_peak_bytes(each, channel) for each in left_out))
    together = format_duration(sum(each.total_ns for each in left_out) / 1e9)
    text = f"and {len(left_out):,} more, up to {highest}, {together} together"
    return [look.paint(line, DIM) for line in look.lines(text, "  ", "  ")]


def _layout(
    longest: int, widths: list[int], look: Look, of: Sequence[_Column]
) -> tuple[list[int], int, int]:
    """Which columns have room, and the widths of the name and of the bar."""
    shown = list(range(len(of)))
    enough = min(longest, max(12, look.width // 4))
    while True:
        room = look.width - 2 - sum(2 + widths[i] for i in shown)
        if room >= enough or len(shown) == 1:
            break
        shown.remove(min(shown, key=lambda i: of[i].weight))
    name = max(min(longest, room), 1)
    bar = room - name - 2
    return shown, name, min(bar, _LONGEST_BAR) if bar >= _SHORTEST_BAR else 0


def _bar(fraction: float, width: int, look: Look) -> str:
    if not width or fraction <= 0:
        return ""
    if look.ascii:
        return "#" * max(round(min(fraction, 1) * width), 1)
    eighths = max(round(min(fraction, 1) * width * 8), 1)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
