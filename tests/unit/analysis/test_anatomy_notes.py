from dataclasses import replace

import numpy as np
import pytest
from synthetic import recording

from timeline.analysis.analyze import analyze
from timeline.analysis.anatomy import take_apart
from timeline.analysis.types import HOST, Instances, PhasePeak, PhaseSummary
from timeline.recording.anatomy import (
    Anatomy,
    HeapLook,
    LayerCall,
    Moment,
    Trained,
    WeighedLayer,
    WeighedPhase,
)
from timeline.recording.weighed.facts import CATEGORIES
from timeline.views import text

MIB = 1 << 20
PATH = "step/backward"
START = 1000


def notes_of(*given, **more):
    return anatomized(*given, **more).notes


def anatomized(
    peaks,
    weighed=1,
    temporary=0,
    heaps=(),
    way=None,
    elsewhere=0,
    sparse=False,
    compiled=False,
    on_heap=0,
    **more,
):
    """Of a run whose steps peaked so many MiB, 100 of them before the model.

    There is one layer, whose backward is under way at the peak, and holds so much ``temporary``.
    It may be called in another ``way``. What functions saved ``elsewhere`` is of a layer around it.
    """
    count = len(peaks)
    begin = np.arange(count) * 10
    none, no = np.full(count, -1), np.zeros(count, bool)
    columns = (begin, begin + 5, no, none, none, none, none, np.array(peaks) * MIB, none, ~no)
    instances = Instances(np.zeros(count, int), *columns, {}, (PATH,))
    peak = PhasePeak(max(peaks) * MIB, 0, 0, True, 0)
    summary = PhaseSummary(PATH, count, 0, 5 * count, 1.0, 0, {HOST: peak})
    began = START + 10 * weighed
    at = Moment(began, 100 * MIB, 0, 0, 0)
    held = dict.fromkeys(CATEGORIES, 0) | {"temporary": temporary}
    reached = replace(at, in_use=on_heap)
    saved = ((1, elsewhere),) if elsewhere else ()
    phase = WeighedPhase(
        PATH, "", reached, peaks[weighed] * MIB, 0, 0, held, saved, reached=0, **more
    )
    layer = WeighedLayer("fc", "Linear", 4160, 16640, 0, 16640, 0, (8, 64), "float32", 2048, 1)
    around = WeighedLayer("", "Attending", 0, 0, 0, 0, elsewhere, None, None, 0, 1)
    call = LayerCall(0, 0, (8, 64), 4, -2, 2048, -1, True)
    call = replace(call, **(way or {}))
    trained = (Trained("SGD", {}, ((4160, 4),)),)
    kept, calls = ({"activation": MIB}, ()) if compiled else ({}, (call,))
    layers = layer, around
    settings = {"in_features": 64, "out_features": 64, "bias": True, "sparse": sparse}
    step = Anatomy(
        weighed + 1, began + 1, began + 7, 1, at, 0, (phase,), kept, layers, 0, (), trained,
        ("cpu",), (), calls, {0: settings},
    )  # fmt: skip
    return take_apart(step, (summary,), instances, START, heaps)


def test_a_peak_of_the_weighed_step_above_all_later_ones_says_that_weighing_may_have_raised_it():
    (note,) = notes_of([150, 225, 205, 210])
    assert note.startswith("the highest step/backward is the weighed one, 15.0 MiB above")


def test_a_later_step_above_the_weighed_one_says_by_how_much():
    (note,) = notes_of([150, 200, 205, 223])
    assert note.startswith('of "unexplained" 23.0 MiB in step/backward is by how much another step')


def test_what_malloc_kept_of_a_later_step_is_said_of_its_row_to_be_concluded():
    begin, end = Moment(1, 0, 0, 300 * MIB, 20 * MIB), Moment(2, 0, 0, 100 * MIB, 220 * MIB)
    look = HeapLook(-1, (300 * MIB, 20 * MIB, 0), (100 * MIB, 250 * MIB, 0))
    (note,) = notes_of([150, 200, 205, 230], heaps=(look,), begin=begin, end=end)
    assert note.startswith('of "kept by malloc" 30.0 MiB in step/backward was concluded, not meas')


@pytest.mark.parametrize("peaks", [[150, 200], [150, 200, 200, 200], [150, 200, 199, 201]])
def test_where_no_step_comes_after_it_or_all_are_as_high_nothing_is_said(peaks):
    assert notes_of(peaks) == ()


def test_a_peak_in_the_midst_of_a_layers_backward_says_how_far_the_estimate_may_be() -> None:
    (note,) = notes_of([150, 200, 200], torn=16 * MIB)
    assert note.endswith("the two moments may differ in step/backward by 16.0 MiB")
    assert notes_of([150, 200, 200], torn=MIB // 2) == ()


def test_temporaries_beyond_what_layers_are_given_and_return_say_whose_they_may_be() -> None:
    (note,) = notes_of([150, 200, 200], temporary=9 * MIB)
    assert "operators hold inside themselves" in note
    assert note.endswith("step/backward 8.98 MiB")
    assert notes_of([150, 200, 200], temporary=MIB // 2) == ()


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ({"packed": True}, "calls of layers in a checkpoint"),
        ({"cast": True}, "calls of layers under autocast: 1"),
        ({}, "gradients of step/backward are not estimated"),
    ],
)
def test_what_is_not_estimated_has_a_reason(way, said) -> None:
    notes = notes_of([150, 200, 200], way={"plain": False, **way}, past=-1)
    assert sum(note.startswith("activations and temporaries are not estimated") for note in notes)
    assert any(note.startswith(said) for note in notes)


def test_what_functions_saved_beside_the_layers_is_named_with_its_size() -> None:
    (note,) = notes_of([150, 200, 200], elsewhere=9 * MIB)
    assert note.startswith("of activations in step/backward these have no estimate")
    assert note.endswith(": Attending 9.00 MiB")
    assert notes_of([150, 200, 200], elsewhere=MIB // 2) == ()


def test_gradients_that_have_a_row_for_each_index_are_not_estimated() -> None:
    dense, sparse = (anatomized([150, 200], sparse=each).phases[0] for each in (False, True))
    assert dense["gradient"].estimated is not None
    assert sparse["gradient"].estimated is None


def test_a_step_without_calls_of_layers_says_why_nothing_is_estimated() -> None:
    (note,) = notes_of([150, 200, 200], compiled=True)
    assert note.startswith("activations and temporaries are not estimated: no call of a layer by")


def test_where_much_is_unexplained_each_hundredth_of_it_says_where_it_lies() -> None:
    (note,) = notes_of([150, 200, 200], on_heap=3 * MIB)
    assert note.startswith("of what is unexplained 3.00 MiB are in use on the C library's heap")
    assert notes_of([150, 200, 200], on_heap=MIB // 2) == ()


def test_what_a_program_came_to_hold_after_the_weighed_step_is_told() -> None:
    begin, end = Moment(1, 0, 0, 300 * MIB, 20 * MIB), Moment(2, 0, 0, 100 * MIB, 220 * MIB)
    look = HeapLook(-1, (317 * MIB, 20 * MIB, 0), (117 * MIB, 220 * MIB, 0))
    higher, held = notes_of([150, 200, 205, 230], heaps=(look,), begin=begin, end=end)
    assert higher.startswith('of "unexplained" 30.0 MiB in step/backward is by how much')
    assert held.startswith("of that 17.0 MiB in step/backward was in use beside the phase")


@pytest.mark.parametrize("size", ["USS", "PSS"])
def test_a_curve_of_another_size_than_rss_is_not_taken_apart_and_says_why(size) -> None:
    recorded = recording(paths=(PATH,))
    host = recorded.series[HOST]
    assert analyze(replace(recorded, anatomy=anatomized([200, 200]).weighed)).anatomy.phases
    channel = replace(host.channel, source=f"memory_profiler:psutil_{size.lower()}")
    other = analyze(
        replace(
            recorded,
            anatomy=anatomized([200, 200]).weighed,
            series={HOST: replace(host, channel=channel)},
        )
    )
    assert other.anatomy.phases == ()
    assert f"the parts add up to RSS, and the curve is {size}" in other.missing[-1]
    assert "unexplained" not in text.render(other)


@pytest.mark.parametrize("width", [40, 60, 80])
def test_the_table_of_parts_keeps_to_the_width(width) -> None:
    recorded = replace(recording(paths=(PATH,)), anatomy=anatomized([150, 200, 223]).weighed)
    shown = text.render(analyze(recorded), width=width)
    assert max(map(len, shown.splitlines())) <= width
    assert ("estimated" in shown) is (width > 40)
    assert "unexplained" in shown
