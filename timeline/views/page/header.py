"""The words at the top of the page: what was run, how it ended, and its peak."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime

from timeline.analysis.types import HOST, Analysis, ChannelSummary
from timeline.units import format_bytes, format_duration
from timeline.views.device_words import peak_words
from timeline.views.ending import death_sentences, headroom_sentence
from timeline.views.page.words import escaped
from timeline.views.table import highest_phase, host_of, where_outside


def title(analysis: Analysis) -> str:
    """The script or module."""
    return escaped(analysis.title) or "recording"


def ending(analysis: Analysis) -> str:
    """How the run ended, as a pill of good or bad colour."""
    run = analysis.run
    good = run.end == "exited" and not run.exit_code
    kind = "good" if good else "fair" if run.end == "running" else "bad"
    return f'<span class="pill {kind}">{escaped(analysis.ending)}</span>'


def death(analysis: Analysis) -> str:
    """What the last seconds looked like, and the room to the nearest limit; nothing where all is
    well and there is no limit."""
    room = headroom_sentence(analysis)
    said = [*death_sentences(analysis), *([room] if room else [])]
    return (
        f'<ul class="death">{"".join(f"<li>{escaped(each)}</li>" for each in said)}</ul>'
        if said
        else ""
    )


def command(analysis: Analysis) -> str:
    """The command line as it could be typed again, and where."""
    return escaped(shlex.join(analysis.run.argv))


def tiles(analysis: Analysis) -> str:
    """The four figures that a reader looks for first."""
    run = analysis.run
    host = host_of(analysis)
    samples = host.samples if host else max((each.samples for each in analysis.channels), default=0)
    backend = escaped(run.backend)
    every = f"every {format_duration(run.interval_ns / 1e9)}" if run.interval_ns else "as recorded"
    longest = format_duration(host.longest_gap_ns / 1e9) if host and samples > 1 else "–"
    return "".join(
        (
            _peak(analysis, host),
            _tile("Duration", format_duration(analysis.duration_ns / 1e9), _when(analysis)),
            _tile("Sampled", every, f"{samples:,} samples, read by <b>{backend}</b>"),
            _tile("Longest gap", longest, "between two samples"),
        )
    )


def _peak(analysis: Analysis, host: ChannelSummary | None) -> str:
    if host is None and analysis.devices:
        memory = analysis.devices[0]
        what, _, rest = peak_words(analysis, memory).partition(" peak ")
        size, _, rest = rest.partition(" at ")
        return _tile(
            f"Peak {what} on {escaped(memory.name)}",
            escaped(size),
            escaped(f"at {rest}"),
            first=True,
        )
    if host is None:
        return _tile("Peak of host memory", "unknown", "no reading of host memory", first=True)
    if host.exact:
        figure, pill = format_bytes(host.peak), '<span class="pill good">exact</span>'
        reason = ""
    else:
        figure = "~" + format_bytes(host.peak)
        pill = '<span class="pill fair">not exact</span>'
        reason = f"<br>{escaped(host.reason)}" if host.reason else ""
    where = f"in <b>{escaped(host.peak_phase)}</b> " if host.peak_phase else ""
    own = ""
    if host.peak_phase is None and (outside := where_outside(analysis, host)):
        where = f"{outside} "
        if host.peak_at_end and (phase := highest_phase(analysis)):
            peak = format_bytes(phase.peak[HOST].bytes)
            own = f"<br>in a phase at most <b>{peak}</b>, in <b>{escaped(phase.path)}</b>"
    grown = format_bytes(host.peak - host.baseline, signed=True)
    when = f"at <b>{format_duration(host.peak_ns / 1e9)}</b>, {grown} since the start"
    rest = f"{where}{when}{own}{reason}"
    show = '<button id="to-peak" type="button">Show</button>'
    return _tile("Peak of host memory", f"{figure}{pill}{show}", rest, first=True)


def _when(analysis: Analysis) -> str:
    return f"began {started(analysis)}" if analysis.run.started_time_ns > 0 else ""


def started(analysis: Analysis) -> str:
    """The wall clock at the beginning, in UTC."""
    try:
        moment = datetime.fromtimestamp(analysis.run.started_time_ns // 10**9, UTC)
    except (OverflowError, OSError, ValueError):
        return "at an unknown time"
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _tile(what: str, figure: str, rest: str, *, first: bool = False) -> str:
    kind = "tile first" if first else "tile"
    return (
        f'<div class="{kind}"><div class="what">{what}</div>'
        f'<div class="figure">{figure}</div><div class="rest">{rest}</div></div>'
    )
