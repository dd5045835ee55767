"""The table for the terminal: the peak, what each phase needed, and what could not be measured."""

from __future__ import annotations

from timeline.analysis.processes import FAMILY
from timeline.analysis.types import HOST, Analysis, ChannelSummary
from timeline.units import format_bytes, format_duration
from timeline.views.anatomy_text import advice_of, lines_of
from timeline.views.children_text import children_block
from timeline.views.device_text import devices_shown
from timeline.views.device_words import channels_of
from timeline.views.ending import death_sentences, headroom_sentence
from timeline.views.family import sums
from timeline.views.limits import shown_at_first
from timeline.views.lines_text import line_tables
from timeline.views.table import OUTSIDE, figure, highest_phase, host_of, phase_table, where_outside
from timeline.views.terminal import BOLD, DIM, HOT, NARROWEST, WIDEST, Look, fit, wrap

NAMES_SHOWN = 3
CHANNELS_SHOWN = 8


def render(analysis: Analysis, *, width: int = 80, color: bool = False, ascii: bool = False) -> str:
    """The table of a run, as lines that end with a newline.

    Args:
        analysis: what to show.
        width: columns; no line is longer. Less than 40 counts as 40, more than 200 as 200.
        color: whether to use ANSI colours.
        ascii: whether to keep to ASCII, for a stream whose encoding knows no more.
    """
    look = Look(min(max(width, NARROWEST), WIDEST), color, ascii)
    blocks = [
        [
            *_heading(analysis, look),
            *_death(analysis, look),
            *_peak(analysis, look),
            *_headroom(analysis, look),
        ],
        phase_table(analysis, look),
        lines_of(analysis, look),
        advice_of(analysis, look),
        *line_tables(analysis, look),
        *devices_shown(analysis, look),
        children_block(analysis, look),
        _other_channels(analysis, look),
        [*_never_ended(analysis, look), *_not_exact(analysis, look)],
        [
            *_bullets("Not measured", analysis.missing, look),
            *_bullets("Note", analysis.notes, look),
        ],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _heading(analysis: Analysis, look: Look) -> list[str]:
    rest = f"{format_duration(analysis.duration_ns / 1e9)}, {analysis.ending}"
    title = fit(look.plain(analysis.title), look.width - 1, ellipsis=look.ellipsis)
    lines = wrap([f"{title}:", *look.plain(rest).split()], look.width, rest="  ")
    if lines[0].startswith(title):
        lines[0] = look.paint(title, BOLD) + lines[0][len(title) :]
    return lines


def _death(analysis: Analysis, look: Look) -> list[str]:
    return [line for said in death_sentences(analysis) for line in look.lines(said, rest="  ")]


def _headroom(analysis: Analysis, look: Look) -> list[str]:
    said = headroom_sentence(analysis)
    return look.lines(said, rest="  ") if said else []


def _peak(analysis: Analysis, look: Look) -> list[str]:
    host = _first(analysis)
    if host is None:
        return look.lines("Peak unknown: no reading of host memory", rest="  ")
    name = host.channel.name
    size = figure(host.peak, host.exact)
    phrases = [
        size,
        f"({format_bytes(host.peak - host.baseline, signed=True)} since the start)",
        f"at {look.plain(format_duration(host.peak_ns / 1e9))}",
    ]
    if host.peak_phase is not None:
        phrases.append(f"in {look.phase(host.peak_phase)}")
    elif outside := where_outside(analysis, host):
        phrases.append(outside)
    if host.exact:
        phrases[-1] += ","
        phrases.append("exact")
    first = "Peak " if name == HOST else f"Peak of {look.plain(name)} "
    lines = wrap(phrases, look.width, first=first, rest="  ")
    lines[0] = lines[0].replace(size, look.paint(size, HOT), 1)
    if host.peak_at_end and name == HOST and (phase := highest_phase(analysis)):
        peak = phase.peak[HOST]
        own = f"In a phase at most {figure(peak.bytes, peak.exact)}, in {look.phase(phase.path)}"
        lines += look.lines(own, rest="  ")
    return lines


def _first(analysis: Analysis) -> ChannelSummary | None:
    """Host memory, or, of a file that has none, the first channel that has readings."""
    if (host := host_of(analysis)) is not None:
        return host
    read = (each for each in analysis.channels if len(analysis.curves[each.channel.name].t_ns))
    return next(read, None)


def _others(analysis: Analysis) -> list[ChannelSummary]:
    """The channels of which no other block tells, and that a chart draws without being asked."""
    others = [
        each
        for each in analysis.channels
        if each != _first(analysis)
        and each.channel.unit == "byte"
        and each.channel.name not in channels_of(analysis)
        and shown_at_first(analysis, each.channel.name)
    ]
    if sums(analysis):  # the block of the children tells of these
        others = [each for each in others if each.channel.name not in FAMILY]
    return others


def _other_channels(analysis: Analysis, look: Look) -> list[str]:
    others = _others(analysis)
    highest = sorted(others, key=lambda each: -each.peak)[:CHANNELS_SHOWN]
    lines = []
    for each in others:
        if each in highest:
            at = format_duration(each.peak_ns / 1e9)
            text = f"{each.channel.name} peak {figure(each.peak, each.exact)} at {at}"
            lines += look.lines(text, "  ", "    ")
    if len(others) > len(highest):
        lines += look.lines(f"and {len(others) - len(highest):,} more channels", "  ", "    ")
    return lines


def _never_ended(analysis: Analysis, look: Look) -> list[str]:
    if analysis.run.marks_until_ns:
        return []  # whether they did nobody could write down; a note says so
    paths = [look.phase(each.path) for each in analysis.phases if each.open]
    return look.lines(f"Never ended: {_names(paths)}", rest="  ") if paths else []


def _not_exact(analysis: Analysis, look: Look) -> list[str]:
    """Each reason once, with the first of those that it is true of."""
    reasons: dict[str, list[str]] = {}
    shown = [each.channel.name for each in (_first(analysis), *_others(analysis)) if each]
    shown += channels_of(analysis)
    for channel in analysis.channels:
        if not channel.exact and channel.channel.name in shown:
            reasons.setdefault(channel.reason, []).append(channel.channel.name)
    of_run = set(reasons)
    for phase in (*analysis.phases, *((analysis.outside,) if analysis.outside else ())):
        if phase.reason and phase.reason not in of_run:
            reasons.setdefault(phase.reason, []).append(phase.path or OUTSIDE)
    lines = []
    for reason, names in reasons.items():
        lines += look.lines(f"not exact: {_names(names)}: {reason}", "~ ", "  ")
    return lines


def _names(names: list[str]) -> str:
    text = ", ".join(names[:NAMES_SHOWN])
    more = len(names) - NAMES_SHOWN
    return f"{text} and {more:,} more" if more > 0 else text


def _bullets(heading: str, sentences: tuple[str, ...], look: Look) -> list[str]:
    lines = []
    for sentence in sentences:
        lines += look.lines(f"{heading}: {sentence}", rest="  ")
    return [look.paint(line, DIM) for line in lines]
