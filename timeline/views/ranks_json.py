"""The JSON document of all ranks of a run: that of a run, with the key ``ranks``.

What stands there for one run stands here for all ranks: of sizes the largest of any rank, of counts
and times the sum. docs/ranks.md describes the keys.
"""

from __future__ import annotations

import json
from typing import Any

from timeline.analysis.rank_types import (
    ClockRemark,
    RankPhase,
    RanksAnalysis,
    RankSummary,
    Slowest,
    Spread,
)
from timeline.recording.types import UNKNOWN
from timeline.views.json import VERSION


def render(analysis: RanksAnalysis) -> str:
    """The document as text, in ASCII, with a newline at its end."""
    return json.dumps(document(analysis), indent=1, allow_nan=False) + "\n"


def document(analysis: RanksAnalysis) -> dict[str, object]:
    """The document as values of JSON: bytes and counts are ints, seconds floats, unknown null."""
    worst = _worst(analysis)
    return {
        "timeline": VERSION,
        "run": {
            "argv": list(analysis.argv),
            "end": worst.end,
            "exit_code": worst.exit_code,
            "signal": worst.signal,
            "missing": list(analysis.missing),
            "ending": analysis.ending,
            "cwd": analysis.cwd,
            "started_unix_s": analysis.started_time_ns / 1e9,
            "id": analysis.run or None,
            "restart": analysis.restart,
        },
        "duration_s": analysis.duration_ns / 1e9,
        "channels": _channels(analysis),
        "phases": [_phase(each, analysis) for each in analysis.phases],
        "outside": None,
        "marks": [],
        "notes": list(analysis.notes),
        "breakdown": None,
        "comparison": [],
        "ranks": {
            "world": analysis.world,
            "absent": list(analysis.absent),
            "unread": {str(rank): why for rank, why in analysis.unread.items()},
            "peak": _spread(analysis.peak),
            "channels": {
                each.name: {"exact": each.exact, **_required(each.peak)} for each in analysis.others
            },
            "ranks": [_rank(each) for each in analysis.ranks],
            "clocks": [_clock(each) for each in analysis.clocks],
        },
    }


def _worst(analysis: RanksAnalysis) -> RankSummary:
    """Whose end stands for that of the run: the first to fail, else one that still runs."""
    failed = [each for each in analysis.ranks if each.failed]
    if failed:
        return min(failed, key=lambda each: each.end_ns)
    return next((each for each in analysis.ranks if each.end == "running"), analysis.ranks[0])


def _channels(analysis: RanksAnalysis) -> dict[str, Any]:
    names = dict.fromkeys(name for each in analysis.ranks for name in each.peaks)
    out = {}
    for name in names:
        those = [each for each in analysis.ranks if name in each.peaks]
        top = max(those, key=lambda each: (each.peaks[name].bytes, -each.rank))
        peak = top.peaks[name]
        out[name] = {
            "unit": "byte",
            "samples": sum(each.peaks[name].samples for each in those),
            "peak": peak.bytes,
            "peak_t_s": peak.t_ns / 1e9,
            "peak_phase": peak.phase,
            "exact": all(each.peaks[name].exact for each in those),
            "longest_gap_s": max(each.peaks[name].longest_gap_ns for each in those) / 1e9,
            "peak_rank": top.rank,
            "ranks": len(those),
        }
    return out


def _rank(rank: RankSummary) -> dict[str, object]:
    return {
        "rank": rank.rank,
        "host": rank.host,
        "pid": rank.pid if rank.pid >= 0 else None,
        "path": rank.path.name,
        "end": rank.end,
        "exit_code": rank.exit_code,
        "signal": rank.signal,
        "ending": rank.ending,
        "failed": rank.failed,
        "begin_s": rank.begin_ns / 1e9,
        "end_s": rank.end_ns / 1e9,
        "in_phase": rank.in_phase,
        "peaks": {
            name: {
                "bytes": peak.bytes,
                "t_s": peak.t_ns / 1e9,
                "phase": peak.phase,
                "exact": peak.exact,
            }
            for name, peak in rank.peaks.items()
        },
    }


def _phase(phase: RankPhase, analysis: RanksAnalysis) -> dict[str, object]:
    peak = phase.peak
    total = phase.total_ns
    return {
        "path": phase.path,
        "count": phase.count,
        "total_s": phase.sum_ns / 1e9,
        "peak": {
            analysis.channel: {
                "bytes": peak.most,
                "delta": phase.delta,
                "exact": phase.exact,
                "of_ranks": _spread(peak),
            }
        }
        if peak
        else {},
        "ranks": phase.ranks,
        "total_s_of_ranks": _spread(total, 1e9),
        "slowest": _slowest(phase.slowest) if phase.slowest else None,
    }


def _slowest(slowest: Slowest) -> dict[str, object]:
    return {
        "rank": slowest.rank if slowest.told and slowest.one else None,
        "times": slowest.times if slowest.told else None,
        "of": slowest.of,
        "behind_s": slowest.behind_ns / 1e9,
        "clock_error_s": _known_s(slowest.doubt_ns),
    }


def _clock(clock: ClockRemark) -> dict[str, object]:
    return {
        "host": clock.host,
        "ranks": list(clock.ranks),
        "method": clock.method,
        "added_s": clock.shift_ns / 1e9,
        "error_s": _known_s(clock.error_ns),
        "sentence": clock.sentence,
    }


def _known_s(ns: int) -> float | None:
    return None if ns == UNKNOWN else ns / 1e9


def _spread(spread: Spread | None, unit: float = 1) -> dict[str, object] | None:
    return None if spread is None else _required(spread, unit)


def _required(spread: Spread, unit: float = 1) -> dict[str, object]:
    def figure(value: int) -> float:
        return value if unit == 1 else value / unit

    return {
        "least": figure(spread.least),
        "least_rank": spread.least_rank,
        "median": figure(spread.median),
        "most": figure(spread.most),
        "most_rank": spread.most_rank,
        "imbalance": spread.imbalance,
    }
