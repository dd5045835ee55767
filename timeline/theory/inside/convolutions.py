"""Convolutions: images and weights in oneDNN's layouts."""

from __future__ import annotations

from math import prod
from typing import Any

import torch

from timeline.theory.inside.sizes import Rule, size_of

aten = torch.ops.aten

LANES = 16
"""oneDNN keeps channels in blocks of 16 (nChw16c), and fills up the last one."""


def _blocks(channels: int) -> int:
    return -(-channels // LANES) * LANES


def _by_channel_last(tensor: torch.Tensor) -> bool:
    if tensor.dim() != 4 or tensor.is_contiguous():
        return False
    return bool(tensor.is_contiguous(memory_format=torch.channels_last))


class _Convolution:
    """What a convolution's tensors take in oneDNN's layouts; sizes are bytes.

    Attributes:
        reorders: whether input and output are copied into blocks of channels, and back.
        source, weight, result: the copies.
        columns: where oneDNN is not used, the unfolded input (ConvolutionMM2d.cpp).
    """

    def __init__(self, source: torch.Tensor, weight: torch.Tensor, output: Any, args: Any) -> None:
        # Arguments of aten.convolution from the stride on.
        stride, _, _, transposed, _, groups = args[:6]
        self.element = source.element_size()
        self.groups = groups
        outputs, own, *kernel = weight.shape
        channels = source.shape[1]
        if transposed:
            outputs, own = own * groups, outputs // groups
        self.kernel = kernel
        self.pointwise = prod(kernel) == 1
        self.stride = prod(stride)
        batch, out_channels, *places = output.shape
        # use_mkldnn in Convolution.cpp: small single images go by unfolding and BLAS.
        large = batch > 1 or groups > 1 or source.numel() > 20480
        self.by_blas = self.element == 4 and not (large or all(k > 3 for k in kernel))
        self.columns = 0
        if self.by_blas:
            plain = self.pointwise and all(s == 1 for s in stride)
            self.columns = 0 if plain else own * prod(kernel) * prod(places) * self.element
        depthwise = own == 1 and groups > 1
        whole_groups = depthwise or groups == 1 or (own % LANES == 0)
        self.reorders = (
            not self.by_blas and whole_groups and not _by_channel_last(source) and not transposed
        )
        few = groups == 1 and channels < LANES  # the first layer: its images are read as they are
        if depthwise:
            numbers = _blocks(groups) * prod(kernel)
        elif groups > 1:
            numbers = weight.numel()
        else:
            numbers = _blocks(outputs) * (own if few else _blocks(own)) * prod(kernel)
        self.weight = 0 if self.by_blas else numbers * self.element
        self.source = 0
        self.result = 0
        if self.reorders:
            if not few:
                self.source = batch * _blocks(channels) * prod(source.shape[2:]) * self.element
            self.result = batch * _blocks(out_channels) * prod(places) * self.element


def _convolution(args: Any, out: Any) -> int:
    source, weight = args[:2]
    one = _Convolution(source, weight, out, args[3:])
    if one.by_blas:
        return one.columns
    inside = one.source + one.weight + one.result - (size_of(out) if one.reorders else 0)
    if one.element == 2 and one.pointwise:
        inside += size_of(source) // one.stride  # oneDNN gathers the rows of its product
    # At last the result is copied from the blocks.
    return max(inside, one.result)


def _convolution_backward(args: Any, out: Any) -> int:
    """First the gradient of the input, then that of the weight, each in blocks."""
    gradient, source, weight = args[:3]
    one = _Convolution(source, weight, gradient, args[4:])
    if one.by_blas:
        return one.columns
    to_source, to_weight = (each is not None for each in out[:2])
    results = sum(size_of(each) for each in out if each is not None)
    most = 0
    if to_source:
        back = one.source
        if one.reorders and not back:  # an image is read as it is, but not its gradient
            back = size_of(source) // source.shape[1] * LANES
        inside = one.result + one.weight + back + (0 if one.reorders else size_of(out[0]))
        most = max(inside, back + size_of(out[0]))
    if to_weight:
        before = size_of(out[0]) if to_source else 0
        held = before + one.source + one.result + one.weight
        if one.element == 2:
            held += _weight_in_bf16(source, gradient, one)
        # Images in blocks are gone when the weight's gradient is copied from its own.
        copying = before if one.reorders else held - one.weight
        most = max(most, held, copying + one.weight + size_of(out[1]))
    return most - results


def _weight_in_bf16(source: torch.Tensor, gradient: torch.Tensor, one: _Convolution) -> int:
    """The weight's gradient is summed in 32 bits, from transposed images: one set a thread.

    Threads share the batch or, where there are more weights than numbers in an image, the
    channels; then they share the images.
    """
    if one.groups > 1:
        return 0
    if one.pointwise:
        return one.weight * 2
    threads = torch.get_num_threads()
    batch = source.shape[0]
    sums = one.weight * 2
    image = (one.source or size_of(source)) // batch + one.result // batch
    if sums > image * 4:
        return int(sums + image)
    sharing = min(threads, batch)
    return int(sums * sharing + image * sharing)


RULES: dict[Any, Rule] = {
    aten.convolution.default: _convolution,
    aten.convolution_backward.default: _convolution_backward,
}
