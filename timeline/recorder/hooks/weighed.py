"""Writes down what was read in the weighed step, as it was read.

See docs/format.md for ``weighed.json``. Numbers alone, in lists: what they say of the peaks is
summed in another process (`timeline.recording.weighed`), since the program waits for this one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from timeline.recorder.hooks.keras_layers import groups_of, name_of
from timeline.recording.format import FORMAT_VERSION, WEIGHED
from timeline.recording.writer import write_json

if TYPE_CHECKING:
    from timeline.recorder.hooks.weighing import Weighing

_OPTIONS = (
    "momentum", "amsgrad", "centered", "foreach", "fused", "weight_decay", "nesterov", "maximize",
    "use_ema", "accumulates", "schedules",
)  # fmt: skip
"""Of optimizers, those that add to their state or to what a step holds for a moment."""


def write(
    directory: str,
    weighing: Weighing,
    *,
    step: int,
    before: dict[str, int],
    imports: list[tuple[int, int, int]],
) -> None:
    """Write it into the run directory, by rename.

    Args:
        directory: of the run.
        weighing: the step, which has ended.
        step: its number; 0 for a call without a step.
        before: the moment before the model.
        imports: those since then, see `timeline.recorder.hooks.imported`.

    Raises:
        RecordingError: it cannot be written.
    """
    began = time.monotonic_ns()
    given = weighing.given
    document: dict[str, object] = {
        "timeline": FORMAT_VERSION,
        "step": step,
        "began": weighing.began_ns,
        "before": before,
        "imports": imports,
        "heap_most": weighing.resident.largest(),
        "ticks": weighing.ticks,
        "phases": [
            (
                call.number, call.path, call.what, call.turn, call.first, call.last,
                call.begin, call.end, list(call.stood.items()), call.walked,
            )
            for call in weighing.calls
        ],
        "devices": weighing.pieces.devices,
        "pieces": weighing.pieces.all,
        "asked": weighing.pieces.asked,
        "models": weighing.own.models,
        "layers": weighing.own.layers,
        "calls_of": list(weighing.calls_of.items()),
        "parameters": [
            (layer, each.numel(), each.element_size(), int(each.is_cpu))
            for each, layer in weighing.own.parameters
        ],
        "trained": [_group(*pair) for pair in _groups(weighing)],
        "given": {
            "calls": given.calls,
            "settings": list(given.settings.items()),
            "walked": given.walked,
            "begins": given.begins,
            "trains": list(given.trains.items()),
        },
        "nodes": list(weighing.passage.nodes.values()),
        "dtypes": weighing.passage.dtypes,
        "savers": weighing.pieces.savers,
        "first_sides": list(weighing.pieces.first_sides),
        "sequence_first": weighing.own.sequence_first,
        "older": weighing.passage.older,
        "notes": weighing.notes + weighing.passage.notes + weighing.pieces.notes,
        "unseen": list(weighing.pieces.unseen),
    }  # fmt: skip
    document["ended"] = time.monotonic_ns()
    document["spent"] = weighing.spent_ns + time.monotonic_ns() - began
    write_json(directory, WEIGHED, document, indent=None)


def _groups(weighing: Weighing) -> list[tuple[Any, dict[str, Any]]]:
    return [(each, group) for each in weighing.own.optimizers for group in groups_of(each)]


def _group(optimizer: Any, group: dict[str, Any]) -> dict[str, object]:
    """What theory needs to know of a group of parameters that an optimizer steps."""
    return {
        "optimizer": name_of(optimizer),
        "options": {
            name: bool(group[name])
            for name in _OPTIONS
            if isinstance(group.get(name), (bool, float, int))
        },
        "sizes": [
            (each.numel(), each.element_size())
            for each in group["params"]
            if each.requires_grad and each.is_cpu
        ],
    }
