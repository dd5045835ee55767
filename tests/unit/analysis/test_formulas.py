"""What formulas make of the calls of a small net, against sums by hand."""

from dataclasses import replace

import pytest

from timeline.analysis.expected import expected, is_unwalked
from timeline.analysis.formulas import Held, Turn
from timeline.recording.anatomy import (
    NO_MOMENT,
    Anatomy,
    LayerCall,
    Trained,
    WeighedLayer,
    WeighedPhase,
)
from timeline.recording.weighed.facts import CATEGORIES

BATCH = 8


def layer(kind, numbers):
    return WeighedLayer("", kind, numbers, 4 * numbers, 0, 0, 0, None, None, 0, 1)


LAYERS = (layer("Linear", 32 * 64), layer("ReLU", 0), layer("Linear", 64 * 16))
SETTINGS = {
    0: {"in_features": 32, "out_features": 64, "weight": True, "bias": None},
    1: {"inplace": False, "training": True},
    2: {"in_features": 64, "out_features": 16, "weight": True, "bias": None},
}
CALLS = (
    LayerCall(0, 0, (BATCH, 32), 4, -2, 4 * BATCH * 32, -1, True),
    LayerCall(1, 0, (BATCH, 64), 4, 0, 4 * BATCH * 64, 0, True),
    LayerCall(2, 0, (BATCH, 64), 4, 1, 4 * BATCH * 64, 1, True),
)
PHASE = WeighedPhase(
    "step/backward", "", NO_MOMENT, 0, 0, 0, dict.fromkeys(CATEGORIES, 0), (), reached=1, asked=77
)
SIZES = ((32 * 64, 4), (64 * 16, 4))


def weighed(calls=CALLS, settings=SETTINGS, phases=(PHASE,)):
    trained = (Trained("SGD", {"momentum": True}, SIZES),)
    return Anatomy(
        2, 0, 1, 0, NO_MOMENT, 0, phases, {}, LAYERS, 0, SIZES, trained, ("cpu",), (), calls,
        settings,
    )  # fmt: skip


def test_a_result_that_two_layers_save_counts_once_and_an_input_not_at_all():
    turn = Turn(weighed(), 0)
    # relu saves what it returns, which is what the second product saves.
    assert turn.forward(2).activation == 4 * BATCH * 64
    assert turn.by_layer() == {1: 4 * BATCH * 64}
    # Where relu returns there is, beside that, what it was given and nothing saves.
    assert turn.forward(1) == Held(4 * BATCH * 64, 0, 4 * BATCH * 64)
    assert turn.forward(0) == Held(0, 0, 4 * BATCH * 64)
    assert turn.forward(-1) == Held(0, 0, 0)


def test_in_place_there_is_one_storage_less():
    settings = {**SETTINGS, 1: {"inplace": True, "training": True}}
    calls = (*CALLS[:2], replace(CALLS[2], storage=0))
    turn = Turn(weighed(calls, settings), 0)
    assert turn.forward(1) == Held(4 * BATCH * 64, 0, 0)
    assert turn.forward(2) == Held(4 * BATCH * 64, 0, 4 * BATCH * 16)


def test_a_view_is_what_it_was_made_of():
    layers = (LAYERS[0], layer("Flatten", 0), LAYERS[2])
    settings = {**SETTINGS, 1: {"start_dim": 1, "end_dim": -1}}
    calls = (
        replace(CALLS[0], storage=5),
        replace(CALLS[1], storage=6),
        replace(CALLS[2], storage=6),
    )
    turn = Turn(replace(weighed(calls, settings), layers=layers), 0)
    assert turn.by_layer() == {0: 4 * BATCH * 32, 2: 4 * BATCH * 64}


def test_backward_makes_gradients_from_the_last_layer_on():
    turn = Turn(weighed(), 0)
    hidden, result = 4 * BATCH * 64, 4 * BATCH * 16
    # A product's backward has all of these before it lets go of the first.
    assert turn.backward(2, {}) == Held(hidden, 0, result + hidden + 4 * 64 * 16)
    assert turn.backward(1, {}) == Held(hidden, 4 * 64 * 16, 2 * hidden)
    # Of the input there is no gradient.
    assert turn.backward(0, {}) == Held(0, 4 * 64 * 16, hidden + 4 * 32 * 64)
    assert turn.backward(-1, {}) == Held(0, 4 * (32 * 64 + 64 * 16), 0)


FIRST, SECOND = 4 * 32 * 64, 4 * 64 * 16


def test_gradients_that_stood_are_added_to_and_the_new_one_is_beside_them():
    turn = Turn(weighed(), 0)
    hidden, result = 4 * BATCH * 64, 4 * BATCH * 16
    stood = {0: FIRST, 2: SECOND}
    assert turn.backward(2, stood) == Held(hidden, FIRST + SECOND, result + hidden + SECOND)
    assert turn.backward(1, stood) == Held(hidden, FIRST + SECOND, 2 * hidden)
    assert turn.backward(0, stood) == Held(0, FIRST + SECOND, hidden + FIRST)
    # Of another model, which this backward does not go through, they stand beside these.
    assert turn.backward(1, {7: 100}).gradient == SECOND + 100


def test_a_layer_that_is_called_twice_has_its_gradients_summed_first():
    calls = (*CALLS, *(replace(each, storage=each.storage, maker=each.maker) for each in CALLS))
    turn = Turn(weighed(calls), 0)
    half = turn.backward(2, {})
    hidden, result = 4 * BATCH * 64, 4 * BATCH * 16
    # The second call of each is done, and its gradients wait; of the first the last one is made.
    assert half.gradient == 0
    assert half.temporary == result + hidden + FIRST + SECOND + SECOND
    assert turn.backward(-1, {}).gradient == FIRST + SECOND


def test_a_call_waits_for_the_backward_that_goes_through_it():
    later = tuple(replace(each, walked=(1,)) for each in CALLS)
    waits = 4 * BATCH * 64
    assert Turn(weighed(later), 0).forward(2).activation == waits
    # Another backward comes first: nothing of these is given back, and no gradient made.
    assert Turn(weighed(later), 0).backward(-1, {}) == Held(waits, 0, 0)
    assert Turn(weighed(later), 1).backward(-1, {}) == Held(0, FIRST + SECOND, 0)
    both = tuple(replace(each, walked=(0, 1)) for each in CALLS)
    assert Turn(weighed(both), 0).backward(-1, {}) == Held(waits, FIRST + SECOND, 0)
    assert Turn(weighed(later), 1).counted == 0


def test_where_no_backward_goes_through_there_is_no_figure():
    step = weighed(tuple(replace(each, walked=()) for each in CALLS))
    forward = replace(PHASE, path="step/forward", first=0, stood=())
    assert is_unwalked(step, forward)
    assert "activation" not in expected(step, forward)
    assert not is_unwalked(step, replace(forward, first=3, reached=2))
    older = replace(weighed(), older=(0,))
    assert "activation" not in expected(older, PHASE)
    assert "activation" in expected(weighed(), replace(forward, stood=()))


def test_between_two_moments_the_call_with_most_counts():
    both = replace(PHASE, reached=2, past=-1)
    found = expected(weighed(), both)
    # The first product's gradient is the largest, and stands beside the second one's. What is
    # saved at the first moment has been given back by then, and its place is taken.
    assert found["gradient"] == FIRST + SECOND
    assert found["activation"] == 4 * BATCH * 64
    assert found["temporary"] == 0
    one = expected(weighed(), replace(PHASE, reached=2, past=2))
    assert one["gradient"] == 0
    assert one["temporary"] == 4 * BATCH * (64 + 16) + SECOND


def test_each_phase_has_its_own_expectation():
    found = expected(weighed(), PHASE)
    assert found["input"] == 77
    assert found["optimizer_state"] == found["parameter"] == 4 * (32 * 64 + 64 * 16)
    assert found["temporary"] == 2 * 4 * BATCH * 64
    assert found["gradient"] == 4 * 64 * 16
    step = expected(weighed(), replace(PHASE, path="step/optimizer"))
    assert step["gradient"] == step["parameter"]
    assert "activation" not in step


@pytest.mark.parametrize("kind", ["Attention", "Linear"])
def test_a_call_without_a_formula_is_counted_as_such(kind):
    layers = (layer(kind, 5), *LAYERS[1:])
    calls = (replace(CALLS[0], plain=kind != "Linear"), *CALLS[1:])
    turn = Turn(replace(weighed(calls), layers=layers), 0)
    assert turn.without == {kind: 1}
    assert turn.counted == 2
    assert turn.forward(2).activation == 4 * BATCH * 64


def test_calls_of_another_turn_are_another_ones():
    assert Turn(weighed(), 1).counted == 0
    assert "activation" not in expected(weighed(), replace(PHASE, turn=1))


@pytest.mark.parametrize("way", ["cast", "packed"])
def test_of_calls_that_save_in_another_way_only_gradients_are_expected(way):
    calls = tuple(replace(each, plain=False, **{way: True}) for each in CALLS)
    assert getattr(Turn(weighed(calls), 0), way) == 3
    between = replace(PHASE, reached=2, past=0, rise=SECOND)
    found = expected(weighed(calls), between)
    assert found["gradient"] == SECOND
    # With less asked for not all that were made between the two moments were there at once.
    assert "gradient" not in expected(weighed(calls), replace(between, rise=SECOND - 1))
    assert "activation" not in found
    assert "temporary" not in found
    forward = expected(weighed(calls), replace(PHASE, path="step/forward", stood=((0, FIRST),)))
    assert forward["gradient"] == FIRST
    assert "activation" not in forward


def test_what_is_made_again_in_backward_is_not_expected_of_the_layers_beside_it():
    calls = (replace(CALLS[0], plain=False, packed=True), *CALLS[1:])
    found = expected(weighed(calls), replace(PHASE, reached=0, past=-1, rise=FIRST))
    assert found["gradient"] == FIRST + SECOND
    assert "activation" not in found
    assert "temporary" not in found


def test_where_a_layer_without_a_formula_is_under_way_there_is_no_figure_of_temporaries():
    layers = (layer("Attention", 5), *LAYERS[1:])
    step = replace(weighed(), layers=layers)
    assert "temporary" in expected(step, PHASE)
    found = expected(step, replace(PHASE, reached=0))
    assert "temporary" not in found
    assert found["gradient"] == SECOND
    assert found["activation"] == 0


def test_of_a_layer_that_is_called_in_a_way_of_its_own_nobody_knows_what_is_trained():
    step = weighed((replace(CALLS[0], plain=False), *CALLS[1:]))
    assert expected(step, replace(PHASE, past=0))["gradient"] == SECOND
    assert "gradient" not in expected(step, replace(PHASE, reached=0, past=-1))
