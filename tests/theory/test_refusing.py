"""Mixed dtypes: what torch's kernels refuse is refused, and nothing else."""

from __future__ import annotations

import itertools

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import timeline  # noqa: E402
from timeline.errors import BreakdownError  # noqa: E402

pytestmark = pytest.mark.torch

OF_MODEL = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
OF_INPUT = (*OF_MODEL, torch.int64)


class Inside(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        out = (
            self.layer(x, x, x) if isinstance(self.layer, nn.MultiheadAttention) else self.layer(x)
        )
        return out if isinstance(out, torch.Tensor) else out[0]


class Written(nn.Module):
    """Products that no layer stands for."""

    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.ones(8))
        self.two = nn.Parameter(torch.ones(2, 8, 3))

    def forward(self, x):
        return torch.bmm(x, self.two).sum() + (x[0] @ self.one).sum()


CASES = [
    (lambda: nn.Linear(8, 4), (2, 3, 8)),
    (lambda: nn.Linear(8, 4, bias=False), (2, 8)),
    (lambda: nn.Conv2d(4, 4, 3), (2, 4, 8, 8)),
    (lambda: nn.ConvTranspose1d(4, 4, 3), (2, 4, 8)),
    (lambda: nn.LSTM(8, 4), (2, 3, 8)),
    (lambda: nn.GRU(8, 4), (2, 3, 8)),
    (lambda: nn.MultiheadAttention(8, 2), (2, 3, 8)),
    (Written, (2, 3, 8)),
    (lambda: nn.BatchNorm1d(8), (2, 8)),
    (lambda: nn.LayerNorm(8), (2, 8)),
    (lambda: nn.GroupNorm(2, 8), (2, 8, 4)),
    (lambda: nn.InstanceNorm1d(8, affine=True), (2, 8, 4)),
    (lambda: nn.PReLU(), (2, 8)),
    (lambda: nn.Embedding(9, 8), (2, 3)),
]


@pytest.mark.parametrize(("make", "shape"), CASES, ids=[str(make()) for make, _ in CASES])
def test_dtypes_are_refused_where_kernels_refuse_them(make, shape):
    for own, given in itertools.product(OF_MODEL, OF_INPUT):
        model = Inside(make().to(own))
        inputs = torch.ones(shape, dtype=given)
        try:
            model(inputs).sum().backward()
        except (RuntimeError, ValueError, NotImplementedError):
            with pytest.raises(BreakdownError, match="forward of Inside cannot be followed"):
                timeline.breakdown(model, None, inputs)
        else:
            timeline.breakdown(model, None, inputs)


def test_an_estimate_refuses_them_too():
    with pytest.raises(
        BreakdownError,
        match="cannot be followed: addmm takes no float32 and int64 together: cast to",
    ):
        timeline.estimate(nn.Linear(8, 4), inputs="8:int64")
