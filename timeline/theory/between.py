"""The tape of a batch that nobody followed, from those of two that were.

Most storages of a step grow with the batch by the same bytes for each row, and the others not at
all: a line through two sizes of each, with the events in their order, gives what the allocator is
asked for with another batch. It is a guess, since kernels may be chosen otherwise there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from timeline.theory.estimate_types import Program
from timeline.theory.predicting import run
from timeline.theory.tape import Amount, Storage, Tape


def fits(program: Program, capacity: int | None) -> bool:
    """Whether all that a program asks for finds room."""
    made = run(
        program.tape,
        steps=program.steps,
        size=lambda amount: amount.expected,
        settings=program.settings,
        capacity=capacity,
        follow=False,
    )
    return not made.out_of_memory


def line(programs: Mapping[int, Program], near: int) -> tuple[int, int] | None:
    """Two batches whose programs do the same in the same order, the nearest to ``near``.

    None where there are no two.
    """
    known = sorted(programs, key=lambda batch: (abs(batch - near), batch))
    for at, second in enumerate(known):
        for first in known[:at]:
            if _alike(programs[first], programs[second]):
                return min(first, second), max(first, second)
    return None


def _alike(first: Program, second: Program) -> bool:
    one, other = first.tape, second.tape
    return (
        first.steps == second.steps
        and len(one.storages) == len(other.storages)
        and one.events == other.events
        and all(
            (a.host, a.may_fail, len(a.instead)) == (b.host, b.may_fail, len(b.instead))
            for a, b in zip(one.storages, other.storages, strict=True)
        )
    )


def at(programs: Mapping[int, Program], pair: tuple[int, int], batch: int) -> Program:
    """The program of a batch on the line through two."""
    first, second = (programs[each] for each in pair)
    part = (batch - pair[0]) / (pair[1] - pair[0])

    def storage(a: Storage, b: Storage) -> Storage:
        if a.amount == b.amount and a.instead == b.instead:
            return b
        amount = Amount(*_between(a.amount, b.amount, part))
        return replace(b, amount=amount, instead=tuple(_between(a.instead, b.instead, part)))

    storages = map(storage, first.tape.storages, second.tape.storages)
    tape = Tape(list(storages), second.tape.events, second.tape.phases)
    return replace(second, tape=tape)


def _between(first: Sequence[int], second: Sequence[int], part: float) -> list[int]:
    return [max(round(a + part * (b - a)), 0) for a, b in zip(first, second, strict=True)]
