"""``breakdown.json`` is made of ``weighed.json`` by whoever comes first, and says the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timeline.recording.anatomy import Anatomy
from timeline.recording.anatomy_file import read_anatomy
from timeline.recording.weighed.document import document_of
from timeline.recording.weighed.facts import Facts
from timeline.recording.weighed.file import settle
from timeline.recording.weighed.reached import Course

from .made import raw


def written(directory: Path, document: object) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "weighed.json").write_text(json.dumps(document))
    return directory


def read(directory: Path) -> Anatomy:
    damage: list[str] = []
    found = read_anatomy(directory, damage)
    assert found is not None
    assert damage == []
    return found


def test_who_reads_before_the_end_has_what_the_end_will_write(tmp_path: Path) -> None:
    written(tmp_path, raw())
    early = read(tmp_path)
    settle(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["breakdown.json"]
    assert read(tmp_path) == early
    assert [each.path for each in early.phases] == ["step/forward", "step/backward"]
    assert [each.name for each in early.layers] == ["", "conv", "norm", "(loss)"]
    assert early.layers[2].activation == 1008
    assert early.layers[2].output_shape == (1, 250)
    assert (early.layers[2].output_dtype, early.layers[2].output_bytes) == ("float32", 1000)
    assert early.course is not None
    assert [each.before for each in early.course.nodes] == [(), (0,)]
    assert [(each.first, each.last) for each in early.course.lives[2:4]] == [(1, 3), (1, 4)]
    assert early.layers[1].gradient == early.layers[1].parameter == 400


@pytest.mark.parametrize(
    ("sides", "sequence_first", "batch"),
    [([8], False, 8), ([8], True, 0), ([8, 5], False, 0), ([], False, 0)],
)
def test_the_first_size_that_inputs_share_is_the_batch_unless_a_layer_takes_the_sequence_first(
    sides: list[int], sequence_first: bool, batch: int
) -> None:
    course = document_of(raw(first_sides=sides, sequence_first=sequence_first))["course"]
    assert isinstance(course, dict)
    assert course["batch"] == batch


def test_a_graph_is_kept_whole_or_not_at_all() -> None:
    nodes = [[10 + i, "AddBackward0", 2, [1, 250], 0, [9 + i]] for i in range(5001)]
    for count, kept in ((5000, 5000), (5001, 0)):
        course = document_of(raw(nodes=nodes[:count]))["course"]
        assert isinstance(course, dict)
        assert len(course["nodes"]) == kept
        assert course["kinds"] == (["AddBackward0"] if kept else [])
        assert course["ticks"]


def test_a_step_that_cannot_be_summed_up_stays_as_it_was_written(tmp_path: Path) -> None:
    written(tmp_path, raw(ticks=[[1, 2]]))
    settle(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["weighed.json"]
    damage: list[str] = []
    assert read_anatomy(tmp_path, damage) is None
    assert damage == ["weighed.json cannot be read: it was not written by timeline (ValueError)"]


def test_the_last_weighed_step_counts_and_a_torn_one_leaves_the_one_before(tmp_path: Path) -> None:
    written(tmp_path, raw(step=0))
    settle(str(tmp_path))
    written(tmp_path, raw(step=2))
    assert read(tmp_path).step == 2
    (tmp_path / "weighed.json").write_text('{"timeline": 1, "step"')
    assert read(tmp_path).step == 0


def reached_at() -> list[tuple[int, int]]:
    facts = Facts(raw())
    course = Course(facts)
    backward = facts.calls[1]
    return [
        (
            course.reached(backward, facts.pieces, at, at),
            course.torn(backward, facts.pieces, at),
        )
        for at in backward.ticks
    ]


def test_a_layers_backward_is_over_when_most_of_what_it_saved_is_gone() -> None:
    # At first the norm's; with 8 of 1008 bytes left the convolution's; and none once that has its
    # gradient. What is left of the norm is by how much the moment may be another.
    assert reached_at() == [(1, 0), (0, 8), (0, 0), (-1, 0)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 1 << 63) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@given(st.data())
def test_no_value_in_it_raises_into_who_reads(data: st.DataObject) -> None:
    document: Any = json.loads(json.dumps(raw()))
    place: Any = document
    key: Any = data.draw(st.sampled_from(sorted(document)))
    while isinstance(place[key], (dict, list)) and place[key] and data.draw(st.booleans()):
        place = place[key]
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
    place[key] = data.draw(JSON)
    try:
        made = document_of(document)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return
    assert set(made) >= {"phases", "layers", "categories"}


@pytest.mark.parametrize("other", [{"imports": 3}, {"trained": 3}, {"devices": ["cpu", "cuda:0"]}])
def test_what_is_handed_on_is_read_with_suspicion_as_ever(tmp_path: Path, other: Any) -> None:
    written(tmp_path, raw(**other))
    damage: list[str] = []
    found = read_anatomy(tmp_path, damage)
    assert found is not None
    assert len(damage) == ("devices" not in other)
    assert replace(found, imports=(), trained=()).step == 2
