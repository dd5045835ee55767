"""Every change to a weighed step that its recording can tell of, whether it saves or not."""

from __future__ import annotations

from collections.abc import Iterator

from timeline.analysis.advice import autocast, blocks, of_layers, of_step, results
from timeline.analysis.advice.change import Change
from timeline.analysis.advice.moments import Moments
from timeline.analysis.advice.passage import Passage
from timeline.recording.anatomy import Anatomy


def changes(weighed: Anatomy, moments: Moments, passage: Passage) -> Iterator[Change]:
    """One after the other; what needs the graph is left out where it was not kept."""
    yield from of_step.smaller_batch(weighed, moments, passage)
    yield from of_step.other_optimizers(weighed, moments)
    yield from results.results_gone(moments)
    if not passage.nodes:
        return
    yield from of_step.gradients_gone(weighed, moments, passage)
    yield from autocast.to_bfloat16(weighed, moments, passage)
    yield from of_step.inference(weighed, moments, passage)
    yield from blocks.checkpoints(weighed, moments, passage)
    yield from of_layers.in_place(weighed, moments, passage)
    yield from of_layers.separable(weighed, moments, passage)


def untried(weighed: Anatomy, passage: Passage) -> Iterator[str]:
    """What `timeline breakdown --advice` tries of such a step, and its recording does not tell."""
    optimizers = {each.optimizer for each in weighed.trained}
    of_keras = any(each.startswith(of_step.OF_KERAS) for each in optimizers)
    if len(optimizers) == 1 and not of_keras and optimizers.isdisjoint(_NOT_TO_ADAFACTOR):
        yield "the optimizer adafactor"
    if not passage.nodes:
        yield "what needs the graph of autograd, such as autocast and checkpointing"
    elif autocast.is_untold(weighed, passage):
        yield "autocast to bfloat16"


_NOT_TO_ADAFACTOR = ("SGD", "Adafactor")
"""Instead of these another optimizer is no change to try."""
