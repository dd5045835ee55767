"""A ``weighed.json`` of two layers, in numbers that can be followed by hand."""

from __future__ import annotations

from typing import Any

NEVER = 1 << 62
PARAMETER, BUFFER, GRADIENT, STATE, ACTIVATION, INPUT = range(6)


def tick(t: int, rss: int, sequence: int, held: int | None = 0, most: int | None = 0) -> list[Any]:
    """A moment; the heap tells nothing."""
    return [t, rss, rss, 0, -1, -1, -1, sequence, held, most]


def piece(size: int, category: int, layer: int, sequence: int, born: int, died: int) -> list[int]:
    """A storage in host memory."""
    return [size, 0, category, layer, sequence, born, died, 0]


def raw(**other: Any) -> dict[str, Any]:
    """A convolution, whose output a batch norm saves with 8 bytes more, and their backward.

    In backward there are four moments: at its begin, when of the norm's 1008 bytes the 1000 have
    gone, when all have, and when the convolution's gradient is there.
    """
    return {
        "timeline": 1, "step": 2, "began": 100, "ended": 200, "spent": 5, "before": {},
        "imports": [], "heap_most": -1,
        "ticks": [
            tick(100, 5000, 10), tick(110, 6008, 12, 1008, 1008),
            tick(120, 6008, 12), tick(130, 6008, 12, 500, 500),
            tick(140, 6008, 12, -508, 500), tick(150, 6008, 12, -508, -508),
        ],
        "phases": [
            [1, "step/forward", "Net", 0, 0, 2, 0, 2, [], [0]],
            [2, "step/backward", "", 0, 2, 2, 2, 6, [], []],
        ],
        "devices": ["cpu"],
        "pieces": [
            piece(400, PARAMETER, 1, -1, 50, NEVER),
            piece(300, INPUT, -1, -1, 90, NEVER),
            piece(1000, ACTIVATION, 2, 11, 121, 125),
            piece(8, ACTIVATION, 2, 11, 121, 135),
            piece(400, GRADIENT, 1, -1, 145, NEVER),
        ],
        "asked": [[1, 300]],
        "models": ["Net"],
        "layers": [["Net", 0, 0, ""], ["Conv2d", 0, 1, "conv"], ["BatchNorm2d", 0, 2, "norm"]],
        "calls_of": [[0, 1], [1, 1], [2, 1]],
        "parameters": [[1, 100, 4, 1]],
        "trained": [{"optimizer": "SGD", "options": {}, "sizes": [[100, 4]]}],
        "given": {
            "calls": [[1, 0, [1, 75], 4, -2, 300, -1, 1], [2, 0, [1, 250], 4, 0, 1000, 0, 1]],
            "settings": [[1, {}], [2, {}]], "walked": [[0], [0]], "begins": [10, 11],
            "trains": [[1, True], [2, False]],
        },
        "nodes": [
            [10, "ConvolutionBackward0", 1, [1, 250], 0, []],
            [11, "NativeBatchNormBackward0", 2, [1, 250], 0, [10]],
        ],
        "dtypes": [["float32", 4]],
        "savers": [[10, 1], [11, 2], [11, 3]], "first_sides": [1],
        "sequence_first": False,
        "older": [], "notes": [], "unseen": [],
        **other,
    }  # fmt: skip
