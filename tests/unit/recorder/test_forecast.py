"""Whether a step is weighed in full, coarsely or later, by what the steps before it took."""

import pytest

torch = pytest.importorskip("torch")

from timeline.recorder.hooks.forecast import COARSELY, FULLY, LATER, Forecast  # noqa: E402

pytestmark = pytest.mark.torch

MS = 1_000_000


def forecast_of(steps_ms, modules=39, *, on_clock_ms=0, device="cpu"):
    """After steps that took so long, each with one call of a model of so many modules and one."""
    model = torch.nn.Sequential(*(torch.nn.Identity() for _ in range(modules - 1)))
    model.append(torch.nn.Linear(2, 2, device=device))
    times = [(0, 0)]
    for each in steps_ms:
        own, clock = times[-1]
        times.append((own + each * MS, clock + (on_clock_ms or each) * MS))
    told = iter(times)
    found = Forecast(lambda: next(told))
    for _ in steps_ms:
        found.called(model)
        found.stepped()
    return found


@pytest.mark.parametrize(
    ("steps_ms", "says"),
    [
        ([], LATER),  # nobody knows
        ([13], COARSELY),  # others are shorter still
        ([20], LATER),  # it may have taken many times as long
        ([400], FULLY),
        ([20, 3], COARSELY),
        ([30, 16], FULLY),
        ([13, 16], COARSELY),
    ],
)
def test_forty_modules_take_nine_milliseconds_and_an_eighth_of_the_step(steps_ms, says):
    assert forecast_of(steps_ms).says() == says


def test_a_model_of_few_modules_is_weighed_in_full_in_shorter_steps():
    assert forecast_of([20, 7], modules=5).says() == FULLY
    assert forecast_of([20, 7], modules=20).says() == COARSELY


def test_where_tensors_are_elsewhere_the_clock_counts_for_which_the_thread_waits():
    assert forecast_of([20, 3], on_clock_ms=30).says() == COARSELY
    assert forecast_of([20, 3], on_clock_ms=30, device="meta").says() == FULLY


def test_the_first_step_of_those_that_take_turns_goes_from_the_first_call_to_the_last_turn():
    times = iter([(0, 0), (30 * MS, 0), (200 * MS, 0), (204 * MS, 0)])
    found = Forecast(lambda: next(times))
    model = torch.nn.Linear(2, 2)
    found.called(model)
    found.stepped()
    found.called(model)
    assert found.says() == LATER
    found.begin_anew(known=True)
    assert found.shortest_ns == 200 * MS
    assert found.says() == FULLY
    found.begin_anew(known=False)
    assert found.says() == LATER, "of another part of the program nobody knows"


def test_the_sentence_says_how_long_and_what_to_do():
    told = forecast_of([20, 3]).sentence(3)
    assert told.startswith(
        "step 3 was weighed coarsely: in full it would take some 9.4 ms more, and a step takes "
        "3.0 ms or less."
    )
    assert told.endswith("--anatomy 3 weighs this step in full")


def test_a_model_that_is_gone_does_not_stand_for_the_next_one_at_its_place():
    found = Forecast()
    few, many = torch.nn.Linear(2, 2), torch.nn.Sequential(*(torch.nn.Linear(2, 2),) * 1)
    found.called(few)
    # As where the next is made in the same place.
    found._counts[id(many)] = found._counts.pop(id(few))
    before = found._modules
    found.called(many)
    assert found._modules - before == 2
