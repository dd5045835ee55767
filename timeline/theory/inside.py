"""What a CPU's operators allocate inside and free before they return: no tensor shows it.

Each rule says by how much the most that an operator holds exceeds what it returns. They were found
by listing what torch's allocator is asked for inside each operator, and the tests do it again. The
layouts are oneDNN's on x86 with AVX-512, with torch 2.14; on another CPU nothing is added, and the
breakdown says that this memory is not counted.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from itertools import groupby
from math import prod
from typing import Any

import torch

from timeline.theory.layers.workspace import row_of
from timeline.theory.packing import running

aten = torch.ops.aten

Rule = Callable[[Any, Any], int]
"""Of an operator's arguments and its result, the bytes held inside beyond the result."""

LANES = 16
"""oneDNN keeps channels in blocks of 16 (nChw16c), and fills up the last one."""


def known_here() -> bool:
    """Whether the rules are those of this machine's operators."""
    return (
        platform.machine() in ("x86_64", "AMD64")
        and torch.backends.mkldnn.is_available()
        and "AVX512" in torch.backends.cpu.get_cpu_capability()
    )


def held_inside(func: Any, args: Any, out: Any) -> int:
    """The bytes that an operator holds inside beyond what it returns; 0 where nothing is known."""
    rule = _RULES.get(func)
    return max(rule(args, out), 0) if rule else 0


def _size(tensor: torch.Tensor) -> int:
    size: int = tensor.numel() * tensor.element_size()
    return size


def _blocks(channels: int) -> int:
    return -(-channels // LANES) * LANES


def _takes_blas(matrix: torch.Tensor) -> bool:
    """Whether BLAS can read it: one stride of 1 and the other no less than a row."""
    rows, columns = matrix.shape[-2:]
    down, right = matrix.stride()[-2:]
    return bool((right == 1 and down >= max(columns, 1)) or (down == 1 and right >= max(rows, 1)))


def _products(first: int) -> Rule:
    """mm, addmm and bmm copy a matrix that BLAS cannot read, such as an expanded gradient."""

    def rule(args: Any, out: Any) -> int:
        left, right = args[first : first + 2]
        copied = sum(_size(each) for each in (left, right) if not _takes_blas(each))
        return copied + (_product_of_16_bits(left, right) if left.element_size() == 2 else 0)

    return rule


def _product_of_16_bits(left: torch.Tensor, right: torch.Tensor) -> int:
    """Buffers of each thread (oneDNN, src/cpu/x64/matmul/brgemm_matmul_utils.cpp).

    They are bounded, so that they matter in small models alone: an upper bound of what was seen
    with two threads, within a third of it.
    """
    rows, length = left.shape[-2:]
    threads = torch.get_num_threads()
    if left.stride(-1) == 1:
        return int(threads * (66368 + 128 * min(length, 1024)))
    if length <= 512:
        return int(min(rows * length * 2 + 100_000, threads * 410_496))
    sums = rows * right.shape[-1] * 4
    return int(min(sums + 300_000, threads * 1_393_536))


def _read_in_rows(*which: int) -> Rule:
    """The kernel wants these arguments contiguous, and copies those that are not."""

    def rule(args: Any, out: Any) -> int:
        given = (args[i] for i in which if isinstance(args[i], torch.Tensor))
        return sum(_size(each) for each in given if not each.is_contiguous())

    return rule


def _batch_norm_backward(args: Any, out: Any) -> int:
    # Where both are contiguous it makes one more tensor as large as the input
    # (aten/src/ATen/native/Normalization.cpp).
    gradient, source = args[:2]
    return _size(source) if gradient.is_contiguous() and source.is_contiguous() else 0


def _mean(args: Any, out: Any) -> int:
    # Of 16 bits it is summed in a copy of 32 (ReduceOps.cpp).
    source = args[0]
    return source.numel() * 4 if source.element_size() == 2 else 0


def _attention_backward(args: Any, out: Any) -> int:
    # The kernel reads the gradient by (batch, token, head, number), and copies another layout
    # (FlashAttentionKernel.cpp).
    gradient = args[0]
    return 0 if gradient.transpose(1, 2).is_contiguous() else _size(gradient)


def _scores(source: torch.Tensor, heads: int, masked: bool) -> int:
    """What stands beside q, k and v where all of an attention is one operator: in evaluation.

    Its products are made in place of each other (aten/src/ATen/native/transformers/attention.cpp);
    a mask has the softmax make scores of its own.
    """
    batch, tokens, _ = source.shape
    size: int = batch * heads * tokens * tokens * source.element_size()
    return 2 * size if masked else size


def _attention_at_once(args: Any, out: Any) -> int:
    source, heads = args[0], args[4]
    one, scores = _size(source), _scores(source, heads, _is_given(args, 9))
    most = max(6 * one, 3 * one + scores)  # q, k and v before their bias and after it
    returned = one
    if isinstance(out[1], torch.Tensor) and out[1].numel():
        weights = _size(out[1])
        averaged = out[1].dim() == 3
        most = max(most, scores + 5 * one, scores + 4 * one + (weights if averaged else 0))
        returned += weights
    return most - returned


def _encoder_at_once(args: Any, out: Any) -> int:
    source, heads, normed_first, wide = args[0], args[2], args[8], args[14]
    one, scores = _size(source), _scores(source, heads, _is_given(args, 18))
    inner = one // source.shape[-1] * wide.shape[0]
    most = max(6 * one, 3 * one + scores, inner + 2 * one)
    return most - _size(out) + (one if normed_first else 0)


def _is_given(args: Any, which: int) -> bool:
    return len(args) > which and args[which] is not None


def _pack(args: Any, out: Any) -> int:
    # Blocks of steps with as many sequences, shortest first; then they are put together
    # (PackedSequence.cpp).
    source, _, batch_first = args
    source = source.transpose(0, 1) if batch_first else source
    copied = step = 0
    for rows, each in groupby(running(out[1])):
        steps = len(list(each))
        block = source[step : step + steps, :rows]
        copied += 0 if block.is_contiguous() else _size(block)
        step += steps
    return copied


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
    inside = one.source + one.weight + one.result - (_size(out) if one.reorders else 0)
    if one.element == 2 and one.pointwise:
        inside += _size(source) // one.stride  # oneDNN gathers the rows of its product
    # At last the result is copied from the blocks.
    return max(inside, one.result)


def _convolution_backward(args: Any, out: Any) -> int:
    """First the gradient of the input, then that of the weight, each in blocks."""
    gradient, source, weight = args[:3]
    one = _Convolution(source, weight, gradient, args[4:])
    if one.by_blas:
        return one.columns
    to_source, to_weight = (each is not None for each in out[:2])
    results = sum(_size(each) for each in out if each is not None)
    most = 0
    if to_source:
        back = one.source
        if one.reorders and not back:  # an image is read as it is, but not its gradient
            back = _size(source) // source.shape[1] * LANES
        inside = one.result + one.weight + back + (0 if one.reorders else _size(out[0]))
        most = max(inside, back + _size(out[0]))
    if to_weight:
        before = _size(out[0]) if to_source else 0
        held = before + one.source + one.result + one.weight
        if one.element == 2:
            held += _weight_in_bf16(source, gradient, one)
        # Images in blocks are gone when the weight's gradient is copied from its own.
        copying = before if one.reorders else held - one.weight
        most = max(most, held, copying + one.weight + _size(out[1]))
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
    image = (one.source or _size(source)) // batch + one.result // batch
    if sums > image * 4:
        return int(sums + image)
    sharing = min(threads, batch)
    return int(sums * sharing + image * sharing)


def _lstm(args: Any, out: Any) -> int:
    """Weights in oneDNN's layout and the gates before they are activated (rnn_utils.cpp)."""
    source, weight, recurrent = args[:3]
    hidden = args[10]
    steps, batch, width = source.shape
    element = source.element_size()
    bias = 4 * hidden * element
    if element == 2:
        return int(_size(weight) + _size(recurrent) + bias)
    return int(_lstm_weights(width, hidden) + _lstm_gates(steps, batch, hidden) + bias)


def _lstm_weights(width: int, hidden: int) -> int:
    return (width + hidden) * row_of(4 * hidden, 4) * 4


def _lstm_gates(steps: int, batch: int, hidden: int) -> int:
    cells = 2 * -(-batch * row_of(hidden, 4) * 4 // 4096) * 4096
    return steps * batch * row_of(4 * hidden, 4) * 4 + cells + 6000


def _lstm_backward(args: Any, out: Any) -> int:
    source, weight, recurrent = args[:3]
    hidden = args[15]
    steps, batch, width = source.shape
    outer = args[10]  # the gradient of what the layer returned
    inside = 2 * batch * hidden * 4  # gradients of the last states, as zeros
    inside += _lstm_weights(width, hidden)  # gradients of the weights
    if isinstance(outer, torch.Tensor) and not outer.is_contiguous():
        inside += _size(outer)
    if source.element_size() == 2:
        # The gradient of the output in 32 bits; the weights stay of 16.
        return int(inside + steps * batch * hidden * 4 + _size(weight) + _size(recurrent))
    for columns in (width, hidden):
        row = row_of(columns, 4)
        if row != columns:  # weights whose rows are no whole cache lines are copied
            inside += 4 * hidden * row * 4
    return int(inside + _lstm_gates(steps, batch, hidden) + 2 * 4 * hidden * 4)


_RULES: dict[Any, Rule] = {
    aten.mm.default: _products(0),
    aten.bmm.default: _products(0),
    aten.addmm.default: _products(1),
    aten.baddbmm.default: _products(1),
    aten.native_batch_norm_backward.default: _batch_norm_backward,
    aten.mean.dim: _mean,
    aten.native_layer_norm.default: _read_in_rows(0),
    aten.native_layer_norm_backward.default: _read_in_rows(0, 1),
    aten.embedding_dense_backward.default: _read_in_rows(0),
    aten._scaled_dot_product_flash_attention_for_cpu_backward.default: _attention_backward,
    aten._native_multi_head_attention.default: _attention_at_once,
    aten._transformer_encoder_layer_fwd.default: _encoder_at_once,
    aten._pack_padded_sequence.default: _pack,
    aten.convolution.default: _convolution,
    aten.convolution_backward.default: _convolution_backward,
    aten.mkldnn_rnn_layer.default: _lstm,
    aten.mkldnn_rnn_layer_backward.default: _lstm_backward,
}
