"""What a page carries of a long run: as much as a browser opens, with every extreme in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from timeline.analysis.thinning import thin_curve, thin_instances
from timeline.analysis.types import HOST, Analysis, Instances, PhaseSummary

MOST_READINGS = 1_500_000
"""Of a channel: at 10 ms more than four hours, 12 MB of page, and what a browser unpacks in 2 s."""

MOST_PHASES = 200_000

MOST_PATHS = 3_000
"""A program may name each phase anew: a row of the table takes 700 bytes and a browser's time."""

OTHERS = "(other phases)"


def bounded(analysis: Analysis) -> Analysis:
    """The analysis in a size that a page can carry, with a note for each thing left out."""
    notes = []
    curves = {name: thin_curve(curve, MOST_READINGS) for name, curve in analysis.curves.items()}
    for name, curve in analysis.curves.items():
        if curves[name] is not curve:
            notes.append(
                f"of the {len(curve.t_ns):,} readings of {name} this page has the least and the "
                f"largest of each stretch, some {MOST_READINGS:,}; the recording has all"
            )
    for memory in analysis.devices:
        if len(memory.t_ns) > MOST_READINGS:
            notes.append(
                f"of the {len(memory.t_ns):,} readings of {memory.name} this page has the largest "
                f"of each stretch, some {MOST_READINGS:,}; the recording has all"
            )
    instances = analysis.instances
    phases = _weightiest(analysis.phases)
    if len(phases) < len(analysis.phases):
        notes.append(
            f"of the {len(analysis.phases):,} paths this page has the {MOST_PATHS:,} with the "
            f"highest peaks and the longest times; the lanes draw the rest as {OTHERS}"
        )
        instances = _with_others(instances, {each.path for each in phases})
    if len(instances) > MOST_PHASES:
        notes.append(
            f"{len(instances):,} phases are drawn in some {MOST_PHASES:,} boxes, neighbours as "
            "one; the table counts each"
        )
        instances = thin_instances(instances, MOST_PHASES)
    if not notes:
        return analysis
    return replace(
        analysis,
        curves=curves,
        phases=phases,
        instances=instances,
        notes=(*analysis.notes, *notes),
    )


def _weightiest(phases: tuple[PhaseSummary, ...]) -> tuple[PhaseSummary, ...]:
    if len(phases) <= MOST_PATHS:
        return phases
    order = range(len(phases))
    peaks = [each.peak[HOST].bytes if HOST in each.peak else 0 for each in phases]
    keep = set(sorted(order, key=lambda i: -peaks[i])[: MOST_PATHS // 2])
    for i in sorted(order, key=lambda i: -phases[i].total_ns):
        if len(keep) == MOST_PATHS:
            break
        keep.add(i)
    return tuple(phases[i] for i in sorted(keep))


def _with_others(instances: Instances, kept: set[str]) -> Instances:
    paths = tuple(path for path in instances.paths if path in kept)
    numbers = {path: number for number, path in enumerate(paths)}
    number = np.array([numbers.get(path, len(paths)) for path in instances.paths], np.int64)
    return replace(instances, path=number[instances.path], paths=(*paths, OTHERS))
