"""What torch says wrongly of tensors without memory, put right.

An operator's rule for fake tensors has to agree with its kernel in shape and dtype. Where it does
not, what the kernel returns is made here. Each was found by comparing with the kernel, and the
tests do it again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from timeline.theory import packing, shortcuts, sparse
from timeline.theory.cuda import recurrent_cells, recurrent_kernel
from timeline.theory.layers.workspace import lstm_workspace
from timeline.theory.refusing import look_at

aten = torch.ops.aten

AS_LONG_AS_WIDE = "the longest target of a CTC loss is as long as the targets are wide"


def ran(func: Any, args: Any, kwargs: Any, note: Callable[[str], object]) -> Any:
    """What an operator returns as its kernel would; to be called by a dispatch mode.

    Args:
        note: takes a sentence on what was taken for granted.

    Raises:
        MixedDtypes: its kernel takes no such dtypes together.
    """
    look_at(func, args)
    instead = _INSTEAD.get(func)
    if instead is not None:
        out = instead(args, kwargs or {}, note)
        if out is not NotImplemented:
            return out
    out = func(*args, **(kwargs or {}))
    correction = _CORRECTIONS.get(func)
    return correction(args, kwargs, out) if correction else out


def _batch_norm(args: Any, kwargs: Any, out: Any) -> Any:
    # With an input of 16 bits and weights or running statistics of 32, as under autocast, mean and
    # inverse deviation are of 32 bits (aten/src/ATen/native/Normalization.cpp); the rule says 16.
    source, weight, running = args[0], args[1], args[3]
    other = weight if weight is not None else running
    result, mean, inverse = out
    if other is None or mean.numel() == 0 or source.dtype == other.dtype:
        return out
    return result, mean.to(other.dtype), inverse.to(other.dtype)


def _row_norm(args: Any, kwargs: Any, out: Any) -> Any:
    # Mean and inverse deviation are of 32 bits where weights or biases are of another dtype than
    # the input, and else of the input's (aten/src/ATen/native/cpu/mixed_data_type.h); the rule
    # says 16 bits for the rows of a layer and 32 for groups, whatever the weights are.
    source, parameters = args[0], [each for each in args[1:4] if isinstance(each, torch.Tensor)]
    mixed = bool(parameters) and parameters[0].dtype != source.dtype
    dtype = torch.float32 if mixed else source.dtype
    result, mean, inverse = out
    return out if mean.dtype == dtype else (result, mean.to(dtype), inverse.to(dtype))


def _group_norm_backward(args: Any, kwargs: Any, out: Any) -> Any:
    # Each gradient is like its tensor (aten/src/ATen/native/group_norm.cpp); with an input of 16
    # bits and weights of 32 the rule says 32 for all.
    source, weight = args[1], args[4]
    like = (source, weight, weight)
    return tuple(
        each if each is None or of is None or each.dtype == of.dtype else each.to(of.dtype)
        for each, of in zip(out, like, strict=True)
    )


def _clone(args: Any, kwargs: Any, out: Any) -> Any:
    # The rule forgets how many entries a sparse tensor has.
    source = args[0]
    if source.layout is not torch.sparse_coo:
        return out
    return sparse.copy_of(source)


def _embedding_bag(args: Any, kwargs: Any, out: Any) -> Any:
    # The bag of each index is counted up in one number more than there are
    # (aten/src/ATen/native/EmbeddingBag.cpp, make_offset2bag_out).
    result, bags, *rest = out
    if bags.numel() == 0:
        return out
    longer = bags.new_empty(bags.numel() + 1)
    return result, longer.resize_(bags.shape), *rest


def _embedding_bag_backward(args: Any, kwargs: Any, out: Any) -> Any:
    # One row for each index, as in aten/src/ATen/native/EmbeddingBag.cpp; the rule says none.
    if out.layout is not torch.sparse_coo:
        return out
    grad, indices = args[0], args[1]
    rows = indices.numel()
    values = grad.new_empty((rows, *out.shape[1:]))
    own = sparse.has_values_of(indices, indices.new_empty((1, rows)))
    return sparse.made_of(out, own, values)


def _loss(args: Any, kwargs: Any, out: Any) -> Any:
    # Each number's loss is made where its sum then stands, which keeps the room (Loss.cpp).
    source = args[0]
    if out.dim() or source.dim() == 0:
        return out
    return out.new_empty(torch.broadcast_shapes(source.shape, args[1].shape)).resize_(())


def _folded(args: Any, kwargs: Any, out: Any) -> Any:
    # The result has the columns' size first, and keeps the room (Col2Im.cpp).
    columns = args[0]
    return (
        out if out.numel() >= columns.numel() else out.new_empty(columns.shape).resize_(out.shape)
    )


def _lstm_layer(args: Any, kwargs: Any, out: Any) -> Any:
    # The kernel keeps its gates and states for backward, in evaluation as well, unless gradients
    # are off; the rule gives an empty tensor.
    source, hidden = args[0], args[10]
    if not torch.is_grad_enabled():
        return out
    steps, batch, width = source.shape
    size = lstm_workspace(steps, batch, width, hidden, source.element_size())
    return *out[:3], torch.empty(size, dtype=torch.uint8)


def _grouped_mm(args: Any, kwargs: Any, note: Callable[[str], object]) -> Any:
    # Its rule refuses numbers of 32 bits, which the kernels take: experts in float32 meet it. Rows
    # begin at 16 bytes (aten/src/ATen/native/GroupedMMUtils.h, create_grouped_gemm_output_tensor).
    a, b = args[:2]
    if a.dtype is not torch.float32 or b.dtype is not torch.float32 or a.is_meta:
        return NotImplemented
    ends = args[2] if len(args) > 2 else kwargs.get("offs")
    groups = [len(ends)] if a.dim() == 2 and ends is not None else list(a.shape[:-2])
    groups = groups if a.dim() == b.dim() else []
    rows, columns = a.shape[-2], b.shape[-1]
    dtype = kwargs.get("out_dtype") or a.dtype
    step = 16 // dtype.itemsize
    width = -(-columns // step) * step
    strides = [rows * width] * len(groups) + [width, 1]
    return torch.empty_strided([*groups, rows, columns], strides, dtype=dtype, device=a.device)


def _ctc_loss(args: Any, kwargs: Any, note: Callable[[str], object]) -> Any:
    # Its rule asks for the longest target, which sets the width of what is kept for backward
    # (aten/src/ATen/native/LossCTC.cpp, ctc_loss_allocate_outputs).
    probabilities, targets, _, lengths = args[:4]
    if isinstance(lengths, torch.Tensor):
        if targets.dim() != 2:
            return NotImplemented
        note(AS_LONG_AS_WIDE)
        longest = targets.shape[1]
    else:
        longest = max(lengths, default=0)
    steps, batch = probabilities.shape[:2]
    kept = probabilities.new_empty((batch, steps, 2 * longest + 1))
    return probabilities.new_empty(batch), kept


_INSTEAD = {
    **packing.INSTEAD,
    **shortcuts.INSTEAD,
    **sparse.INSTEAD,
    **recurrent_kernel.INSTEAD,
    **recurrent_cells.INSTEAD,
}
_INSTEAD[aten._ctc_loss.default] = _INSTEAD[aten._ctc_loss.Tensor] = _ctc_loss
if hasattr(aten, "_grouped_mm"):  # since torch 2.5
    _INSTEAD[aten._grouped_mm.default] = _grouped_mm


def _lstm_layer_backward(args: Any, kwargs: Any, out: Any) -> Any:
    # Both biases of a layer get one gradient (aten/src/ATen/native/mkldnn/RNN.cpp, diff_b). So they
    # do by the rule, but not where the mode of fake tensors answers from its cache, which makes
    # each result anew: the first step of a program had one and the second two.
    return (*out[:4], out[3], *out[5:])


_CORRECTIONS: dict[Any, Callable[[Any, Any, Any], Any]] = {
    aten.mse_loss.default: _loss,
    aten.smooth_l1_loss.default: _loss,
    aten.soft_margin_loss.default: _loss,
    aten.binary_cross_entropy.default: _loss,
    aten.col2im.default: _folded,
    aten.native_batch_norm.default: _batch_norm,
    aten.native_layer_norm.default: _row_norm,
    aten.native_group_norm.default: _row_norm,
    aten.native_group_norm_backward.default: _group_norm_backward,
    aten.clone.default: _clone,
    aten._embedding_bag.default: _embedding_bag,
    aten._embedding_bag_backward.default: _embedding_bag_backward,
    aten.mkldnn_rnn_layer.default: _lstm_layer,
    aten.mkldnn_rnn_layer_backward.default: _lstm_layer_backward,
    **packing.CORRECTIONS,
}
