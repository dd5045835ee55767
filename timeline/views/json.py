"""The JSON document of a run, for programs; docs/report.md describes its keys.

Versioned by its key ``timeline``: keys may be added, those that are there keep their meaning.
"""

from __future__ import annotations

import json

from timeline.analysis.types import (
    Analysis,
    ChannelSummary,
    Curve,
    Death,
    DeviceMemory,
    Headroom,
    PhasePeak,
    PhaseSummary,
    ProcessSummary,
)
from timeline.recording.lines import TracedFunction
from timeline.recording.types import UNKNOWN
from timeline.views import anatomy_json

VERSION = 1
"""
1  (0.1.0) the first
"""


def render(analysis: Analysis) -> str:
    """The document as text, in ASCII, with a newline at its end."""
    return json.dumps(document(analysis), indent=1, allow_nan=False) + "\n"


def document(analysis: Analysis) -> dict[str, object]:
    """The document as values of JSON: bytes and counts are ints, seconds floats, unknown null."""
    run = analysis.run
    return {
        "timeline": VERSION,
        "run": {
            "argv": list(run.argv),
            "end": run.end,
            "exit_code": run.exit_code,
            "signal": run.signal,
            "missing": list(analysis.missing),
            "ending": analysis.ending,
            "cwd": run.cwd,
            "host": run.host,
            "pid": run.pid if run.pid >= 0 else None,
            "started_unix_s": run.started_time_ns / 1e9,
            "interval_s": run.interval_ns / 1e9 or None,
            "backend": run.backend,
            "facts": dict(run.facts),
            "death": _death(analysis.death) if analysis.death else None,
            "headroom": [_headroom(each) for each in analysis.headroom],
        },
        "duration_s": analysis.duration_ns / 1e9,
        "channels": {
            each.channel.name: _channel(each, analysis.curves[each.channel.name])
            for each in analysis.channels
        },
        "phases": [_phase(each) for each in analysis.phases],
        "outside": _phase(analysis.outside) if analysis.outside else None,
        "devices": [_device(each) for each in analysis.devices],
        "snapshots": list(analysis.snapshots),
        "alive_at_peak": [
            {
                "bytes": each.bytes,
                "blocks": each.blocks,
                "largest": each.largest,
                "during": each.during or None,
                "place": each.place or None,
                "operation": each.operation or None,
            }
            for each in analysis.alive
        ],
        "processes": [_process(each) for each in analysis.processes],
        "marks": [{"t_s": each.t_ns / 1e9, "text": each.text} for each in analysis.marks],
        "notes": list(analysis.notes),
        "breakdown": anatomy_json.breakdown(analysis.anatomy),
        "comparison": anatomy_json.comparison(analysis.anatomy),
        "advice": anatomy_json.advice(analysis.anatomy),
        "lines": [_lines(each) for each in analysis.lines],
    }


def _lines(function: TracedFunction) -> dict[str, object]:
    return {
        "name": function.name,
        "file": function.file,
        "lines": [
            {
                "line": each.number,
                "text": each.text,
                "count": each.count,
                "memory": each.memory if each.count else None,
                "increment": each.increment if each.count else None,
                "phases": list(each.phases),
            }
            for each in function.lines
        ],
    }


def _device(memory: DeviceMemory) -> dict[str, object]:
    device, peak = memory.device, memory.peak
    return {
        "name": memory.name,
        "gpu": device.name or None,
        "cuda": _known(device.cuda),
        "model": device.model or None,
        "uuid": device.uuid or None,
        "total": _known(device.total),
        "at_peak": {
            "t_s": peak.t_ns / 1e9,
            "allocated": _known(peak.allocated),
            "cached": _known(peak.cached),
            "outside_torch": _known(peak.outside),
            "used": _known(peak.used),
            "process": _known(peak.process),
        },
        "retries": memory.retries,
        "ooms": memory.ooms,
    }


def _known(figure: int) -> int | None:
    return figure if figure >= 0 else None


def _death(death: Death) -> dict[str, object]:
    return {
        "cause": death.cause,
        "certain": death.certain,
        "sentence": death.sentence,
        "bytes": death.bytes if death.bytes >= 0 else None,
        "limit": death.limit if death.limit >= 0 else None,
        "limited": death.limited or None,
        "phase": death.phase,
        "step": death.step or None,
        "evidence": death.evidence,
        "last": death.last,
        "grew": [{"path": each.path, "bytes": each.bytes} for each in death.grew],
    }


def _headroom(headroom: Headroom) -> dict[str, object]:
    limit = headroom.limit
    return {
        "limit": limit.name,
        "bytes": limit.bytes,
        "channel": limit.channel,
        "source": limit.source,
        "peak": headroom.peak,
        "room": headroom.room,
        "exact": headroom.exact,
        "cache": headroom.cache if headroom.cache >= 0 else None,
    }


def _channel(summary: ChannelSummary, curve: Curve) -> dict[str, object]:
    # Without a single reading there is no peak: null, never a zero that looks like one.
    read = len(curve.t_ns) > 0
    return {
        "unit": summary.channel.unit,
        "samples": summary.samples,
        "peak": summary.peak if read else None,
        "peak_t_s": summary.peak_ns / 1e9 if read else None,
        "peak_phase": summary.peak_phase,
        "peak_at_end": summary.peak_at_end,
        "exact": summary.exact,
        "longest_gap_s": summary.longest_gap_ns / 1e9,
        "reason": summary.reason,
        "source": summary.channel.source,
        "baseline": summary.baseline if read else None,
        "gaps": [[begin / 1e9, end / 1e9] for begin, end in curve.gaps_ns.tolist()],
    }


def _process(process: ProcessSummary) -> dict[str, object]:
    known = process.peak != UNKNOWN
    return {
        "pid": process.pid,
        "parent": process.parent if process.parent >= 0 else None,
        "label": process.label,
        "command": process.command,
        "begin_s": process.begin_ns / 1e9,
        "end_s": process.end_ns / 1e9,
        "ended": process.ended,
        "signal": process.signal or None,
        "peak": {
            "rss": process.peak if known else None,
            "exact": process.exact,
            "t_s": process.peak_ns / 1e9 if known else None,
            "pss": process.pss if process.pss != UNKNOWN else None,
        },
    }


def _phase(phase: PhaseSummary) -> dict[str, object]:
    return {
        "path": phase.path,
        "count": phase.count,
        "total_s": phase.total_ns / 1e9,
        "peak": {name: _peak(each) for name, each in phase.peak.items()},
        "open": phase.open,
        "share": phase.share,
        "reason": phase.reason,
    }


def _peak(peak: PhasePeak) -> dict[str, object]:
    return {
        "bytes": peak.bytes,
        "delta": peak.delta,
        "exact": peak.exact,
        "kept": peak.kept,
        "t_s": peak.t_ns / 1e9,
    }
