"""A training step of every layer and loss of torch.nn: what the tests and benchmarks go through."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from oracles import most_allocated
from torch import nn

import timeline

ROWS = (1024, 320)
LINES = (8, 16, 2560)
IMAGES = (8, 16, 48, 56)
VOLUMES = (4, 16, 12, 20, 24)
STEPS = (64, 8, 160)


@dataclass(frozen=True)
class Case:
    """A layer, the shapes of what it is called with, and what is not numbers of the model.

    Attributes:
        make: the layer.
        given: shapes of what comes from layers before it, each of 1 MiB and more.
        more: what it is called with besides, such as a loss's targets.
        before: whether what is besides comes first.
    """

    make: Callable[[], nn.Module]
    given: tuple[tuple[int, ...], ...]
    more: Callable[[], list[Any]] = list
    before: bool = False


class Behind(nn.Module):
    """A layer behind numbers that are trained: of 16 bits under autocast, as layers give them."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.layer = case.make()
        self.before = case.before
        self.scales = nn.ParameterList(torch.ones(shape[-1]) for shape in case.given)

    def forward(self, *args: Any) -> Any:
        given = []
        for x, scale in zip(args, self.scales, strict=False):
            y = x * scale
            given.append(y.bfloat16() if torch.is_autocast_enabled("cpu") else y)
        more = args[len(self.scales) :]
        both = (*more, *given) if self.before else (*given, *more)
        return self.layer(*both)


NOT_HERE = {
    "Container", "Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList",
    "Sequential", "RNNBase", "RNNCellBase", "LinearCrossEntropyOptions",  # of no computation
    "NLLLoss2d",  # NLLLoss by another name
    "SyncBatchNorm",  # in training it needs a group of processes with GPUs
}  # fmt: skip
"""Of torch.nn.modules what has no case; of the lazy ones each becomes another when first called."""


def peaks_of(case: Case, precision: str) -> tuple[int, int]:
    """The peak of a training step with SGD by `timeline.breakdown`, and by torch's allocator.

    Raises:
        RuntimeError: torch itself refuses this precision.
    """

    def autocast() -> AbstractContextManager[Any]:
        bf16 = precision == "bf16"
        return torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else nullcontext()

    torch.manual_seed(0)
    model, inputs = Behind(case), inputs_of(case)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5)

    def step() -> None:
        optimizer.zero_grad()
        with autocast():
            out = model(*inputs)
            loss = loss_of(out)
        loss.backward()
        optimizer.step()

    step()
    optimizer.zero_grad()
    given = (each for each in inputs if isinstance(each, torch.Tensor))
    standing = {
        each.untyped_storage()._cdata: each.untyped_storage().nbytes()
        for each in (*model.parameters(), *model.buffers(), *given)
    }
    truth = sum(standing.values()) + most_allocated(step)
    told = timeline.breakdown(
        lambda: Behind(case), "sgd,lr=0.00001", inputs, precision=precision, loss=loss_of
    )
    return told.peak.bytes, truth


def inputs_of(case: Case) -> list[Any]:
    """What a model of the case is called with."""
    return [*(torch.rand(shape) for shape in case.given), *case.more()]


def loss_of(out: Any) -> torch.Tensor:
    """One number of whatever a layer returns."""
    if isinstance(out, torch.Tensor):
        return out.float().sum() if out.element_size() == 2 else out.sum()
    return loss_of(next(each for each in _tensors(out) if each.requires_grad))


def _tensors(out: Any) -> Any:
    if isinstance(out, torch.Tensor):
        yield out
    elif isinstance(out, tuple | list):
        for each in out:
            yield from _tensors(each)


def _whole(most: int, *shape: int) -> Callable[[], list[Any]]:
    return lambda: [torch.randint(most, shape)]


def _like(*shape: int) -> Callable[[], list[Any]]:
    return lambda: [torch.rand(shape)]


def _signs(*shape: int) -> Callable[[], list[Any]]:
    return lambda: [torch.randint(2, shape).float() * 2 - 1]


class Calls(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *given: torch.Tensor) -> Any:
        return self.function(*given)


class Unpool(nn.Module):
    """Pools for the places that are filled again."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.pool = getattr(nn, f"MaxPool{dims}d")(2, return_indices=True)
        self.back = getattr(nn, f"MaxUnpool{dims}d")(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.back(*self.pool(x))


class Shares(nn.Module):
    """A loss of shares, whatever it is called with."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return self.loss(x.sigmoid().float(), target)


def cases() -> dict[str, Case]:
    """By name; a layer in several ways has them behind its name."""
    by: dict[str, Case] = {}

    def of_shapes(name: str, *args: Any, **kwargs: Any) -> None:
        for dims, shape in ((1, LINES), (2, IMAGES), (3, VOLUMES)):
            kind = getattr(nn, f"{name}{dims}d", None)
            if kind is not None:
                by[f"{name}{dims}d"] = Case(lambda k=kind: k(*args, **kwargs), (shape,))

    for name in (
        "ELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "LogSigmoid",
        "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softplus", "CELU",
        "Softshrink", "Softsign", "Tanh", "Tanhshrink", "GELU", "Identity", "Flatten", "GLU",
        "Dropout", "AlphaDropout", "FeatureAlphaDropout",
    ):  # fmt: skip
        by[name] = Case(getattr(nn, name), (ROWS,))
    by["GELU, tanh"] = Case(lambda: nn.GELU(approximate="tanh"), (ROWS,))
    by["GELU, tanh, images"] = Case(lambda: nn.GELU(approximate="tanh"), (IMAGES,))
    by["Threshold"] = Case(lambda: nn.Threshold(0.1, 20), (ROWS,))
    for name in ("Softmax", "Softmin", "LogSoftmax"):
        by[name] = Case(lambda k=name: getattr(nn, k)(-1), (ROWS,))
        by[f"{name}, over channels"] = Case(lambda k=name: getattr(nn, k)(1), (IMAGES,))
    by["Softmax2d"] = Case(nn.Softmax2d, (IMAGES,))
    by["Unflatten"] = Case(lambda: nn.Unflatten(1, (4, 80)), (ROWS,))

    of_shapes("Dropout")
    of_shapes("AvgPool", 2)
    of_shapes("MaxPool", 2)
    of_shapes("LPPool", 2, 2)
    of_shapes("AdaptiveAvgPool", 6)
    of_shapes("AdaptiveMaxPool", 6)
    of_shapes("FractionalMaxPool", 2, output_ratio=0.5)
    of_shapes("BatchNorm", 16)
    of_shapes("InstanceNorm", 16)
    of_shapes("Conv", 16, 32, 3)
    of_shapes("ConvTranspose", 16, 16, 2, 2)
    for name in ("CircularPad", "ReflectionPad", "ReplicationPad", "ZeroPad"):
        of_shapes(name, 2)
    of_shapes("ConstantPad", 2, 1.5)
    for dims, shape in ((1, LINES), (2, IMAGES), (3, VOLUMES)):
        by[f"MaxUnpool{dims}d"] = Case(lambda d=dims: Unpool(d), (shape,))
    by["SyncBatchNorm, in evaluation"] = Case(lambda: nn.SyncBatchNorm(16).eval(), (IMAGES,))
    by["GroupNorm"] = Case(lambda: nn.GroupNorm(4, 16), (IMAGES,))
    by["LayerNorm"] = Case(lambda: nn.LayerNorm(320), (ROWS,))
    by["RMSNorm"] = Case(lambda: nn.RMSNorm(320), (ROWS,))
    by["LocalResponseNorm"] = Case(lambda: nn.LocalResponseNorm(3), (IMAGES,))
    by["CrossMapLRN2d"] = Case(lambda: nn.CrossMapLRN2d(3), (IMAGES,))
    by["ChannelShuffle"] = Case(lambda: nn.ChannelShuffle(4), (IMAGES,))
    by["PixelShuffle"] = Case(lambda: nn.PixelShuffle(2), (IMAGES,))
    by["PixelUnshuffle"] = Case(lambda: nn.PixelUnshuffle(2), (IMAGES,))
    by["Unfold"] = Case(lambda: nn.Unfold(3), (IMAGES,))
    by["Fold"] = Case(lambda: nn.Fold((32, 32), 2, stride=2), ((8, 256, 256),))
    by["Fold, overlapping"] = Case(lambda: nn.Fold((32, 32), 3, padding=1), ((8, 72, 1024),))
    for mode, shape in (
        ("nearest", LINES), ("linear", LINES), ("nearest", IMAGES), ("bilinear", IMAGES),
        ("bicubic", IMAGES), ("nearest", VOLUMES), ("trilinear", VOLUMES),
        ("nearest-exact", IMAGES),
    ):  # fmt: skip
        by[f"Upsample, {mode}, {len(shape) - 2}d"] = Case(
            lambda m=mode: nn.Upsample(scale_factor=2, mode=m), (shape,)
        )
    by["Upsample, bilinear, large"] = Case(
        lambda: nn.Upsample(scale_factor=2, mode="bilinear"), ((2, 3, 128, 160),)
    )
    by["UpsamplingNearest2d"] = Case(lambda: nn.UpsamplingNearest2d(scale_factor=2), (IMAGES,))
    by["UpsamplingBilinear2d"] = Case(lambda: nn.UpsamplingBilinear2d(scale_factor=2), (IMAGES,))

    by["Linear"] = Case(lambda: nn.Linear(320, 400), (ROWS,))
    by["Bilinear"] = Case(lambda: nn.Bilinear(32, 24, 20), ((8192, 32), (8192, 24)))
    by["cdist"] = Case(lambda: Calls(torch.cdist), ((700, 512), (900, 512)))
    by["cdist, of ones"] = Case(
        lambda: Calls(lambda x, y: torch.cdist(x, y, p=1.0)), ((700, 512), (900, 512))
    )
    by["logsumexp"] = Case(lambda: Calls(lambda x: x.logsumexp(-1)), (ROWS,))
    by["logsumexp, over channels"] = Case(lambda: Calls(lambda x: x.logsumexp(1)), (IMAGES,))
    by["an image's mean"] = Case(lambda: Calls(lambda x: x.mean((2, 3))), (IMAGES,))
    by["Embedding"] = Case(lambda: nn.Embedding(3000, 64), (), _whole(3000, 64, 100))
    by["Embedding, sparse"] = Case(
        lambda: nn.Embedding(3000, 64, sparse=True), (), _whole(3000, 64, 100)
    )
    for mode in ("mean", "sum", "max"):
        by[f"EmbeddingBag, {mode}"] = Case(
            lambda m=mode: nn.EmbeddingBag(3000, 64, mode=m), (), _whole(3000, 640, 10)
        )
    for name in ("RNN", "GRU", "LSTM"):
        kind = getattr(nn, name)
        by[name] = Case(lambda k=kind: k(160, 128), (STEPS,))
        by[f"{name}, two ways, two layers"] = Case(
            lambda k=kind: k(160, 64, 2, bidirectional=True, batch_first=True), (STEPS,)
        )
        cell = getattr(nn, f"{name}Cell")
        by[f"{name}Cell"] = Case(lambda k=cell: k(320, 256), (ROWS,))
    wide = (8, 128, 256)
    by["MultiheadAttention"] = Case(
        lambda: nn.MultiheadAttention(256, 4, batch_first=True), (wide,) * 3
    )
    by["TransformerEncoderLayer"] = Case(
        lambda: nn.TransformerEncoderLayer(256, 4, 512, batch_first=True), (wide,)
    )
    by["TransformerEncoderLayer, GELU, norm first"] = Case(
        lambda: nn.TransformerEncoderLayer(
            256, 4, 512, batch_first=True, activation="gelu", norm_first=True, dropout=0
        ),
        (wide,),
    )
    by["TransformerDecoderLayer"] = Case(
        lambda: nn.TransformerDecoderLayer(256, 4, 512, batch_first=True), (wide, wide)
    )
    by["TransformerEncoder"] = Case(
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(256, 4, 512), 2), (wide,)
    )
    by["TransformerDecoder"] = Case(
        lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(256, 4, 512), 2), (wide, wide)
    )
    by["Transformer"] = Case(
        lambda: nn.Transformer(256, 4, 1, 1, 512, batch_first=True), (wide, wide)
    )
    by["CosineSimilarity"] = Case(nn.CosineSimilarity, (ROWS, ROWS))
    by["PairwiseDistance"] = Case(nn.PairwiseDistance, (ROWS, ROWS))

    for name in ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "BCEWithLogitsLoss",
                 "KLDivLoss", "PoissonNLLLoss"):  # fmt: skip
        by[name] = Case(getattr(nn, name), (ROWS,), _like(*ROWS))
        by[f"{name}, none"] = Case(
            lambda k=name: getattr(nn, k)(reduction="none"), (ROWS,), _like(*ROWS)
        )
    by["BCELoss"] = Case(lambda: Shares(nn.BCELoss()), (ROWS,), _like(*ROWS))
    by["GaussianNLLLoss"] = Case(nn.GaussianNLLLoss, (ROWS,), lambda: [torch.rand(ROWS)] * 2)
    by["SoftMarginLoss"] = Case(nn.SoftMarginLoss, (ROWS,), _signs(*ROWS))
    by["HingeEmbeddingLoss"] = Case(nn.HingeEmbeddingLoss, (ROWS,), _signs(*ROWS))
    by["MarginRankingLoss"] = Case(nn.MarginRankingLoss, (ROWS, ROWS), _signs(*ROWS))
    by["CosineEmbeddingLoss"] = Case(nn.CosineEmbeddingLoss, (ROWS, ROWS), _signs(ROWS[0]))
    by["TripletMarginLoss"] = Case(nn.TripletMarginLoss, (ROWS,) * 3)
    by["TripletMarginWithDistanceLoss"] = Case(nn.TripletMarginWithDistanceLoss, (ROWS,) * 3)
    by["MultiLabelMarginLoss"] = Case(nn.MultiLabelMarginLoss, (ROWS,), _whole(320, *ROWS))
    by["MultiLabelSoftMarginLoss"] = Case(nn.MultiLabelSoftMarginLoss, (ROWS,), _like(*ROWS))
    by["MultiMarginLoss"] = Case(nn.MultiMarginLoss, (ROWS,), _whole(320, ROWS[0]))
    by["NLLLoss"] = Case(nn.NLLLoss, (ROWS,), _whole(320, ROWS[0]))
    by["NLLLoss, images"] = Case(nn.NLLLoss, (IMAGES,), _whole(16, 8, 48, 56))
    by["CrossEntropyLoss"] = Case(nn.CrossEntropyLoss, (ROWS,), _whole(320, ROWS[0]))
    by["CrossEntropyLoss, smoothed"] = Case(
        lambda: nn.CrossEntropyLoss(label_smoothing=0.1), (ROWS,), _whole(320, ROWS[0])
    )
    by["CrossEntropyLoss, shares"] = Case(nn.CrossEntropyLoss, (ROWS,), _like(*ROWS))
    by["CrossEntropyLoss, images"] = Case(nn.CrossEntropyLoss, (IMAGES,), _whole(16, 8, 48, 56))
    by["CTCLoss"] = Case(
        nn.CTCLoss,
        ((64, 32, 160),),
        lambda: [
            torch.randint(1, 160, (32, 20)),
            torch.full((32,), 64),
            torch.full((32,), 20),
        ],
    )
    by["AdaptiveLogSoftmaxWithLoss"] = Case(
        lambda: nn.AdaptiveLogSoftmaxWithLoss(320, 2000, [200, 800]),
        (ROWS,),
        _whole(2000, ROWS[0]),
    )
    by["LinearCrossEntropyLoss"] = Case(
        lambda: nn.LinearCrossEntropyLoss(320, 2000), (ROWS,), _whole(2000, ROWS[0])
    )
    return by
