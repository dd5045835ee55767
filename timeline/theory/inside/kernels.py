"""What single kernels of oneDNN hold for a convolution, by the sizes that it is given.

``ONEDNN_VERBOSE=1`` says which kernel runs; sizes were found by listing what it asks for.
"""

from __future__ import annotations

from math import prod

import torch

from timeline.theory.inside.sizes import size_of

LANES = 16
"""oneDNN keeps channels in blocks of 16 (nChw16c), and fills up the last one."""

_MANY = 1 << 19
"""Weights from which on threads share the channels of small images, and not the images."""

_SMALL = 64
"""Places of a small image."""

_STRIDED = 60_000
"""Bytes that a kernel with a stride has for itself, at least."""

_SHARED = 256
"""Places of an image for each thread from which on threads share one."""

SLACK = 128
"""What each buffer may be moved by, to begin at a whole cache line."""


def blocks(channels: int, lanes: int = LANES) -> int:
    """Channels with the last block filled up."""
    return -(-channels // lanes) * lanes


def sums_of(channels: int, outputs: int, places: int) -> int:
    """Bytes of each thread's sums in 32 bits for one image, as it is a product of bfloat16.

    jit_avx512_core_bf16_1x1_conv_kernel.cpp in oneDNN (src/cpu/x64), init_scratchpad.
    """
    shared = 1
    if places <= _SMALL and blocks(channels) * blocks(outputs) >= _MANY:
        threads = torch.get_num_threads()
        shared = -(-threads // -(-threads // 4))
    return places * blocks(-(-blocks(outputs) // shared)) * 4


def strided_back(gradient: torch.Tensor, weight: torch.Tensor, returned: torch.Tensor) -> int:
    """With a stride images' gradients are made with the channels last, and copied twice at the end.

    The kernel is brgconv_strided (jit_brgemm_conv_bwd_strided.cpp in src/cpu/x64); of its own
    scratch, which grows with the kernel, the least is counted that was seen. Where each channel
    has a kernel of its own, and numbers are of 16 bits, it fills a block with each weight.
    """
    outputs, own, *kernel = weight.shape
    if own == 1 and outputs > 1 and returned.shape[1] == outputs:
        filled = outputs * prod(kernel) * 2 * LANES * weight.element_size()
    else:
        filled = outputs * blocks(own) * prod(kernel) * weight.element_size()
    inside: int = size_of(gradient) + filled + size_of(returned) + _STRIDED
    return max(inside, 3 * size_of(returned))


def unfolded(
    source: torch.Tensor, gradient: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> int:
    """The gradient of weights as a product with unfolded images, and its sums in 32 bits.

    gemm_convolution_utils.cpp in oneDNN (src/cpu), init_conf. Small images are unfolded by each
    thread, large ones by one; room for sums is booked by the bytes of weights, four each.
    """
    element: int = source.element_size()
    own, taps = weight.shape[1], prod(weight.shape[2:])
    places, alone = prod(gradient.shape[-2:]), source.shape[0] == 1 and source.shape[1] // own < 3
    threads = torch.get_num_threads()
    threads = threads if places // threads < _SHARED and not alone else 1
    buffers = [
        threads * own * taps * places * element,
        threads * size_of(weight) * 4,
    ]
    if element == 2:
        buffers.append(size_of(weight) * 4)
        if bias is not None:
            buffers.append(bias.numel() * 4)
    return sum(each + SLACK for each in buffers)
