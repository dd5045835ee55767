"""What models returned, and variables of the program go on to hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from timeline.analysis.advice.change import Change
from timeline.analysis.advice.moments import TEMPORARY, Bytes, Moments


def results_gone(moments: Moments) -> Iterator[Change]:
    """What models returned goes before the next backward, also what they did in the step before.

    Of what was there as the step began, as much as the step makes anew: the rest may be what a
    teacher has just returned, which the loss needs.
    """
    results = [each for each in moments.course.lives if each.category == TEMPORARY]
    anew = Counter(each.size for each in results if each.first > 0)
    gone: Bytes = np.zeros(moments.count, np.int64)
    backward = moments.whether("backward")
    for each in results:
        first = 0
        if each.first > 0:
            after = np.flatnonzero(backward & (moments.start > each.first))
            if not len(after):
                continue
            first = int(after[0])
        elif not anew[each.size]:
            continue
        else:
            anew[each.size] -= 1
        gone[first : each.last] += each.size
    if gone.any():
        yield Change(
            "returned",
            "`del` of what the model returned, once the loss is made of it, before backward",
            "nothing, where it is not wanted after that",
            moments.total - gone,
        )
