"""The course of a weighed step is read whole, or not at all and with a sentence."""

import json
import random

import pytest

from timeline.analysis.advice.advising import advised
from timeline.recording.anatomy_file import read_anatomy
from timeline.recording.course import Node, Span
from timeline.recording.format import BREAKDOWN

COURSE = {
    "ticks": [[0, 0, -1], [100, 120, 0], [0, 0, 0], [-100, 50, 0]],
    "spans": [["step/forward", 0, 1, 0], ["step/backward", 2, 3, 0]],
    "pieces": [[0, 0, 4000, 0, 4, 1], [4, 0, 100, 1, 3, 1], [2, 0, 4000, 3, 4, 1]],
    "kinds": ["AddmmBackward0"],
    "nodes": [[0, 0, [5, 5], 4, [-1], [1]]],
    "batch": 5,
}
LAYER = {"name": "a", "kind": "Linear", "parameters": 1000, "parameter": 4000, "calls": 1}


def read(folder, course=COURSE, **more):
    document = {"timeline": 1, "step": 2, "devices": ["cpu"], "layers": [LAYER], "given": {},
                "before": {}, "phases": [], "trained": [], "course": course, **more}  # fmt: skip
    folder.joinpath(BREAKDOWN).write_text(json.dumps(document))
    damage = []
    return read_anatomy(folder, damage), damage


def test_what_was_written_is_read(tmp_path):
    anatomy, damage = read(tmp_path)
    course = anatomy.course
    assert course.held == (0, 100, 0, -100)
    assert course.spans[1] == Span("step/backward", 2, 3, 0)
    assert course.nodes == (Node("AddmmBackward0", 0, (5, 5), 4, (-1,), (1,)),)
    assert course.batch == 5
    assert not [each for each in damage if "course" in each]
    assert advised(anatomy).peak == 8000


@pytest.mark.parametrize("course", [{}, None])
def test_a_recording_without_one_has_none_and_no_advice(tmp_path, course):
    anatomy, damage = read(tmp_path, course)
    assert anatomy.course is None
    assert advised(anatomy) is None
    assert not [each for each in damage if "course" in each]


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        ("ticks", [[0, 0]]),
        ("ticks", [["0", 0, 0]]),
        ("ticks", None),
        ("spans", [["x", 0, 9, 0]]),
        ("spans", [[7, 0, 1, 0]]),
        ("pieces", [[7, 0, 1, 0, 1, 1]]),
        ("pieces", [[0, 0, 1, 0, 5, 1]]),
        ("pieces", [[0, 0, 1 << 60, 0, 1, 1]]),
        ("nodes", [[1, 0, [1], 4, [], []]]),
        ("nodes", [[0, 0, 3, 4, [], []]]),
        ("nodes", [[0, 0, [1], 4, [], [9]]]),
    ],
)
def test_one_row_that_cannot_be_right_is_a_sentence_and_no_course(tmp_path, key, rows):
    anatomy, damage = read(tmp_path, {**COURSE, key: rows})
    assert anatomy.course is None
    assert any("course" in each for each in damage)


def test_a_node_never_goes_on_to_one_that_was_made_after_it(tmp_path):
    nodes = [[0, 0, [1], 4, [1, 0, -1], []], [0, 0, [1], 4, [0], []]]
    anatomy, _ = read(tmp_path, {**COURSE, "nodes": nodes})
    assert [each.before for each in anatomy.course.nodes] == [(-1, -1, -1), (0,)]


def test_no_odd_figure_of_a_step_ends_the_advice(tmp_path):
    chance = random.Random(7)
    odd = (0, 1, 2, 3, 1 << 46, 1 << 47, -1, None, "x", [], [1, "y"], {}, True, 2.5)
    given = {
        "calls": [[0, 0, [5, 5], 4, -2, 100, -1, 1]],
        "settings": {"0": {"in_channels": 4, "out_channels": 8, "kernel_size": [3, 3],
                           "padding": [1, 1], "groups": 1, "inplace": False}},
        "walked": [[0]],
    }  # fmt: skip
    layers = [{**LAYER, "kind": kind, "output_shape": [5, 8, 3, 3], "name": name}
              for kind, name in (("Sequential", ""), ("Conv2d", "0"), ("ReLU", "0.1"))]  # fmt: skip
    trained = [{"optimizer": "Adam", "options": {"foreach": True}, "sizes": [[1000, 4]]}]
    for _ in range(200):
        whole = json.loads(json.dumps([COURSE, given, layers, trained]))
        for _ in range(3):
            place = chance.choice(whole)
            while True:
                keys = list(place) if isinstance(place, dict) else range(len(place))
                key = chance.choice(list(keys)) if keys else None
                if key is None or not isinstance(place[key], (dict, list)) or chance.random() < 0.2:
                    break
                place = place[key]
            if key is not None:
                place[key] = chance.choice(odd)
        course, given_, layers_, trained_ = whole
        anatomy, _ = read(tmp_path, course, given=given_, layers=layers_, trained=trained_)
        told = advised(anatomy)
        assert told is None or all(each.saves > 0 for each in told.advice)
