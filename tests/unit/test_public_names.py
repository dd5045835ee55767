"""The door: what `import timeline` offers is this list, and each name opens."""

from __future__ import annotations

import pytest

import timeline

NAMES = [
    *("Recorder", "TimelineError", "__version__", "advice", "analyze", "breakdown", "estimate"),
    *("load", "mark", "phase", "record"),
]


def test_the_public_names_are_these():
    assert sorted(timeline.__all__) == dir(timeline) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_name_opens_and_is_documented(name):
    value = getattr(timeline, name)
    if name != "__version__":
        assert callable(value)
        assert value.__doc__


def test_everything_can_be_imported_by_a_star():
    names: dict[str, object] = {}
    exec("from timeline import *", names)
    assert set(NAMES) <= set(names)


def test_a_name_that_is_not_there_says_so():
    with pytest.raises(AttributeError, match="module 'timeline' has no attribute 'model'"):
        timeline.model  # type: ignore[attr-defined]


def test_the_rooms_do_not_take_the_place_of_a_name():
    import timeline.recorder
    import timeline.recording

    assert callable(timeline.record)
    assert callable(timeline.phase)
