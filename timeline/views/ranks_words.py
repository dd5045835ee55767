"""What every view of ranks says in the same words."""

from __future__ import annotations

from timeline.analysis.processes import FAMILY
from timeline.analysis.rank_types import RankChannel, RanksAnalysis, RankSummary, Slowest
from timeline.analysis.rank_words import ranks_named
from timeline.recording.types import UNKNOWN
from timeline.units import format_bytes, format_duration
from timeline.views.family import SMALLEST
from timeline.views.limits import ON_REQUEST

CHANNELS_SHOWN = 8
CLOCKS_SHOWN = 3


def size_words(analysis: RanksAnalysis) -> str:
    """How many ranks on how many hosts, and which start of them it was."""
    hosts = len({each.host for each in analysis.ranks})
    on = f"{hosts:,} {'host' if hosts == 1 else 'hosts'}"
    again = f", restart {analysis.restart}" if analysis.restart else ""
    return f"{analysis.world:,} {'rank' if analysis.world == 1 else 'ranks'} on {on}{again}"


def ended_words(rank: RankSummary) -> str:
    """How a rank ended, short; where it failed, when and in which phase."""
    if rank.end == "exited":
        said = "exit code unknown" if rank.exit_code is None else f"exit {rank.exit_code}"
    else:
        said = (rank.signal or "killed") if rank.end == "killed" else rank.end
    if not rank.failed:
        return said
    where = f" in {rank.in_phase}" if rank.in_phase else ""
    return f"{said} at {format_duration(rank.end_ns / 1e9)}{where}"


def slowest_words(slowest: Slowest) -> str:
    """Who was slowest and by how much, or why that is not told."""
    behind = format_duration(slowest.behind_ns / 1e9)
    if slowest.doubt_ns == UNKNOWN:
        return "not told: the clocks are not compared"
    if not slowest.told:
        return f"not told: {behind} apart, within the clocks' error"
    if not slowest.one:
        return f"no one rank, {behind} apart"
    share = 100 * slowest.times / slowest.of
    often = f"{slowest.times:,} of {slowest.of:,}" if slowest.of < 100 else f"{share:.0f} %"
    return f"rank {slowest.rank} in {often}, {behind} behind"


def channel_sentences(analysis: RanksAnalysis) -> list[str]:
    """The peaks of the channels beside host memory, the highest first.

    As with one process, those that only explain a figure are left out, and children that had
    next to nothing.
    """
    ordered = sorted(_told(analysis), key=lambda each: -each.peak.most)
    said = []
    for each in ordered[:CHANNELS_SHOWN]:
        peak = each.peak
        text = f"{each.name} peak {'' if each.exact else '~'}{format_bytes(peak.most)}"
        text += f" on rank {peak.most_rank}"
        if len(analysis.ranks) > 1:
            text += (
                f"; median {format_bytes(peak.median)}, least {format_bytes(peak.least)} "
                f"on rank {peak.least_rank}"
            )
        said.append(text)
    if len(ordered) > CHANNELS_SHOWN:
        said.append(f"and {len(ordered) - CHANNELS_SHOWN:,} more channels")
    return said


def _told(analysis: RanksAnalysis) -> list[RankChannel]:
    others = [each for each in analysis.others if not each.name.startswith(ON_REQUEST)]
    of_children = [each.peak.most for each in others if each.name.startswith("children.")]
    host = analysis.peak.most if analysis.peak else 0
    if max(of_children, default=0) < max(SMALLEST * host, 1):
        others = [each for each in others if each.name not in FAMILY]
    return others


def clock_sentences(analysis: RanksAnalysis, shown: int = CLOCKS_SHOWN) -> list[str]:
    """How the clocks were brought together, of the least certain and the most wrong ones first."""
    others = [each for each in analysis.clocks if each.method != "same clock"]
    worst = sorted(others, key=lambda each: (each.error_ns != UNKNOWN, -abs(each.shift_ns)))
    said = [
        f"Clock of {each.host} ({ranks_named(each.ranks)}): {each.sentence}"
        for each in worst[:shown]
    ]
    if len(worst) > shown:
        said.append(f"and {len(worst) - shown:,} more clocks, with less to correct")
    return said
