"""Writes down what was read in the weighed step, as it was read.

See docs/format.md for ``weighed.json``. Numbers alone, in lists: what they say of the peaks is
summed in another process (`timeline.recording.weighed`), since the program waits for this one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from timeline.recording.format import FORMAT_VERSION, WEIGHED
from timeline.recording.writer import write_json

if TYPE_CHECKING:
    from timeline.recorder.hooks.coarse import Coarse
    from timeline.recorder.hooks.weighing import Weighing


def write(
    directory: str,
    weighing: Weighing | Coarse,
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
    document: dict[str, object] = {
        "timeline": FORMAT_VERSION,
        "step": step,
        "began": weighing.began_ns,
        "before": before,
        "imports": imports,
        "heap_most": weighing.heap_most(),
        "ticks": weighing.ticks,
        "phases": [
            (
                call.number, call.path, call.what, call.turn, call.first, call.last,
                call.begin, call.end, list(call.stood.items()), call.walked,
            )
            for call in weighing.calls
        ],
        **weighing.facts(),
    }  # fmt: skip
    document["ended"] = time.monotonic_ns()
    document["spent"] = weighing.spent_ns + time.monotonic_ns() - began
    write_json(directory, WEIGHED, document, indent=None)
