"""How threads share the gradient of a convolution's weights in bfloat16, and what they hold for it.

Images are transposed, and weights summed in 32 bits, once for each group of threads that has its
own part of the batch. The search for the cheapest way to share is done as oneDNN does it
(src/cpu/x64/jit_avx512_core_bf16_conv_kernel.cpp and jit_avx512_core_bf16_1x1_conv_kernel.cpp,
init_conf, balance and init_scratchpad).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch

from timeline.theory.inside.kernels import LANES, SLACK, blocks

_WAITING = 8192
"""Bytes for threads that wait for each other."""

_WHOLE_IMAGES = 48 * 1024
"""Bytes of rows up to which many channels are shared by images, and not by rows."""


@dataclass(frozen=True, slots=True)
class _Sharing:
    """Of a convolution by depth, height and width.

    Attributes:
        first: channels are so few that images are read as they are.
        row, result_row: numbers of a transposed row.
        work: how many parts of a batch there are.
    """

    channels: int
    outputs: int
    first: bool
    batch: int
    places: tuple[int, ...]
    result: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: int
    row: int
    result_row: int
    work: int

    @property
    def block(self) -> int:
        return self.channels if self.first else LANES

    @property
    def weights(self) -> int:
        return self.outputs * self.channels * prod(self.kernel)

    def cost(self, parts: int, by_outputs: int, by_channels: int) -> float:
        """Numbers read and written by a thread, weighed."""
        chunks, result_chunks = self.channels // self.block, self.outputs // LANES
        rows = prod(self.places[:2]) * self.row
        result_rows = prod(self.result[:2]) * self.result_row
        read = self.batch * 2 * (self.channels * rows + self.outputs * result_rows)
        scale = 0.5 * read / (self.weights * 4)
        ratio = result_chunks / chunks
        share = -(-self.work // parts) * self.batch / self.work
        mine, results = -(-chunks // by_channels), -(-result_chunks // by_outputs)
        source = max(1 / ratio, 1) * (4 if scale < 1 else 1)
        source *= share * mine * self.block * rows / self.stride
        weights = max(scale, 1) * results * mine * prod(self.kernel) * self.block * LANES
        gradient = max(ratio, 1) * share * results * LANES * result_rows
        return float(source + gradient + weights)


def of_many_places(
    source: torch.Tensor,
    gradient: torch.Tensor,
    weight: torch.Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    biased: bool,
) -> int:
    """The bytes that are held, of a convolution in one group."""
    outputs, channels, *kernel = weight.shape
    missing = 3 - len(kernel)
    places, result = _three(source.shape[2:], 1), _three(gradient.shape[2:], 1)
    taps, steps = _three(kernel, 1), _three(stride, 1)
    before, apart = _three(padding, 0), _three(dilation, 1)
    width = (taps[2] - 1) * apart[2] + 1
    after = (result[2] - 1) * steps[2] + width - places[2] - before[2]
    guard = _even(max(before[2], after + 1))
    first = channels < LANES
    row = places[2] if first else _even(-(-places[2] // steps[2]) + guard) * steps[2]
    result_row = _even(result[2])
    batch = source.shape[0]
    rows_held = 2 * LANES * (row + result_row) * max(1, before[1])
    whole = missing > 0 and places == result and 1 not in taps[1:] and set(steps) == {1}
    whole = whole and set(apart) == {1} and before[1:] == tuple(k // 2 for k in taps[1:])
    whole = whole and not first and rows_held <= _WHOLE_IMAGES and blocks(channels) >= 128
    sharing = _Sharing(
        channels=channels if first else blocks(channels),
        outputs=blocks(outputs),
        first=first,
        batch=batch,
        places=places,
        result=result,
        kernel=taps,
        stride=prod(steps),
        row=row,
        result_row=result_row,
        work=batch * (1 if whole else result[0] if not missing else result[1]),
    )
    chunks, result_chunks = sharing.channels // sharing.block, sharing.outputs // LANES
    chosen = _cheapest(sharing.cost, sharing.work, result_chunks, chunks)
    parts, by_outputs, by_channels = chosen
    images = 0 if first else parts * sharing.channels * prod(places[:2]) * row
    gradients = parts * sharing.outputs * prod(result[:2]) * result_row
    sums = parts * (sharing.weights + (sharing.outputs if biased else 0))
    waiting = 1 + (by_outputs > 1) + (by_channels > 1)
    return int(2 * (images + guard + gradients) + 4 * sums + waiting * _WAITING + 3 * SLACK)


def of_one_place(
    source: torch.Tensor,
    gradient: torch.Tensor,
    weight: torch.Tensor,
    biased: bool,
    stride: int,
    last: bool,
) -> int:
    """The same where a kernel has one place: then the weights' gradient is a product."""
    outputs, channels = map(blocks, weight.shape[:2])
    height, width = _three(gradient.shape[2:], 1)[1:]
    places, batch = prod(gradient.shape[2:]), source.shape[0]
    in_place = height > 14 and width > 14 and (gradient.dim() < 5 or outputs <= 64) and not last
    if in_place:
        step = _divider(places, 7, min(256, places), most=True, step=2)
    else:
        step = _divider(places, 8, 16, most=True, step=2)
    if places % step:
        step = _divider(width, 4, width, most=in_place, step=2)
    step = 1 if step > 256 else step
    step = step if in_place else _even(step)
    work = batch * -(-places // step)
    chunks, result_chunks = channels // LANES, outputs // LANES
    weighed = 4 * (max(1, outputs // channels) if stride == 1 else 1)

    def cost(parts: int, by_outputs: int, by_channels: int) -> int:
        mine, results = -(-chunks // by_channels), -(-result_chunks // by_outputs)
        share = -(-work // parts) * LANES * step
        read = share * mine // stride + share * results
        return int(read + weighed * results * mine * LANES**2)

    parts, by_outputs, by_channels = _cheapest(cost, work, result_chunks, chunks)
    threads = parts * by_outputs * by_channels
    at_once = _divider(chunks, 5, chunks, most=False)
    held = 4 * parts * (outputs * channels + (outputs if biased else 0)) + SLACK
    held += _WAITING if parts > 1 else 0
    if biased and outputs != weight.shape[0]:
        held += 2 * outputs + SLACK
    if not in_place:
        both = at_once + _divider(result_chunks, 16, result_chunks, most=False)
        held += 2 * threads * _even(places) * LANES * both + 2 * SLACK
    if stride > 1:
        held += 2 * threads * places * LANES * at_once + SLACK
    return int(held)


def _cheapest(
    cost: Callable[[int, int, int], float], work: int, result_chunks: int, chunks: int
) -> tuple[int, int, int]:
    """Parts of the batch, of the results' channels and of the images', each with a thread."""
    threads = torch.get_num_threads()
    chosen = (1, 1, 1)
    least = cost(*chosen)
    for parts in range(1, min(threads, work) + 1):
        for by_outputs in range(1, min(threads // parts, result_chunks) + 1):
            by_channels = min(threads // parts // by_outputs, chunks)
            now = cost(parts, by_outputs, by_channels)
            if now <= least:
                least, chosen = now, (parts, by_outputs, by_channels)
    if threads // 2 < chosen[0] < threads:
        chosen = (min(work, threads), *chosen[1:])
    return chosen


def _divider(number: int, least: int, largest: int, *, most: bool, step: int = 1) -> int:
    """The piece between two bounds that leaves the least over, the largest or smallest of them."""
    largest = max(1, min(largest, number))
    least = max(1, min(least, largest))
    best, chosen = 2.0, largest
    for piece in range(largest, least - 1, -step):
        whole = -(-number // piece) * piece
        lost = (whole - number) / whole
        if lost < best or (lost == best and not most):
            best, chosen = lost, piece
    return chosen


def _three(sizes: Sequence[int], fill: int) -> tuple[int, ...]:
    """By depth, height and width."""
    return (*(fill,) * (3 - len(sizes)), *sizes)


def _even(number: int) -> int:
    return -(-number // 2) * 2
