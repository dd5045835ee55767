"""Batch normalisation: cuDNN's reserve space."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from timeline.theory.cuda.rules import Call, Effect, Kept, group
from timeline.theory.tape import Amount

aten = torch.ops.aten

GROUP = group(
    "cudnn-batch-norm",
    "aten/src/ATen/native/cudnn/BatchNorm.cpp asks cudnnGetBatchNormalizationTrainingExReserve"
    "SpaceSize, which is 0 without a fused activation",
)


@GROUP.rule(aten.native_batch_norm.default)
def _batch_norm(call: Call) -> Iterable[Effect]:
    train = call.args[5]
    if train:
        # An empty tensor takes no block.
        yield Kept(Amount(0, 0, 512), "reserve space of cuDNN's batch norm", call.out[1])
