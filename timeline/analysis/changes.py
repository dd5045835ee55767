"""Every change to a weighed step that its recording can tell of, whether it saves or not."""

from __future__ import annotations

from collections.abc import Iterator

from timeline.analysis import autocast, layer_changes, step_changes
from timeline.analysis.change import Change
from timeline.analysis.moments import Moments
from timeline.analysis.passage import Passage
from timeline.recording.anatomy import Anatomy


def changes(weighed: Anatomy, moments: Moments) -> Iterator[Change]:
    """One after the other; what needs the graph is left out where it was not kept."""
    passage = Passage(moments)
    yield from step_changes.smaller_batch(weighed, moments, passage)
    yield from step_changes.other_optimizers(weighed, moments)
    if not passage.nodes:
        return
    yield from step_changes.gradients_gone(weighed, moments, passage)
    yield from autocast.to_bfloat16(weighed, moments, passage)
    yield from step_changes.inference(weighed, moments, passage)
    yield from layer_changes.checkpoints(weighed, moments, passage)
    yield from layer_changes.in_place(weighed, moments, passage)
    yield from layer_changes.separable(weighed, moments, passage)
