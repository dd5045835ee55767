"""Recurrent layers: what cuDNN keeps for backward is said not to be known."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from timeline.theory.cuda.rules import Call, Effect, group

aten = torch.ops.aten

GROUP = group(
    "recurrent",
    "aten/src/ATen/native/cudnn/RNN.cpp: cudnnGetRNNTempSpaceSizes, whose sizes are not public",
)


@GROUP.rule(aten.mkldnn_rnn_layer.default)
def _lstm(call: Call) -> Iterable[Effect]:
    yield (
        "the reserve space of cuDNN's recurrent layers: in its place stands what oneDNN's keep, "
        "which is of the same order"
    )
