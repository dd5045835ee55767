"""What would lower a recorded peak: small steps whose every byte is known."""

from dataclasses import replace

import pytest

from timeline.analysis.advising import advised
from timeline.analysis.moments import ACTIVATION, GRADIENT, INPUT, PARAMETER, STATE, Moments
from timeline.recording.anatomy import NO_MOMENT, Anatomy, Trained, WeighedLayer
from timeline.recording.course import Course, Life, Node, Span

# Ticks 0 to 3 are in forward, 4 to 7 in backward, 8 and 9 in the optimizer's step.
SPANS = (
    Span("step/forward", 0, 3, 0),
    Span("step/backward", 4, 7, 0),
    Span("step/optimizer", 8, 9, 1),
)
LIVES = (
    Life(PARAMETER, 0, 1000, 0, 10, True),
    Life(PARAMETER, 1, 3000, 0, 10, True),
    Life(STATE, -1, 8000, 0, 10, True),
    Life(INPUT, -1, 600, 0, 10, True),
    Life(ACTIVATION, 0, 20_000, 2, 7, True),
    Life(ACTIVATION, 1, 10_000, 3, 5, True),
    Life(GRADIENT, 1, 3000, 5, 10, True),
    Life(GRADIENT, 0, 1000, 7, 10, True),
)
HELD = (0, 0, 20_000, 30_000, 0, -7000, -7000, -26_000, 0, 0)
MOST = (0, 0, 24_000, 30_000, 0, 5000, 0, 2000, 0, 3000)
NODES = (
    Node("A", 0, (6, 10), 4, (-1,), (4,)),
    Node("B", 1, (6, 10), 4, (0, -1), (5,)),
)
COURSE = Course(HELD, MOST, (-1, 0, 0, 1, 1, 1, 1, 1, 1, 1), SPANS, LIVES, NODES, 6)


def layer(name, parameters=0, kind="Linear"):
    bytes_ = 4 * parameters
    return WeighedLayer(name, kind, parameters, bytes_, 0, bytes_, 0, None, None, 0, 1)


LAYERS = (layer("0", 250), layer("1", 750))
TRAINED = Trained("Adam", {}, ((250, 4), (750, 4)))


def weighed(course=COURSE, layers=LAYERS, trained=TRAINED, **others):
    step = Anatomy(
        2, 0, 1, 0, NO_MOMENT, 0, (), {}, layers, 1000, trained.sizes, (trained,), ("cpu",), ()
    )
    return replace(step, course=course, **others)


def told(step, kind):
    return [each for each in advised(step).advice if each.kind == kind]


def test_the_peak_is_where_storages_and_what_the_allocator_gave_beside_are_highest():
    moments = Moments(COURSE)
    # 4 000 of parameters, 8 000 of state and the input always; as backward begins 5 000 more.
    assert moments.standing.tolist() == [12_600, 12_600, 32_600, 42_600, 42_600, 35_600, 35_600,
                                         16_600, 16_600, 16_600]  # fmt: skip
    assert moments.rise.tolist() == [0, 24_000, 10_000, 0, 5000, 7000, 9000 + 0, 0, 3000, 0]
    assert moments.peak() == 4
    found = advised(weighed())
    assert (found.path, found.peak) == ("step/backward", 47_600)


def test_half_the_batch_halves_what_goes_with_it_and_no_gradient_or_state():
    (batch,) = told(weighed(), "batch")
    # Of 47 600 as backward begins go half of 30 000, 600 and of the 2 000 that are no gradient.
    assert batch.saves == (30_000 + 600 + 2000) // 2
    assert batch.peak == 47_600 - batch.saves
    assert batch.what.startswith("a batch of 3 instead of 6;")


def test_a_saving_is_never_more_than_the_distance_to_the_next_peak():
    stepping = replace(COURSE, most=(*MOST[:9], 30_000))  # 46 600 in the optimizer's step
    (batch,) = told(weighed(stepping), "batch")
    assert batch.saves == 47_600 - (46_600 - 300)


@pytest.mark.parametrize("batch", [0, 1])
def test_a_batch_of_one_or_of_unknown_size_is_not_halved(batch):
    assert not told(weighed(replace(COURSE, batch=batch)), "batch")


def test_nothing_is_advised_where_the_allocator_was_not_heard_or_tensors_are_elsewhere():
    assert advised(weighed(replace(COURSE, held=(None, *HELD[1:])))) is None
    assert advised(weighed(devices=("cpu", "cuda:0"))) is None
    assert advised(weighed(None)) is None


def test_advice_stands_with_the_largest_saving_first_and_none_without_one():
    sizes = [each.saves for each in advised(weighed()).advice]
    assert sizes == sorted(sizes, reverse=True)
    assert min(sizes) > 0
