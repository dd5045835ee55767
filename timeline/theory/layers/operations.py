"""What autograd saves of single operators: of those that no layer with a formula stands for.

Each line is what torch's tools/autograd/derivatives.yaml says of the operator, together with the
rule of gen_variable_type.py (``guard_for``): an argument that only one other's derivative needs is
saved if that one requires a gradient; what is needed for several, or for all at once, always is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

RESULT = -1
"""In `KEPT`, the first result; ``~n`` is the result n."""

KEPT: dict[str, tuple[tuple[int, int | None], ...]] = {
    # Two factors: each is needed for the other's gradient.
    **dict.fromkeys(("mul", "mm", "bmm"), ((0, 1), (1, 0))),
    **dict.fromkeys(("addmm", "baddbmm"), ((1, 2), (2, 1))),
    "div": ((0, 1), (1, None)),
    # The derivative is written in the argument.
    **dict.fromkeys(
        (
            "abs", "avg_pool2d", "_adaptive_avg_pool2d", "celu", "clamp", "clamp_min", "cos", "elu",
            "erf", "gelu", "glu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "log",
            "log1p", "log_sigmoid", "mish", "pow", "reflection_pad1d", "reflection_pad2d",
            "reflection_pad3d", "replication_pad1d", "replication_pad2d", "replication_pad3d",
            "silu", "sin", "softplus",
        ),
        ((0, None),),
    ),
    # The derivative is written in the result.
    **dict.fromkeys(
        ("exp", "_log_softmax", "_safe_softmax", "reciprocal", "relu", "rsqrt", "sigmoid",
         "_softmax", "sqrt", "tanh"),
        ((RESULT, None),),
    ),
    # Products with parameters: one formula gives all gradients.
    "convolution": ((0, None), (1, None)),
    # Normalisations: x, mean and inverse deviation; and weights and running statistics, which are
    # other storages than the layer's where they were repeated or cast on the way.
    "native_batch_norm": (
        (0, None), (1, None), (3, None), (4, None), (~1, None), (~2, None),
    ),
    "native_group_norm": ((0, None), (1, None), (~1, None), (~2, None)),
    "native_layer_norm": ((0, None), (2, None), (3, None), (~1, None), (~2, None)),
    # x, four weights, the states before; what comes out, the states after, and the workspace.
    "mkldnn_rnn_layer": (
        *((which, None) for which in range(7)), (~0, None), (~1, None), (~2, None), (~3, None),
    ),
    "linalg_vector_norm": ((0, None), (RESULT, None)),
    # Where to put gradients.
    "embedding": ((1, None),),
    "gather": ((0, None), (2, None)),
    "index": ((1, None),),
    "index_select": ((2, None),),
    "masked_fill": ((1, None),),
    "max_pool2d_with_indices": ((0, None), (~1, None)),
    "where": ((0, None),),
    "_pack_padded_sequence": ((~1, None),),
    # q, k, v, the result, the logarithm of the sums; the mask is a keyword.
    "_scaled_dot_product_flash_attention_for_cpu": (
        (0, None), (1, None), (2, None), (RESULT, None), (~1, None),
    ),
}  # fmt: skip
"""By operator, what is saved, and the argument that must require a gradient for it (None: any)."""

NOTHING = frozenset(
    (
        "_reshape_alias", "_to_copy", "_unsafe_view", "add", "alias", "as_strided", "cat",
        "clone", "constant_pad_nd", "contiguous", "copy", "cumsum", "detach", "empty_like",
        "expand", "fill", "flip", "lift_fresh", "mean", "narrow", "neg", "new_empty",
        "new_full", "new_ones", "new_zeros", "ones_like", "permute", "pixel_shuffle", "repeat",
        "reshape", "roll", "rsub", "select", "slice", "split", "split_with_sizes", "squeeze",
        "stack", "sub", "sum", "t", "transpose", "tril", "triu", "unbind", "unfold", "unsafe_chunk",
        "unsafe_split", "unsafe_split_with_sizes", "unsqueeze", "upsample_bicubic2d",
        "upsample_bilinear2d", "upsample_nearest2d", "view", "view_as", "zero", "zeros_like",
    )
)  # fmt: skip
"""Their derivatives need sizes alone."""

_IN_PLACE_BY_RESULT = ("leaky_relu_", "elu_")
"""In place their derivatives are written in the result (derivatives.yaml)."""


def name_of(func: Any) -> str:
    """Of an operator, such as ``mul_`` of ``aten.mul_.Tensor``."""
    return str(func.overloadpacket.__name__)


def known(func: Any) -> bool:
    """Whether it is said here what an operator saves."""
    name = name_of(func).removesuffix("_")
    return func.namespace == "aten" and (name in KEPT or name in NOTHING)


def kept(func: Any, args: Any, out: Any) -> Iterator[tuple[Any, bool]]:
    """What a known operator saves, and whether it is a copy of that which is saved.

    Yields:
        A tensor, or a list of them, and True where the operator writes over it.
    """
    name = name_of(func)
    results = out if isinstance(out, (tuple, list)) else (out,)
    for which, needed in KEPT.get(name.removesuffix("_"), ()):
        if needed is not None and not _requires(args, needed):
            continue
        if which < 0:
            yield results[~which], False
        elif which < len(args):
            overwritten = which == 0 and name.endswith("_")
            if overwritten and name in _IN_PLACE_BY_RESULT:
                overwritten = False
            yield args[which], overwritten


def _requires(args: Any, which: int) -> bool:
    given = args[which] if which < len(args) else None
    return isinstance(given, torch.Tensor) and given.requires_grad
