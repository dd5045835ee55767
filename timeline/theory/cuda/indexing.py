"""Sorts, reductions and the backward of embeddings: what their kernels take on the way."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from timeline.theory.cuda.rules import Call, Effect, Scratch, group
from timeline.theory.tape import Amount

aten = torch.ops.aten

GROUP = group(
    "sorted-indices",
    "aten/src/ATen/native/cuda/Embedding.cu, EmbeddingBackwardKernel.cu, Indexing.cu: indices are "
    "sorted with cub, rows summed in parts of 10",
)

_UNSORTED = 3072
_ROWS = 10
_WARP = 32


@GROUP.rule(aten.embedding_dense_backward.default)
def _embedding(call: Call) -> Iterable[Effect]:
    grad, indices, weights = call.args[:3]
    padding = call.args[3] if len(call.args) > 3 else call.kwargs.get("padding_idx", -1)
    by_frequency = call.args[4] if len(call.args) > 4 else False
    count, width = indices.numel(), grad.shape[-1]
    if count <= _UNSORTED and not by_frequency:
        return  # a kernel that needs no sorting
    del padding
    eight = 8 * count
    # Sorted and original indices, and cub's own double buffer.
    parts = -(-count // _ROWS) + min(count, int(weights))
    wide = -(-width // _WARP) * _WARP * parts * 4
    yield Scratch(Amount(5 * eight, 5 * eight + wide, 6 * eight + wide), "parts of rows, sorted")
