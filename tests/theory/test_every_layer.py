"""The peak of a training step of every layer and loss of torch.nn, against the allocator's."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from every_layer import NOT_HERE, cases, peaks_of  # noqa: E402

from timeline.errors import BreakdownError  # noqa: E402
from timeline.theory.inside import known_here  # noqa: E402

pytestmark = pytest.mark.torch

CASES = cases()
WITH_RULES = (
    "BCELoss", "BCEWithLogitsLoss", "BCEWithLogitsLoss, none", "CTCLoss", "EmbeddingBag, max",
    "Fold, overlapping", "FractionalMaxPool3d", "GELU", "GELU, tanh", "GroupNorm",
    "LocalResponseNorm", "MSELoss", "MaxPool2d", "MultiLabelSoftMarginLoss", "PixelShuffle",
    "SmoothL1Loss", "SoftMarginLoss", "Softmax, over channels", "Unfold", "Upsample, bilinear, 2d",
    "Upsample, nearest-exact, 2d", "an image's mean", "cdist", "logsumexp",
    "logsumexp, over channels",
)  # fmt: skip
"""Those that something is told of beyond their tensors; `benchmarks/layers.py` has them all."""


def test_every_layer_of_torch_has_a_case():
    kinds = {name.partition(",")[0] for name in CASES}
    without = {
        name
        for name in torch.nn.modules.__all__
        if name not in kinds and name not in NOT_HERE and not name.startswith("Lazy")
    }
    assert not without


def test_what_asks_for_values_is_refused():
    with pytest.raises(BreakdownError, match="asks a tensor for its value"):
        peaks_of(CASES["GaussianNLLLoss"], "fp32")


@pytest.mark.skipif(not known_here(), reason="the rules are of x86 with AVX-512")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", WITH_RULES)
def test_the_peak_of_a_step_with_a_layer_is_the_allocators(name, precision):
    told, truth = peaks_of(CASES[name], precision)
    assert told == pytest.approx(truth, rel=0.01)


@pytest.mark.skipif(not known_here(), reason="the rules are of x86 with AVX-512")
@pytest.mark.parametrize(
    "name", ["Bilinear", "Conv2d", "ConvTranspose2d", "TransformerEncoderLayer"]
)
def test_so_is_that_of_products(name):
    told, truth = peaks_of(CASES[name], "fp32")
    assert told == pytest.approx(truth, rel=0.01)
