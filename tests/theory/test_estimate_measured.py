"""Estimates against what was measured on real GPUs, where those figures are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from timeline.theory.estimating import platform_of  # noqa: E402
from timeline.theory.predicting import predict  # noqa: E402

ROOT = Path(__file__).parents[2]
TRUTH = Path(os.environ.get("TIMELINE_GROUNDTRUTH", ROOT.parent / "shared" / "groundtruth"))

pytestmark = [
    pytest.mark.torch,
    pytest.mark.slow,
    pytest.mark.skipif(
        not (TRUTH / "xmem_dev.csv").exists() or not (ROOT / "benchmarks").exists(),
        reason="the public measurements of GPUs are not here",
    ),
]

MiB = 1 << 20


@pytest.fixture
def workloads(of_benchmarks):
    return of_benchmarks("transformer"), of_benchmarks("xmem")


@pytest.mark.parametrize(
    ("context", "precision", "allocated", "reserved"),
    [
        (128, "fp32", 7_021_691_392, 7_235_174_400),
        (512, "bf16", 12_435_476_996, 12_660_506_624),
    ],
)
def test_the_transformer_of_the_snapshots(workloads, context, precision, allocated, reserved):
    platform = platform_of("a100-40gb")
    tape = workloads[0].follow(context, precision, platform)
    made = predict(tape, title="transformer", card=platform.card, steps=2)
    assert made.peak_allocated == pytest.approx(allocated, rel=0.005)
    assert made.peak_reserved == pytest.approx(reserved, rel=0.015)


@pytest.mark.parametrize("number", [102, 108, 112, 116, 119, 121, 123])
def test_convolutional_networks_whose_loop_is_known(workloads, number):
    xmem = workloads[1]
    (row,) = (each for each in xmem.rows(TRUTH / "xmem_dev.csv") if each.number == number)
    made = predict(xmem.follow(row, row.mode), title=row.model, card=row.gpu, steps=xmem.STEPS)
    assert made.peak_reserved + 18 * MiB == pytest.approx(row.measured, rel=0.02)
    assert made.reserved.low <= row.measured <= made.reserved.high
