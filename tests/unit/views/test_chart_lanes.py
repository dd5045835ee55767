import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timeline.analysis.types import Instances
from timeline.views.chart.lanes import MOST_LANES, cover


def instances(rows, paths=("a", "b", "c")):
    """Instances of (begin, end, lane, path)."""
    columns = np.array(rows, np.int64).reshape(-1, 4)
    begin, end, lane, path = columns.T
    none = np.full(len(columns), -1, np.int64)
    no = np.zeros(len(columns), bool)
    return Instances(path, begin, end, no, lane, none, none, none, none, none, no, {}, paths)


@st.composite
def rows(draw):
    out = []
    for lane in range(draw(st.integers(0, 3))):
        edges = sorted(draw(st.lists(st.integers(0, 400), max_size=30)))
        for begin, end in zip(edges[::2], edges[1::2], strict=False):
            out.append((begin, end, lane, draw(st.integers(0, 2))))
    return out


@given(rows(), st.integers(1, 40))
def test_each_pixel_goes_to_the_path_that_covers_most_of_it(rows, columns):
    it = instances(rows)
    out = cover(it, 0, 400, columns)
    wide = 400 / columns
    shares = np.zeros((it.lanes, columns, 3))
    for begin, end, lane, path in rows:
        left, right = begin / wide, end / wide
        right -= 1.2 if right - left > 8 else 0
        for pixel in range(columns):
            shares[lane, pixel, path] += max(min(right, pixel + 1) - max(left, pixel), 0)
    assert out.share == pytest.approx(np.minimum(shares.sum(2), 1))
    for lane, pixel in np.argwhere(shares.sum(2) > 1e-9):
        most = shares[lane, pixel].max()
        assert shares[lane, pixel, out.path[lane, pixel]] == pytest.approx(most)


def test_a_phase_far_narrower_than_a_pixel_still_has_one():
    out = cover(instances([(500, 500, 0, 1), (900, 901, 0, 2)]), 0, 10**12, 100)
    assert out.path[0, 0] in (1, 2)
    assert (out.path[0, 1:] == -1).all()
    assert out.share[0, 0] < 1e-6


def test_phases_at_both_ends_are_inside():
    out = cover(instances([(0, 0, 0, 0), (1000, 1000, 0, 1)]), 0, 1000, 10)
    assert out.path[0].tolist() == [0, *[-1] * 8, 1]


def test_many_short_phases_in_a_pixel_fill_it_as_far_as_they_do():
    thousand = [(i * 10, i * 10 + 5, 0, i % 2) for i in range(1000)]
    out = cover(instances(thousand), 0, 10_000, 10)
    assert out.share == pytest.approx(np.full((1, 10), 0.5))


def test_lanes_beyond_those_drawn_are_left_out():
    deep = [(i, 100 - i, i, 0) for i in range(MOST_LANES + 5)]
    assert cover(instances(deep), 0, 100, 50).path.shape == (MOST_LANES, 50)


def test_no_phase_has_no_lane():
    assert cover(instances([]), 0, 100, 50).path.shape == (0, 50)
