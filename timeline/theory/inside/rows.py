"""Kernels that read an argument in the order in which its numbers lie, and copy any other.

A gradient seldom lies so where a model ends: that of a sum is one number seen many times. Each
kernel of the CPU was given one, and stands here if it made a copy.
"""

from __future__ import annotations

from typing import Any

import torch

from timeline.theory.inside.sizes import Rule, is_given, lies_in_order, size_of

aten = torch.ops.aten


def read_in_rows(*which: int) -> Rule:
    """The kernel wants these arguments contiguous, and copies those that are not."""

    def rule(args: Any, out: Any) -> int:
        given = (args[i] for i in which if is_given(args, i))
        return sum(size_of(each) for each in given if not each.is_contiguous())

    return rule


def read_in_order(args: Any, out: Any) -> int:
    """The kernel takes its first argument by rows or with the channels last."""
    return 0 if lies_in_order(args[0]) else size_of(args[0])


def _gelu_backward(args: Any, out: Any) -> int:
    # oneDNN has the exact one alone, and reads rows (Activation.cpp, use_mkldnn in
    # gelu_backward_out_cpu); the other is computed number by number.
    return read_in_rows(0, 1)(args, out) if not is_given(args, 2) or args[2] == "none" else 0


def _upsample(args: Any, out: Any) -> int:
    # Small images go by a kernel that has the channels last (UpSampleKernel.cpp,
    # _use_vectorized_kernel_cond_2d), and are copied there and back.
    if sum(out.shape[-2:]) > 128:
        return 0
    last = torch.channels_last
    return sum(
        size_of(each) for each in (args[0], out) if not each.is_contiguous(memory_format=last)
    )


def _unfold(args: Any, out: Any) -> int:
    # The result has the input's size first, and is made anew where it is larger (Im2Col.cpp).
    source = args[0]
    copied = 0 if source.is_contiguous() else size_of(source)
    return copied + (size_of(source) if size_of(out) > size_of(source) else 0)


def _bag(args: Any, out: Any) -> int:
    return size_of(out[1])  # the bag of each index, counted in a copy


def _bag_backward(args: Any, out: Any) -> int:
    # Indices are sorted with their places (EmbeddingBag.cpp, _embedding_bag_dense_backward_cpu).
    gradient, indices, _, bags = args[:4]
    copied = 0 if gradient.is_contiguous() else size_of(gradient)
    if args[8] == 2:  # of bags' largest numbers: rows of bags that are not empty are copied
        return copied + size_of(args[4]) + size_of(args[5]) + size_of(gradient)
    if out.layout is torch.sparse_coo:
        return copied
    return copied + (3 if bags.numel() else 4) * size_of(indices)


def _loss(times: int, one_by_one: int = 0) -> Rule:
    """What is summed to a loss stands first, number by number (Loss.cpp)."""

    def rule(args: Any, out: Any) -> int:
        return (times if out.dim() == 0 else one_by_one) * size_of(args[0])

    return rule


_IN_ORDER = (
    "upsample_nearest1d_backward", "upsample_nearest2d_backward", "upsample_nearest3d_backward",
    "upsample_linear1d_backward", "upsample_bilinear2d_backward", "upsample_bicubic2d_backward",
    "upsample_trilinear3d_backward", "_upsample_nearest_exact1d_backward",
    "_upsample_nearest_exact2d_backward", "_upsample_nearest_exact3d_backward",
    "max_pool2d_with_indices_backward", "avg_pool2d_backward", "max_pool3d_with_indices_backward",
    "avg_pool3d_backward", "fractional_max_pool2d_backward", "fractional_max_pool3d_backward",
    "native_group_norm_backward", "reflection_pad1d_backward", "reflection_pad2d_backward",
    "reflection_pad3d_backward", "replication_pad1d_backward", "replication_pad2d_backward",
    "replication_pad3d_backward", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle",
)  # fmt: skip

RULES: dict[Any, Rule] = {
    **{getattr(aten, name).default: read_in_order for name in _IN_ORDER if hasattr(aten, name)},
    aten.native_layer_norm.default: read_in_rows(0),
    aten.native_layer_norm_backward.default: read_in_rows(0, 1),
    aten.embedding_dense_backward.default: read_in_rows(0),
    aten._softmax_backward_data.default: read_in_rows(0, 1),
    aten._log_softmax_backward_data.default: read_in_rows(0, 1),
    aten.gelu_backward.default: _gelu_backward,
    aten.grid_sampler_2d_backward.default: read_in_rows(0),
    aten.col2im.default: read_in_rows(0),
    aten.im2col.default: _unfold,
    aten._embedding_bag.default: _bag,
    aten._embedding_bag_backward.default: _bag_backward,
    aten.upsample_nearest2d.default: _upsample,
    aten._upsample_nearest_exact2d.default: _upsample,
    aten.upsample_bilinear2d.default: _upsample,
    aten.mse_loss.default: _loss(1),
    aten.smooth_l1_loss.default: _loss(1),
    aten.huber_loss.default: _loss(1),
    aten.binary_cross_entropy_with_logits.default: _loss(2, 1),
}
