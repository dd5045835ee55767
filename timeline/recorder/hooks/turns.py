"""Where a program's steps end: at which of its optimizers' steps.

A step goes from the end of one step of the program's optimizer to the end of its next, so that the
micro-steps of gradient accumulation lie in it. Where several take turns, as in a GAN, it goes from
the last one's to the last one's: from the first one's a generator's forward would lie before the
one end, and its backward after the other. Which is the last is known once each has stepped: as a
new one steps, the step begins anew after it. Where the first one steps several times before the
second one does, as a critic may, its second step is weighed, and then a step with all turns in its
place.
"""

from __future__ import annotations

import weakref
from typing import Any

NOTHING, ANEW, END = range(3)
"""What an optimizer's step is to the program's: within it, the end of the first one of all that
take turns, or its end."""

_MOST_KNOWN = 1000
"""Of models and of optimizers the first so many may be a part of the weighed step."""

_MOST_TURNS = 100
"""Of so many optimizers one may be the last of those that take turns; a program that makes more of
them, such as one for each image, has them for themselves."""

_MOST_BEFORE = 128
"""After so many steps, an optimizer that is new takes no turns with those before it: it begins
another part of the program. Critics step 5 times, some 100 times at first."""


class Turns:
    """The optimizers that have stepped.

    Attributes:
        step: the number of the step to weigh, from 1.
        steps: how many have ended.
        among: how many optimizers stepped in the last one.
        optimizers: references to them.
    """

    def __init__(self, step: int) -> None:
        self.step = step
        self.steps = 0
        self.among = 0
        self.optimizers: list[Any] = []
        self._last: Any = None
        self._since: set[int] = set()  # the ids of those that have stepped since the last one did

    @property
    def is_next(self) -> bool:
        """Whether the step that is under way is to be weighed."""
        return self.steps == self.step - 1

    def stepped(self, optimizer: Any, *, may_begin: bool) -> int:
        """An optimizer has stepped: `NOTHING`, `ANEW` or `END`; the second where it may begin."""
        is_new = know(self.optimizers, optimizer)
        self._since.add(id(optimizer))
        last = None if self._last is None else self._last()
        if last is None:
            self._last = weakref.ref(optimizer)
        elif last is not optimizer:
            if not (is_new and may_begin and len(self.optimizers) <= _MOST_TURNS):
                return NOTHING
            self._begin_at(optimizer)
            return ANEW
        self.steps += 1
        self.among = len(self._since)
        self._since.clear()
        return END

    def stepped_after(self, optimizer: Any) -> int:
        """The same once a step was weighed; `END` where none will take turns any more."""
        is_new = know(self.optimizers, optimizer)
        last = None if self._last is None else self._last()
        self.steps += 1
        if last is None or self.steps > _MOST_BEFORE:
            return END
        if not is_new:
            return NOTHING
        self.step = 2
        self._begin_at(optimizer)
        return ANEW

    def _begin_at(self, optimizer: Any) -> None:
        self.steps = 1
        self._last = weakref.ref(optimizer)
        self._since.clear()

    def which(self) -> str:
        """The step to weigh, in words."""
        last = None if self._last is None else self._last()
        name = "its optimizer" if last is None else type(last).__name__
        ordinal = {1: "first", 2: "second", 3: "third"}.get(self.step, f"{self.step}th")
        return f"the {ordinal} step of {name}"


def know(those: list[Any], one: Any) -> bool:
    """Refer to one more, where there is room. Returns whether it is new."""
    if any(each() is one for each in those):
        return False
    if len(those) < _MOST_KNOWN:
        those.append(weakref.ref(one))
    return True


def there(those: list[Any]) -> list[Any]:
    """Those that are there."""
    return [one for one in (each() for each in those) if one is not None]
