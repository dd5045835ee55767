"""Convolutions that oneDNN's own kernels do not take, and does by unfolding.

With gaps in their kernel, as in the spatial pyramid of DeepLab, where it is wider with its padding
than what a kernel of oneDNN computes at a time; or of volumes of which little but padding is left,
as at the end of a video network. It then unfolds images and multiplies (``gemm:jit`` in
``ONEDNN_VERBOSE=1``), and for weights' gradients books four times their bytes for each thread.
Where this begins was found by asking which kernel runs, for 400 sizes in fp32.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch

from timeline.theory.inside.kernels import LANES, SLACK

_ROW = 28
"""Places of a row that are computed at a time, at most: as many as there are registers."""

_SOME = 7
"""The same of longer rows, where several blocks of channels go together."""

_PIECE = 660_000
"""Bytes of unfolded images at a time for each thread, at most, where a result is computed."""


_MANY = 1 << 20
"""Weights from which on several blocks of channels go together for any row."""


def _at_a_time(width: int, channels: int, weights: int, least: int = 0) -> int:
    if least <= width <= _ROW + 1 and weights < _MANY:
        return width
    return _SOME if channels > LANES else 2 * _SOME


class Unfolding:
    """Which of a convolution's three computations go by unfolding, and what they take; bytes.

    Attributes:
        forward, to_source, to_weight: whether they do.
    """

    def __init__(
        self,
        source: Sequence[int],
        weight: Sequence[int],
        output: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
    ) -> None:
        gaps = len(source) == 4 and max(dilation) > 1 and prod(weight[2:]) > 1
        beside = padding[-1]
        before = ((weight[-1] - 1) * dilation[-1] - beside) // stride[-1]
        self.forward = gaps and beside > _at_a_time(output[-1], output[1], prod(weight))
        computed = _at_a_time(source[-1], source[1], 0, 2 * _SOME)
        self.to_source = gaps and (prod(stride) > 1 or before > computed)
        padded = 2 * padding[0] >= output[2]
        flat = len(source) == 5 and weight[2] > 1 and padded
        self.to_weight = flat or (gaps and (prod(stride) > 1 or padded))
        self._columns: int = weight[1] * prod(weight[2:])
        self._output: int = prod(output[2:])
        self._threads: int = torch.get_num_threads()
        self._shared: int = min(self._threads, source[0])

    def forwards(self, element: int) -> int:
        """What forward holds: the unfolded image in pieces."""
        columns = self._columns * self._output * element
        return self._threads * min(columns, _PIECE) + SLACK

    def backwards(self, element: int) -> int:
        """What the gradient of images holds: an unfolded image for each thread."""
        return self._shared * self._columns * self._output * element + SLACK
