"""Convolutions: images and weights in oneDNN's layouts."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from timeline.theory.inside.kernels import (
    LANES,
    blocks,
    strided_back,
    sums_of,
    unfolded,
)
from timeline.theory.inside.sharing import of_many_places, of_one_place
from timeline.theory.inside.sizes import Rule, lies_in_order, size_of
from timeline.theory.inside.unfolding import Unfolding

aten = torch.ops.aten


def _few(channels: int) -> int:
    """Channels of an image that is copied for its weights' gradient: RGB is read as it is."""
    if channels in (1, 3):
        return 0
    return blocks(channels, 8 if channels < LANES else LANES)


def _images(batch: int, channels: int, places: Sequence[int], element: int) -> int:
    return batch * channels * prod(places) * element


def _by_channel_last(tensor: torch.Tensor) -> bool:
    return not tensor.is_contiguous() and lies_in_order(tensor)


def _edges_alone(places: int, results: int, kernel: int, stride: int, padding: int) -> bool:
    """Whether all results along a side see padding."""
    begin = -(-padding // stride)
    end = sum(i * stride - padding + kernel > places for i in range(results))
    return padding > 0 and begin + end >= results


class _Convolution:
    """What a convolution's tensors take in oneDNN's layouts; sizes are bytes.

    Attributes:
        last: whether channels lie last: then images are read and written as they are.
        copied: what is copied before all, because it lies in another order than the rest; it
            stays until the end (aten/src/ATen/native/mkldnn/Conv.cpp). A gradient that is one
            number seen many times, as that of a sum, is such a one.
        reorders: whether images are copied into blocks of channels, and back.
        again: whether they are for the weights' gradient, too.
        source, weight, result: the copies.
        columns: where oneDNN is not used, the unfolded input (ConvolutionMM2d.cpp).
        unfolding: which parts oneDNN itself does by unfolding.
    """

    def __init__(
        self,
        source: torch.Tensor,
        weight: torch.Tensor,
        output: Any,
        args: Any,
        *more: torch.Tensor,
    ) -> None:
        # Arguments of aten.convolution from the stride on.
        stride, padding, dilation, self.transposed, _, groups = args[:6]
        element: int = source.element_size()
        self.element = element
        self.groups = groups
        outputs, own, *kernel = weight.shape
        batch, channels, *places = source.shape
        if self.transposed:
            outputs, own = own * groups, outputs // groups
        self.pointwise = prod(kernel) == 1
        self.stride = prod(stride)
        # A transposed one that oneDNN does as the gradient of a convolution.
        self.as_gradient = self.stride == 1 or (groups > 1 and own % LANES != 0)
        _, out_channels, *out_places = output.shape
        # use_mkldnn in Convolution.cpp: small single images go by unfolding and BLAS.
        # It looks at four sizes of images and two of the kernel: volumes have one more of each.
        large = batch > 1 or groups > 1 or prod(source.shape[:4]) > 20480
        wide = len(kernel) > 1 and all(k > 3 for k in kernel[-2:])
        self.by_blas = element == 4 and not (large or wide)
        self.columns = 0
        if self.by_blas and self.transposed:
            self.columns = outputs * prod(kernel) * prod(places) * element
        elif self.by_blas and not (self.pointwise and all(s == 1 for s in stride)):
            self.columns = own * prod(kernel) * prod(out_places) * element
        self.last = _by_channel_last(source) or _by_channel_last(weight)
        given = (source, weight, *more)
        self.copied = sum(size_of(each) for each in given if not self._lies_well(each))
        self.depthwise = own == 1 and groups > 1
        whole = self.depthwise or groups == 1 or own % 4 == 0
        self.reorders = not self.by_blas and not self.last and whole
        # Images' gradients by another kernel, that has channels last.
        alone = groups == 1 or (self.depthwise and element == 2)
        self.strided = self.reorders and alone and not self.transposed and self.stride > 1
        again = own % 8 == 0 or (self.depthwise and not self.transposed)
        # Weights' gradients that no kernel is made for: of few channels in 16 bits, or of channels
        # that each have wide weights of their own.
        few = channels < LANES and outputs % LANES != 0 and element == 2 and groups == 1
        wide = self.depthwise and max(kernel) > 3
        self.unfolds = self.reorders and not self.transposed and not self.pointwise
        self.unfolding = None
        if self.reorders and not self.transposed and groups == 1 and element == 4:
            self.unfolding = Unfolding(
                source.shape, weight.shape, output.shape, stride, padding, dilation
            )
        unknown = self.unfolding is not None and self.unfolding.to_weight
        self.unfolds = self.unfolds and (few or wide or unknown)
        self.again = self.reorders and (groups == 1 or again)
        # The first layer: its images are read as they are, unless each place is one product.
        few = groups == 1 and channels < LANES and not self.pointwise
        few_out = groups == 1 and out_channels < LANES
        if self.depthwise:
            numbers = blocks(groups) * prod(kernel)
        elif groups > 1:
            numbers = weight.numel()
        else:
            numbers = blocks(outputs) * (own if few else blocks(own)) * prod(kernel)
            if self.transposed and not self.as_gradient:
                numbers = blocks(outputs) * own * prod(kernel)
        self.weight = 0 if self.by_blas else numbers * element
        self.weight_back = self.weight_again = self.weight
        edges = any(map(_edges_alone, places, out_places, kernel, stride, padding))
        filled = wide or (self.depthwise and edges)
        if filled and self.last and element == 4 and not self.transposed:
            # Of channels that lie last and each have wide weights of their own, as in ConvNeXt, or
            # so few places that all of them see padding, as at the end of a Segformer, the
            # gradient fills a block with each weight (aBCde16c16b), and is copied from there.
            self.weight_again = size_of(weight) * (LANES * LANES + 1)
        if few and self.reorders and not self.transposed:  # images' gradients are in whole blocks
            self.weight_back = blocks(outputs) * blocks(own) * prod(kernel) * element
        if self.transposed and groups == 1 and not self.by_blas:
            back = blocks(own) * (outputs if few_out else blocks(outputs))
            self.weight_back = self.weight_again = back * prod(kernel) * element
        self.source: int = 0
        self.result: int = 0
        self.back: int = 0
        self.source_again = self.result_again = self.result_back = 0
        if not self.reorders:
            return
        self.back = _images(batch, blocks(channels), places, element)
        self.result = _images(batch, blocks(out_channels), out_places, element)
        self.source = 0 if few else self.back
        self.result_back = 0 if few_out and self.transposed else self.result
        if self.again:
            kept = blocks(channels)
            if few:
                kept = _few(channels) if element == 4 else 0
            self.source_again = _images(batch, kept, places, element)
            kept = _few(out_channels) if few_out and self.transposed else blocks(out_channels)
            self.result_again = _images(batch, kept, out_places, element)

    def _lies_well(self, tensor: torch.Tensor) -> bool:
        if not self.last:
            return bool(tensor.is_contiguous())
        last = {4: torch.channels_last, 5: torch.channels_last_3d}[tensor.dim()]
        return bool(tensor.is_contiguous(memory_format=last))


def _convolution(args: Any, out: Any) -> int:
    source, weight = args[:2]
    one = _Convolution(source, weight, out, args[3:])
    if one.by_blas:
        return one.copied + one.columns
    if one.transposed:
        return one.copied + _transposed(source, out, one)
    if one.unfolding is not None and one.unfolding.forward:
        return one.copied + one.unfolding.forwards(one.element)
    inside = one.source + one.weight + one.result - (size_of(out) if one.reorders else 0)
    inside += _pointwise(one, source, out)
    # At last the result is copied from the blocks.
    return one.copied + max(inside, one.result)


def _pointwise(one: _Convolution, source: torch.Tensor, out: torch.Tensor) -> int:
    """Of each thread with a stride the rows that it takes, and in 16 bits sums of 32.

    Of one image each.
    """
    if not one.pointwise or one.groups > 1 or one.by_blas or one.last:
        return 0
    channels, outputs, places = source.shape[1], out.shape[1], prod(out.shape[2:])
    taken = places * blocks(channels) * one.element if one.stride > 1 else 0
    sums = sums_of(channels, outputs, places) if one.element == 2 else 0
    return int(torch.get_num_threads() * (sums + taken))


def _transposed(source: torch.Tensor, out: torch.Tensor, one: _Convolution) -> int:
    returned = size_of(out)
    if one.as_gradient:
        # It is written to another place and then biased.
        inside = one.result + one.back + one.weight + one.result
        return max(inside - returned, one.result) if one.reorders else one.weight
    # An image for each thread, filled up at its sides; channels lie last in all, and the result
    # is copied twice.
    _, channels, *places = source.shape
    sides = prod(blocks(side) if side > 1 else 1 for side in places)
    threads = torch.get_num_threads()
    scratch: int = threads * (channels // one.groups * sides * one.element + 14424)
    if one.last:
        return scratch + one.weight
    return max(scratch + size_of(source) + one.weight, 2 * returned)


def _convolution_backward(args: Any, out: Any) -> int:
    """First the gradient of the input, then that of the weight, each in blocks."""
    gradient, source, weight = args[:3]
    one = _Convolution(source, weight, gradient, args[4:], gradient)
    if one.by_blas:
        return one.copied + one.columns
    to_source, to_weight = (each is not None for each in out[:2])
    results = sum(size_of(each) for each in out if each is not None)
    most = 0
    if to_source and one.unfolding is not None and one.unfolding.to_source:
        most = size_of(out[0]) + one.unfolding.backwards(one.element)
    elif to_source and one.strided:
        most = strided_back(gradient, weight, out[0])
    elif to_source:
        back = one.back
        inside = one.result_back + one.weight_back + back
        inside += 0 if one.reorders else size_of(out[0])
        inside += _pointwise(one, gradient, out[0]) if one.stride == 1 and not one.transposed else 0
        most = max(inside, back + size_of(out[0]))
    if to_weight:
        before = size_of(out[0]) if to_source else 0
        held = before + one.source_again + one.result_again + one.weight_again
        if one.unfolds:
            held = before + size_of(out[1]) + unfolded(source, gradient, *out[1:])
            return one.copied + max(most, held) - results
        if one.element == 2:
            held += _weight_in_bf16(one, args, out)
        # Images in blocks are gone when the weight's gradient is copied from its own.
        copying = before if one.again else held - one.weight_again
        most = max(most, held, copying + one.weight_again + size_of(out[1]))
    return one.copied + most - results


def _weight_in_bf16(one: _Convolution, args: Any, out: Any) -> int:
    """The weight's gradient is summed in 32 bits, from transposed images."""
    gradient, source, weight = args[:3]
    if one.groups > 1:
        return 0
    if one.transposed:
        source, gradient = gradient, source
    biased = out[2] is not None
    if one.pointwise:
        return of_one_place(source, gradient, weight, biased, one.stride, one.last)
    stride, padding, dilation = args[4:7]
    return of_many_places(source, gradient, weight, stride, padding, dilation, biased)


RULES: dict[Any, Rule] = {
    aten.convolution.default: _convolution,
    aten.convolution_backward.default: _convolution_backward,
}
