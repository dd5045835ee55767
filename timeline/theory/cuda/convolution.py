"""cuDNN's convolutions: the workspaces of the kernels that its heuristics choose."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from timeline.theory.cuda.rules import Call, Effect, group

aten = torch.ops.aten

GROUP = group(
    "cudnn-convolution",
    "aten/src/ATen/native/cudnn/Conv_v8.cpp",
)


@GROUP.rule(aten.convolution.default)
def _forward(call: Call) -> Iterable[Effect]:
    return ()
