"""Runs predicted for a GPU, held against sums by hand and against torch on the CPU."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import timeline  # noqa: E402
from timeline.errors import UsageError  # noqa: E402

pytestmark = pytest.mark.torch

MiB = 1 << 20


def mlp():
    return torch.nn.Sequential(
        torch.nn.Linear(1024, 1024, bias=False),
        torch.nn.ReLU(),
        torch.nn.Linear(1024, 1024, bias=False),
    )


def test_a_perceptron_takes_what_a_sum_by_hand_says():
    told = timeline.estimate(mlp, "sgd,foreach=false", "1024", batch=1024, device="rtx-3060")
    # Weights, gradients, input, three outputs, and in backward one gradient of an output.
    assert told.categories_at_peak["parameter"] == 8 * MiB
    assert told.categories_at_peak["input"] == 4 * MiB
    assert told.categories_at_peak["activation"] == 4 * MiB  # the ReLU's result
    assert told.peak_allocated == sum(told.categories_at_peak.values())
    assert told.peak_phase == "step/backward"
    assert told.peak_allocated <= told.peak_reserved
    assert told.steps == 4


def test_adam_keeps_two_moments_on_the_device_and_its_counter_on_the_host():
    told = timeline.estimate(mlp, "adam", "1024", batch=8)
    assert told.course.categories["optimizer_state"][-1] == 16 * MiB


def test_a_capacity_that_is_too_small_is_told_in_a_sentence():
    told = timeline.estimate(mlp, "adam", "1024", batch=1024, capacity="30MiB")
    assert not told.fits
    assert "out of device memory" in told.out_of_memory
    assert timeline.estimate(mlp, "adam", "1024", batch=1024, capacity="300MiB").fits


def test_a_card_that_nobody_knows_is_a_usage_error():
    with pytest.raises(UsageError, match="rtx3060"):
        timeline.estimate(mlp, None, "1024", device="rtx-3061")


def test_cuda_is_never_started():
    timeline.estimate(mlp, "adam", "1024", batch=8)
    assert not torch.cuda.is_initialized()


@pytest.mark.parametrize("optimizer", ["sgd", "sparseadam"])
def test_what_a_step_holds_beside_sparse_gradients_is_said_not_to_be_counted(optimizer):
    def make():
        return torch.nn.Embedding(10_000, 64, sparse=True)

    made = {"sgd": torch.optim.SGD, "sparseadam": torch.optim.SparseAdam}[optimizer]
    told = timeline.estimate(make, made, "50:int64", batch=8)
    assert any("sparse gradients" in each for each in told.not_counted)
    # Of a batch's 400 rows the gradient has indices and values, and not all of the weights.
    assert told.categories_at_peak["gradient"] < 10_000 * 64 * 4
    dense = timeline.estimate(torch.nn.Embedding(10, 4), "sgd", "50:int64", batch=8)
    assert not any("sparse" in each for each in dense.not_counted)
