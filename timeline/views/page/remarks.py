"""The rest of the page's words: the key of the chart, what is not known, and how to read it all."""

from __future__ import annotations

from timeline.analysis.types import HOST, Analysis
from timeline.units import format_bytes, format_duration
from timeline.views.band import told
from timeline.views.family import band_channel, meaning
from timeline.views.limits import shown_at_first
from timeline.views.page.chart import MOST_LANES
from timeline.views.page.colors import color_of_channel
from timeline.views.page.frame import remarks_card
from timeline.views.page.header import command, started
from timeline.views.page.words import escaped


def channels(analysis: Analysis) -> str:
    """A box to tick for each channel, in the colour of its line."""
    chips = []
    for index, each in enumerate(analysis.channels):
        name = each.channel.name
        color = color_of_channel(index, name)
        swatch = f"var(--{color.replace('/', '-')})"
        most = format_bytes(each.peak) if each.channel.unit == "byte" else f"{each.peak:,}"
        peak = f"peak {'' if each.exact else '~'}{most}"
        read = len(analysis.curves[name].t_ns) > 0
        checked = " checked" if shown_at_first(analysis, name) else ""
        chips.append(
            f'<label style="--swatch:{swatch}"><input type="checkbox" value="{index}"{checked}>'
            f'<bdi style="color:{swatch}">{escaped(name)}</bdi>'
            f"<small>{peak if read else 'not one reading'}</small></label>"
        )
    return "".join(chips)


def key(analysis: Analysis) -> str:
    """What each drawn thing means, for the things that are drawn."""
    host = next(iter(analysis.curves.values()), None)
    if host is None or not len(host.t_ns):
        return "<span>Not a single reading was taken, so there is no curve.</span>"
    if host.channel.name != HOST:
        # What is drawn beside the lines is drawn for host memory alone.
        parts = [("line", "memory at each reading")]
        return _key(parts, analysis)
    parts = [("line", "resident memory at each reading")]
    if told(host).any():
        parts.append(("band", "up to its high-water mark since the reading before"))
    if channel := band_channel(analysis):
        parts.append(("family", f"its children on top, {meaning(channel)}"))
    parts.append(("dot", "peak"))
    if len(host.gaps_ns):
        parts.append(("gap", "no samples"))
        if host.known.any():
            parts.append(("dashed", "never above this meanwhile"))
    return _key(parts, analysis)


def _key(parts: list[tuple[str, str]], analysis: Analysis) -> str:
    if analysis.marks:
        parts = [*parts, ("mark", "a mark")]
    spans = [f'<span><i class="{kind}"></i>{words}</span>' for kind, words in parts]
    deeper = analysis.instances.lanes - MOST_LANES
    if deeper > 0:
        spans.append(
            f"<span>not drawn: {deeper:,} more lanes of deeper or overlapping phases</span>"
        )
    return "".join(spans)


def remarks(analysis: Analysis) -> str:
    """What is not exact, could not be measured, or should be known; nothing where all is well."""
    reasons = dict.fromkeys(
        f"{each.channel.name}: {each.reason}"
        for each in analysis.channels
        if not each.exact and each.reason
    )
    known = {each.reason for each in analysis.channels}
    outside = (analysis.outside,) if analysis.outside else ()
    inexact = [
        each for each in (*analysis.phases, *outside) if each.reason and each.reason not in known
    ]
    shown = [
        *reasons,
        *(f"{each.path or 'outside every phase'}: {each.reason}" for each in inexact[:8]),
    ]
    if len(inexact) > 8:
        shown.append(f"and {len(inexact) - 8:,} more phases; the table tells which")
    lists = (
        ("Not exact", shown),
        ("Could not be measured", analysis.missing),
        ("To know about these figures", analysis.notes),
    )
    return remarks_card(lists)


_HELP = (
    ("The line", "resident memory (RSS) of the program at each reading: what it had in RAM then."),
    (
        "The band",
        "reaches from the line up to the kernel's high-water mark: the most that was in RAM at any "
        "moment since the reading before, however short. So a spike between two samples is seen. "
        "Without a band, nothing is known of the time between two readings.",
    ),
    (
        "Children",
        "are processes that the program started, and those that these started. On top of the "
        "program's own memory lies what they have beyond it, each page counted once. PSS counts a "
        "page by parts, also for other programs that have it; the channels children.rss and "
        "total.rss count it once for each process that has it.",
    ),
    (
        "The lanes",
        "are the phases in time, nested ones below the one around them. A phase that is narrower "
        "than a pixel shares it with its neighbours until you zoom in; the longest gives the "
        "colour.",
    ),
    ("Peak", "the most memory in use while any instance of the phase ran."),
    ("Delta", "that peak less what was in use when the instance began."),
    ("Kept", "what the phase left behind: memory at its end less at its begin, over all of them."),
    (
        "Exact",
        "the figure is the kernel's own maximum. A ~ marks a figure that is only the largest seen: "
        "the true one may be higher.",
    ),
    (
        "KiB, MiB, GiB",
        "are 1024, 1024² and 1024³ bytes. Point at a figure to see it to the byte.",
    ),
    (
        "Keys",
        "with the chart in focus: ← → to move, + and − to zoom, 0 for the whole run. Tab reaches "
        "every button and every row of the table.",
    ),
)


def help_text() -> str:
    """How to read the page, folded up."""
    items = "".join(f"<dt>{name}</dt><dd>{words}</dd>" for name, words in _HELP)
    return f"<details><summary>How to read this page</summary><dl>{items}</dl></details>"


def run(analysis: Analysis) -> str:
    """The facts of the run and of each channel, folded up."""
    run = analysis.run
    facts = [
        ("Command", command(analysis)),
        ("Directory", escaped(run.cwd)),
        ("Host", f"{escaped(run.host)}, process {run.pid}"),
        ("Began", started(analysis)),
        ("Ended", escaped(analysis.ending)),
        *((escaped(name), escaped(value)) for name, value in run.facts.items()),
    ]
    facts += [
        (
            escaped(each.channel.name),
            f"{each.samples:,} samples by {escaped(each.channel.source)}, "
            f"peak {each.peak:,} bytes at {format_duration(each.peak_ns / 1e9)}"
            f"{'' if each.exact else ' (not exact)'}, "
            f"longest gap {format_duration(each.longest_gap_ns / 1e9)}",
        )
        for each in analysis.channels
    ]
    items = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts)
    return f"<details><summary>The run</summary><dl>{items}</dl></details>"
