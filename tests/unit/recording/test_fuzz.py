from __future__ import annotations

import json
import os
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from invariants import check_invariants

from timeline.errors import TimelineError
from timeline.recording.reader import load_directory

from .conftest import GOLDEN

FILES = sorted(path.name for path in GOLDEN.iterdir())
SIZES = {name: (GOLDEN / name).stat().st_size for name in FILES}

quick = settings(
    max_examples=100,
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "x.timeline"


def load_damaged(copy, **changed):
    """A recording that keeps its promises, or an error of ours: nothing else comes out."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(GOLDEN, copy)
    for name, content in changed.items():
        (copy / name).write_bytes(content)
    try:
        recording = load_directory(copy)
    except TimelineError as error:
        if "\n" in str(error):
            raise
        return None
    check_invariants(recording)
    return recording


@st.composite
def places(draw):
    name = draw(st.sampled_from(FILES))
    return name, draw(st.integers(0, SIZES[name]))


@quick
@given(places())
def test_a_file_cut_anywhere(copy, place):
    name, at = place
    left = (GOLDEN / name).read_bytes()[:at]
    recording = load_damaged(copy, **{name: left})
    assert recording is not None, "one file alone never costs the recording"
    whole_lines = name.endswith("jsonl") and (left + b"\n").endswith((b"}\n", b"\n\n"))
    # The last byte of a document is its end of line; marks may end after any line.
    if at < SIZES[name] - 1 and at and not whole_lines:
        assert recording.damage


@quick
@given(places(), st.binary(min_size=1, max_size=40))
def test_bytes_written_over_anywhere(copy, place, new):
    name, at = place
    old = (GOLDEN / name).read_bytes()
    load_damaged(copy, **{name: old[:at] + new + old[at + len(new) :]})


@quick
@given(places(), st.binary(min_size=1, max_size=40))
def test_bytes_inserted_anywhere(copy, place, new):
    name, at = place
    old = (GOLDEN / name).read_bytes()
    load_damaged(copy, **{name: old[:at] + new + old[at:]})


@quick
@given(st.lists(st.tuples(places(), st.integers(0, 7)), min_size=1, max_size=60))
def test_bits_flipped_all_over(copy, flips):
    changed = {}
    for (name, at), bit in flips:
        content = changed.setdefault(name, bytearray((GOLDEN / name).read_bytes()))
        content[min(at, len(content) - 1)] ^= 1 << bit
    load_damaged(copy, **changed)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
CUDA = st.dictionaries(
    st.sampled_from(("0", "1", "127", "128", "x", "-1")),
    st.lists(st.integers(-2, 9), min_size=9, max_size=11) | ANYTHING,
    max_size=3,
)
KEYS = ("k", "t", "i", "p", "up", "th", "w", "d", "rss", "hwm", "x", "name", "value", "pid")
KINDS = ("b", "e", "m", "r", "d", "start", "stop", "fact", "missing")


@quick
@given(
    st.lists(
        st.fixed_dictionaries(
            {"k": st.sampled_from(KINDS), "t": st.integers(1, 99)},
            optional={
                **dict.fromkeys(("i", "up", "d", "rss", "hwm"), st.integers(-2, 5) | ANYTHING),
                **dict.fromkeys(KEYS[2:], ANYTHING),
                "p": st.sampled_from(("a", "b", "\udc80")),
                "i": st.integers(0, 4),
                "cuda": CUDA | ANYTHING,
            },
        ),
        max_size=30,
    )
)
def test_lines_that_say_anything(copy, lines):
    load_damaged(copy, **{"events.4711.jsonl": "\n".join(map(json.dumps, lines)).encode()})
