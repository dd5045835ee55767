"""How far a step had come at a moment: which call of a layer was under way, or whose backward."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from timeline.recording.weighed.facts import UNKNOWN, Call, Facts, Piece, Tick


class Course:
    """The calls of layers in a step, and where among them the step was."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._walked = facts.walked()
        self._layers: list[int] = [call[0] for call in facts.raw["given"]["calls"]]

    def reached(self, call: Call, pieces: Sequence[Piece], at: Tick, after: Tick) -> int:
        """The call of a layer that is under way at a moment, or whose backward is.

        Args:
            call: the phase.
            pieces: those that may have been there in its course.
            at: the moment; of a backward.
            after: the next one; of a forward, which has come as far as this.
        """
        if not call.is_backward:
            return self._before(after.sequence)
        gone, there = self._waiting(call, pieces, at)
        last = min(gone) if gone else self._before(call.ticks[0].sequence)
        # A layer gives back bit by bit what it saved: batch norm its input first, and what little
        # it keeps of each channel after that. It is done when most has gone.
        if last in gone and there.get(last, 0) <= gone[last]:
            there.pop(last, None)
        if there:
            return min(max(there), last)
        return self._without_gradient(call, pieces, at, last)

    def torn(self, call: Call, pieces: Sequence[Piece], at: Tick) -> int:
        """Bytes by which what is saved may be another moment's than the call that is `reached`.

        A layer's backward has given back a part of what it saved, and has the rest: formulas are
        for the one moment or the other, and of the two the smaller part is told.
        """
        if not call.is_backward:
            return 0
        gone, there = self._waiting(call, pieces, at)
        return sum(min(size, there[number]) for number, size in gone.items() if number in there)

    def _waiting(
        self, call: Call, pieces: Sequence[Piece], at: Tick
    ) -> tuple[dict[int, int], dict[int, int]]:
        """By call of a layer, the bytes saved for this backward and there as it began: those that
        are gone at a moment, and those that are there."""
        began = call.ticks[0].t
        gone: dict[int, int] = {}
        there: dict[int, int] = {}
        for piece in pieces:
            number = self._of(piece.sequence) if piece.sequence >= 0 else UNKNOWN
            if number >= 0 and call.turn in self._walked[number] and piece.died > began:
                by = there if piece.died > at.t else gone
                by[number] = by.get(number, 0) + piece.size
        return gone, there

    def _without_gradient(self, call: Call, pieces: Sequence[Piece], at: Tick, last: int) -> int:
        """Of the first layers, which save the step's inputs alone, their gradients tell."""
        made = {each.layer for each in pieces if each.category == "gradient" and each.born <= at.t}
        trained = {layer for layer, has in self._facts.trains.items() if has}
        without = trained - made - set(call.stood)
        for number in range(last - 1, -1, -1):
            if call.turn in self._walked[number] and self._layers[number] in without:
                return number
        return UNKNOWN

    def _before(self, number: int) -> int:
        """The last call that had begun when the next node of autograd had this number."""
        return bisect_left(self._facts.begins, number) - 1

    def _of(self, number: int) -> int:
        """The call that a node of autograd was made in, or the last one before it."""
        return bisect_right(self._facts.begins, number) - 1
