"""Where in the weighed step its peak was, and what kernels took for themselves then."""

from dataclasses import replace

import numpy as np
import pytest

from timeline.analysis.anatomy import take_apart
from timeline.analysis.readings import merge
from timeline.analysis.types import HOST, Instances, PhasePeak, PhaseSummary
from timeline.recording.anatomy import Anatomy, Import, Moment, WeighedPhase
from timeline.recording.types import Channel, Marks, Series
from timeline.recording.weighed.facts import CATEGORIES

MIB = 1 << 20
PATH = "step/backward"


def moment(t, rss, in_use=100, file=10):
    return Moment(t, rss * MIB, file * MIB, in_use * MIB, 50 * MIB)


def phase(at, after, high, rise, stays=0, **sizes):
    held = {**dict.fromkeys(CATEGORIES, 0), **{name: size * MIB for name, size in sizes.items()}}
    return WeighedPhase(
        PATH, "", at, high * MIB, rise * MIB, 0, held, (), after=after, stays=stays * MIB
    )


def rows(*pairs):
    """What the sampler read: (t, high in MiB)."""
    t = np.array([each for each, _ in pairs])
    high = np.array([each for _, each in pairs]) * MIB
    none = np.zeros(len(pairs), np.uint32)
    return Series(Channel(HOST, "byte", "linux", True), t, t, high, high, none.astype(np.int64))


def taken_apart(phases, peak, sampled=((1, 1),), imports=()):
    one, no = np.array([0]), np.zeros(1, bool)
    instances = Instances(
        one, one, one + 90, no, one, one - 1, one, one, np.array([peak * MIB]), one, ~no, {},
        (PATH,),
    )  # fmt: skip
    summary = PhaseSummary(PATH, 1, 0, 90, 1.0, 0, {HOST: PhasePeak(peak * MIB, 0, 0, True, 0)})
    before = Moment(0, 200 * MIB, 10 * MIB, 20 * MIB, 10 * MIB)
    step = Anatomy(2, 0, 90, 1, before, 0, tuple(phases), {}, (), 0, (), (), ("cpu",), ())
    step = replace(step, imports=tuple(Import(t, a * MIB, b * MIB) for t, a, b in imports))
    readings = merge(rows(*sampled), Marks.none())
    (found,) = take_apart(step, (summary,), instances, 0, (), readings).phases
    return found


LIKELY = phase(moment(10, 400), moment(20, 416), 416, 16, temporary=40)
OTHER = phase(moment(30, 416), moment(40, 400), 420, 16, temporary=56)


def test_a_peak_that_the_sampler_took_is_found_where_it_was():
    assert taken_apart([LIKELY, OTHER], 420).weighed == 420 * MIB
    found = taken_apart([LIKELY, OTHER], 432, ((12, 410), (35, 432)))
    assert found.weighed == 432 * MIB
    assert found.higher == 0
    assert found["temporary"].measured == 56 * MIB


def test_where_the_sampler_took_nothing_higher_the_likeliest_counts():
    same = replace(OTHER, high=416 * MIB)
    assert taken_apart([LIKELY, same], 416)["temporary"].measured == 40 * MIB


@pytest.mark.parametrize(
    ("after", "stays", "inside"),
    [
        (moment(20, 400), 0, 14),  # given back
        (moment(20, 400, in_use=105), 5, 14),  # torch's own is still there
        (moment(20, 400, in_use=105), 0, 9),  # somebody else's is
        (moment(20, 400, file=13), 0, 11),  # a library's pages came in
    ],
)
def test_what_rose_beyond_what_torch_asked_for_was_inside_kernels(after, stays, inside):
    found = taken_apart([phase(moment(10, 400), after, 430, 16, stays)], 430)
    assert found["inside_kernels"].measured == inside * MIB


def test_where_less_rose_than_torch_asked_for_nothing_is_said_to_be_inside_kernels():
    found = taken_apart([phase(moment(10, 400), moment(20, 400), 410, 16)], 410)
    assert found["inside_kernels"].measured == 0


@pytest.mark.parametrize(
    ("imports", "imported", "in_heap", "outside"),
    [
        ([], 0, 40, 20),
        ([(5, 10, 3)], 13, 30, 17),
        ([(5, 10, 3), (9, 5, 2)], 20, 25, 15),
        ([(5, 10, 3), (11, 5, 2)], 13, 30, 17),  # after the peak
        ([(5, 70, 3)], 43, 0, 17),  # most of it is gone
        ([(5, 10, 80)], 90, 30, -60),  # it shows where something was counted that is not there
        ([(5, -10, 3)], 3, 40, 17),
    ],
)
def test_what_imports_took_is_named_as_far_as_it_is_there(imports, imported, in_heap, outside):
    # Of the heap 100 MiB are in use, 20 before the model, and tensors have 40; 160 were resident
    # beside heap and files, and now 180.
    at = Moment(10, 340 * MIB, 10 * MIB, 100 * MIB, 50 * MIB)
    one = replace(LIKELY, at=at, high=340 * MIB, rise=0, stays=0)
    found = taken_apart([one], 340, imports=imports)
    assert found["imported"].measured == imported * MIB
    assert (found.in_heap, found.outside_heap) == (in_heap * MIB, outside * MIB)
    assert found["unexplained"].measured == (in_heap + outside) * MIB
    assert sum(part.measured or 0 for part in found.parts) == found.peak


@pytest.mark.parametrize(
    ("begin", "in_use", "untouched", "left"),
    [
        (Moment(5, 320 * MIB, 10 * MIB, 100 * MIB, 50 * MIB), 180, -50, 0),
        # Of what the heap gave 20 MiB are not of tensors.
        (Moment(5, 320 * MIB, 10 * MIB, 100 * MIB, 50 * MIB), 200, -70, 20),
        # The step itself has not shown it: Python may have given back what imports took.
        (Moment(0, -1, -1, -1, -1), 180, 0, -50),
    ],
)
def test_what_the_heap_gives_and_nobody_writes_to_is_taken_from_the_parts(
    begin, in_use, untouched, left
):
    # Beside heap and files 160 MiB are resident before the model and as the step begins. In it the
    # heap gives so much more, and resident memory follows by 30.
    at = Moment(10, 350 * MIB, 10 * MIB, in_use * MIB, 50 * MIB)
    one = phase(at, at, 350, 0, activation=160)
    found = taken_apart([replace(one, begin=begin)], 350)
    assert found["untouched"].measured == untouched * MIB
    assert found["unexplained"].measured == left * MIB
    assert found["unexplained"].measured == found.in_heap + found.outside_heap
    assert sum(part.measured or 0 for part in found.parts) == found.peak


def test_what_torch_asked_for_and_nothing_followed_nor_was_kept_is_untouched():
    # 90 MiB asked for, 20 of them resident, 50 out of what malloc kept.
    at, after = moment(10, 320), moment(20, 340, in_use=190)
    found = taken_apart([phase(at, after, 340, 90, 90, activation=170)], 340)
    assert found["kept_by_malloc"].measured == -10 * MIB
    assert found["untouched"].measured == -20 * MIB
    assert found["unexplained"].measured == 0
