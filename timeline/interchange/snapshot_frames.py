"""What the stacks in a CUDA memory snapshot tell of a block: where it came from, in which part."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from timeline.recording.types import Alive

MOST_PLACES = 1000
_LONGEST = 300

_LIBRARY = re.compile(
    r"(^|/)(site-packages|dist-packages|lib/python3[.\d]*|torch)/"
    # Where a file's name was shortened to its last two parts.
    r"|^(nn|modules|autograd|optim|_dynamo|_inductor|functional|eval_frame)/"
    r"(__init__|module|container|linear|conv|normalization|activation|sparse|dropout|functional|"
    r"function|graph|optimizer|adam|adamw|sgd|_functional|eval_frame)\.py$"
)
_OPERATION = re.compile(r"at::_ops::(\w+?)(?:_out)?::(?:call|redispatch)\(")
_BACKWARD = re.compile(r"torch::autograd::(Engine|Node)|_engine_run_backward")
_STEP = re.compile(r"^_(single_tensor|multi_tensor|fused)_|^_init_group$")


def describe(
    alive: Mapping[int, tuple[int, int]], lines: Sequence[Any], segments: Sequence[Any]
) -> tuple[Alive, ...]:
    """Blocks together by the place that asked for them, the largest sum first.

    Args:
        alive: by address the size, and the number of the line that handed it out; -1 for none.
        lines: of the trace.
        segments: of the snapshot, whose blocks may have stacks that no line has.
    """
    known = {
        block["address"]: block.get("frames") or ()
        for segment in segments
        for block in segment["blocks"]
        if "address" in block and block.get("frames")
    }
    sums: dict[tuple[str, str], list[Any]] = {}
    told: dict[int, tuple[str, str, str]] = {}
    for address, (size, number) in alive.items():
        frames = lines[number].get("frames") if number >= 0 else known.get(address, ())
        # Equal stacks are one object in the file, and its reading costs more than all else.
        if id(frames) not in told:
            told[id(frames)] = _told(frames)
        during, place, operation = told[id(frames)]
        if number < 0 and not during:
            during = "before"
        found = sums.setdefault((during, place), [0, 0, 0, ""])
        found[0] += size
        found[1] += 1
        if size > found[2]:
            found[2:] = size, operation
    rows = [
        Alive(total, blocks, largest, during, place, operation)
        for (during, place), (total, blocks, largest, operation) in sums.items()
    ]
    rows.sort(key=lambda each: (-each.bytes, each.place, each.during))
    return tuple(rows[:MOST_PLACES])


def _told(frames: Any) -> tuple[str, str, str]:
    """In which part of a step, at which place of the program, and by which operation."""
    during = place = operation = ""
    if not isinstance(frames, list):
        return during, place, operation
    for frame in frames:
        file, line, name = (frame.get(key) for key in ("filename", "line", "name"))
        if not (isinstance(file, str) and isinstance(name, str) and isinstance(line, int)):
            continue
        python = file.endswith(".py")
        if not python:
            if not operation and (found := _OPERATION.search(name)):
                operation = found[1]
            if _BACKWARD.search(name):
                during = during or "backward"
            continue
        if _BACKWARD.search(name) or (name == "backward" and _LIBRARY.search(file)):
            during = during or "backward"
        elif _STEP.search(name) or (name == "step" and ("optim" in file)):
            during = during or "optimizer"
        elif name in ("forward", "_call_impl"):
            during = during or "forward"
        if not place and not _LIBRARY.search(file):
            place = f"{file}:{line} in {name}"
    return during, place[-_LONGEST:], operation[:_LONGEST]
