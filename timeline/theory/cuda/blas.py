"""cuBLAS and cublasLt: the workspaces that torch gives them, from its own allocator."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from timeline.theory.cuda.rules import Call, Effect, Once, Platform, Scratch, group
from timeline.theory.tape import Amount
from timeline.units import KiB, MiB

aten = torch.ops.aten

GROUP = group(
    "cublas-workspace",
    "aten/src/ATen/cuda/CublasHandlePool.cpp: :4096:2:16:8, and :4096:8 from Hopper on, one for "
    "each handle and stream",
    "cuBLAS has its default workspaces, one for forward and one for autograd's thread",
)


def workspace(platform: Platform) -> int:
    """Bytes of one workspace of cuBLAS."""
    if platform.card.capability[0] == 9:
        return 8 * 4096 * KiB
    return 2 * 4096 * KiB + 8 * 16 * KiB


def lt_workspace(platform: Platform) -> int:
    """Bytes that a product with a bias takes for cublasLt; 0 where it shares cuBLAS' own.

    Until 2.6 of torch 1 MiB, 32 MiB on Hopper (aten/src/ATen/cuda/CUDABlas.cpp,
    ``_getWorkspaceSize``), from 2.7 on the handle's.
    """
    if platform.torch >= (2, 7):
        return 0
    return 32 * MiB if platform.card.capability[0] == 9 else 1 * MiB


def handle(call: Call) -> Iterable[Effect]:
    """The workspace of the thread's handle, at its first use."""
    if call.platform.workspaces:
        thread = "backward" if call.backward else "forward"
        yield Once(
            f"cublas {thread}",
            Amount.exactly(workspace(call.platform)),
            "workspace of cuBLAS",
        )


@GROUP.rule(aten.mm.default, aten.bmm.default, aten.baddbmm.default, aten.addbmm.default)
def _product(call: Call) -> Iterable[Effect]:
    yield from handle(call)


@GROUP.rule(aten.addmm.default)
def _product_and_bias(call: Call) -> Iterable[Effect]:
    yield from handle(call)
    bias, first, second = call.args[:3]
    fused = bias.dim() == 1 and first.shape[0] > 1 and first.shape[1] > 1
    fused = fused and second.shape[0] > 1 and second.shape[1] > 1
    size = lt_workspace(call.platform)
    if fused and size:
        yield Scratch(Amount.exactly(size), "workspace of cublasLt")
