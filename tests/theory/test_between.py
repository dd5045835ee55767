"""The tape of a batch that nobody followed, beside the one that was followed after all."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from timeline.theory import between  # noqa: E402
from timeline.theory.estimate import estimate  # noqa: E402
from timeline.theory.fitting import largest_batch  # noqa: E402

pytestmark = pytest.mark.torch

MiB = 1 << 20


def told(batch: int, capacity: int | None = None):
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, padding=1),
        torch.nn.BatchNorm2d(16),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(16 * 32 * 32, 10),
    )
    return estimate(model, "adamw", (3, 32, 32), batch=batch, capacity=capacity, device="a100-40gb")


@pytest.fixture(scope="module")
def programs():
    return {batch: told(batch).program for batch in (8, 16, 100)}


def test_a_tape_between_and_beyond_two_is_that_of_the_batch(programs):
    pair = between.line({8: programs[8], 16: programs[16]}, 16)
    assert pair == (8, 16)
    beyond = between.at(programs, pair, 100)
    followed = programs[100]
    assert beyond.tape.events == followed.tape.events
    sizes = [each.amount for each in beyond.tape.storages]
    assert sizes == [each.amount for each in followed.tape.storages]


def test_the_nearest_two_that_do_the_same_make_the_line(programs):
    other = told(50)
    other.program.tape.events.append(other.program.tape.events[-1])
    assert between.line({**programs, 50: other.program}, 60) == (16, 100)
    assert between.line({8: programs[8], 50: other.program}, 8) is None


def test_the_largest_batch_takes_four_estimates_and_is_the_last_that_fits():
    asked = []

    def of(batch: int):
        asked.append(batch)
        return told(batch, 300 * MiB)

    found = largest_batch(of, lambda each: not each.out_of_memory)
    assert asked == [8, 16, found.batch, found.batch + 1]
    assert found.runs == 4
    # Gone through one after the other, no batch beyond the next fits either.
    assert told(found.batch, 300 * MiB).fits
    assert not any(told(found.batch + more, 300 * MiB).fits for more in (1, 2, 5, 20))
