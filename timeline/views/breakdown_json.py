"""A breakdown as a JSON document for other programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from timeline.theory.types import Advice, Breakdown, Peak

VERSION = 1


def render(breakdown: Breakdown, advice: Sequence[Advice] | None = None) -> str:
    """The document of ``timeline breakdown --json``: keys may be added, none goes."""
    whole: dict[str, object] = {"timeline": VERSION, "breakdown": document(breakdown)}
    if advice is not None:
        whole["advice"] = [asdict(each) for each in advice]
    return json.dumps(whole, indent=1) + "\n"


def document(breakdown: Breakdown) -> dict[str, object]:
    """A breakdown as the value of one key; sizes are bytes."""
    peak = breakdown.peak
    return {
        "title": breakdown.title,
        "categories": dict(breakdown.categories),
        "parameters": breakdown.parameters,
        "outputs_bytes": breakdown.outputs_bytes,
        "peak": None if peak is None else _peak(peak),
        "phases": [_peak(each) for each in breakdown.phases],
        "layers": [asdict(layer) for layer in breakdown.layers],
        "not_counted": list(breakdown.not_counted),
        "assumptions": list(breakdown.assumptions),
    }


def _peak(peak: Peak) -> dict[str, object]:
    return {
        "bytes": peak.bytes,
        "phase": f"step/{peak.phase}",
        "categories": dict(peak.categories),
        "inside_operators": peak.inside_operators,
    }
