"""Lines that differ in their numbers alone; what comes of them is tested with the marks."""

from __future__ import annotations

import numpy as np
import pytest

from timeline.recording.alike import Shapes, _odd_so_far


@pytest.mark.parametrize("n", [0, 1, 7, 8, 63, 64, 65, 128, 1000, 100_003])
def test_marks_are_counted_over_the_borders_of_words(n):
    marked = np.random.default_rng(n).random(n) < 0.2
    assert (_odd_so_far(marked) == (np.cumsum(marked) % 2 == 1)).all()


def test_lines_are_sorted_by_their_shapes_and_rare_ones_left():
    lines = [b'{"k":"b","i":%d,"p":"a1"}\n' % i for i in range(5)]
    lines[2:2] = [b'{"k":"m","p":"once 7"}\n']
    lines += [b'{"k":"e","i":%d,"l":[%d,9]}\n' % (10**i, i) for i in range(4)]
    found, rest = Shapes().split(lines)
    assert rest == [2]
    begins, ends = found
    assert begins.record == {"k": "b", "i": 0, "p": "a1"}
    assert begins.at.tolist() == [0, 1, 3, 4, 5]
    assert begins.numbers.tolist() == [[0, 1, 2, 3, 4]]
    assert ends.record == {"k": "e", "i": 0, "l": [1, 2]}
    assert ends.numbers.tolist() == [[1, 10, 100, 1000], [0, 1, 2, 3], [9, 9, 9, 9]]
