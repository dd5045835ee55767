"""Whether a step does again what the one before it did, told from its first micro-steps.

With gradient accumulation the last step that is followed takes as long as those before it, only to
show that it repeats them. Where its first micro-steps are those of the step before to the byte, it
need not be followed to its end: the tape repeats the step before instead.
"""

from __future__ import annotations

from timeline.theory.tape import Act, Event, Tape

TOLD_BY = 2
"""The first micro-step takes over from another step; from the second on each follows its like."""

WORTH_IT = 4
"""Micro-steps of a step from which on it is: of three, as in a GAN, each may be another."""


class MicroSteps:
    """The ends of the micro-steps of this step and of the one before it.

    Args:
        tape: on which the steps are.
    """

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._begin = self._before = 0
        self._ends: list[int] = []
        self._ends_before: list[int] = []

    def next_step(self) -> None:
        """A step begins; its mark is the last event of the tape."""
        self._before, self._begin = self._begin, len(self._tape.events)
        self._ends_before, self._ends = self._ends, []

    def repeat(self) -> bool:
        """To be asked where a backward has ended: whether the step repeats the one before it."""
        self._ends.append(len(self._tape.events))
        if len(self._ends) != TOLD_BY or len(self._ends_before) < WORTH_IT:
            return False
        now = self._tape.events[self._begin :]
        before = self._tape.events[self._before : self._ends_before[TOLD_BY - 1]]
        return len(now) == len(before) and self._course(now) == self._course(before)

    def forget_this_step(self) -> None:
        """Take what is there of the step from the tape."""
        del self._tape.events[self._begin - 1 :]

    def _course(self, events: list[Event]) -> list[object]:
        """What happens, whichever storages it happens to."""
        storages = self._tape.storages
        born: dict[int, int] = {}
        told: list[object] = []
        for act, which in events:
            if act is Act.BORN:
                born[which] = len(born)
            if act in (Act.BORN, Act.GONE):
                each = storages[which]
                told.append((act, born.get(which), each.amount, each.host, each.layer, each.phase))
            else:
                told.append((act, which))
        return told
