"""The weighed step in the JSON document of a run; docs/report.md describes its keys."""

from __future__ import annotations

from dataclasses import asdict

from timeline.analysis.anatomy import Anatomized
from timeline.analysis.composition import Composition


def breakdown(anatomy: Anatomized | None) -> dict[str, object] | None:
    """What was weighed: the categories at their most, and the layers; None where nothing was."""
    if anatomy is None:
        return None
    weighed = anatomy.weighed
    return {
        "step": weighed.step or None,
        "categories": dict(weighed.categories),
        "parameters": weighed.parameters,
        "layers": [
            {**asdict(layer), "output_shape": list(layer.output_shape)}
            if layer.output_shape is not None
            else asdict(layer)
            for layer in weighed.layers
        ],
        "devices": list(weighed.devices),
        "spent_s": weighed.spent_ns / 1e9,
        "not_counted": list(weighed.not_counted),
        "notes": list(anatomy.notes),
        "phases": [_phase(each) for each in anatomy.phases],
        "tensors_peak": _tensors_peak(anatomy),
        "no_advice": anatomy.unadvised or None,
    }


def _phase(each: Composition) -> dict[str, object]:
    return {
        "path": each.path,
        "what": each.what,
        "peak": each.peak,
        "peak_when_weighed": each.weighed,
        "grown": each.grown,
        "unexplained_in_heap": each.in_heap,
        "unexplained_outside_heap": each.outside_heap,
        "layers": [{"name": layer.name, "activation": size} for layer, size in each.layers],
    }


def _tensors_peak(anatomy: Anatomized) -> dict[str, object] | None:
    """What ``advice`` is about; None where the step's course is not known."""
    if anatomy.advised is None:
        return None
    return {"phase": anatomy.advised.path, "bytes": anatomy.advised.peak}


def advice(anatomy: Anatomized | None) -> list[dict[str, object]]:
    """What would lower the weighed step's peak, the largest saving first."""
    if anatomy is None or anatomy.advised is None:
        return []
    return [{**asdict(each), "layers": list(each.layers)} for each in anatomy.advised.advice]


def comparison(anatomy: Anatomized | None) -> list[dict[str, object]]:
    """A row for each phase and part: estimated, measured, residual; unknown is null."""
    if anatomy is None:
        return []
    return [
        {
            "phase": each.path,
            "category": part.category,
            "estimated": part.estimated,
            "measured": part.measured,
            "residual": part.residual,
        }
        for each in anatomy.phases
        for part in each.parts
    ]
