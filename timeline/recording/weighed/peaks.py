"""The peaks of a weighed step's phases: between which two moments, and what was held there."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from timeline.recording.weighed.facts import (
    SAME_PEAK,
    Call,
    Facts,
    Piece,
    Tick,
    held_at,
    saved_at,
)
from timeline.recording.weighed.reached import Course
from timeline.recording.weighed.table import Table

Pair = tuple[Tick, Tick]
"""Two ticks, one after the other."""

MOST_CANDIDATES = 8


def peaks(facts: Facts, table: Table, untold: set[int]) -> list[dict[str, object]]:
    """An entry for each phase and peak, in the order in which the phases ended."""
    course = Course(facts)
    around: Call | None = None
    before: int | None = None
    found: dict[int, list[dict[str, object]]] = {}
    for call, pieces in in_turn(facts):
        # What the allocator gave is told from the outermost call's begin on: of a closure's forward
        # an optimizer's own numbers, as of LBFGS, are a part.
        if around is None or call.begin >= around.end:
            around = call
            first = call.ticks[0]
            before = None if first.held is None else first.held - _told(pieces, untold, first)
        found[id(call)] = [
            _entry(facts, call, pair, pieces, untold, before, table)
            | {
                "reached": course.reached(call, pieces, pair[0], pair[1]),
                "past": course.reached(call, pieces, pair[1], pair[1]),
                "torn": course.torn(call, pieces, pair[0]),
            }
            for pair in _candidates(call.ticks, ends="coarse" in facts.raw)
        ]
    return [entry for call in facts.calls for entry in found[id(call)]]


def in_turn(facts: Facts) -> Iterator[tuple[Call, list[Piece]]]:
    """Each call, as they began, with all pieces that may be there in its course.

    A step of many micro-steps saves anew in each: to go through all of them for every call takes
    seconds.
    """
    seen = sorted((each for each in facts.pieces if each.sequence < 0), key=lambda one: -one.born)
    saved = sorted(
        (each for each in facts.pieces if each.sequence >= 0), key=lambda one: -one.sequence
    )
    there: list[Piece] = []
    for call in sorted(facts.calls, key=lambda one: one.ticks[0].t):
        first, last = call.ticks[0], call.ticks[-1]
        there = [each for each in there if each.died > first.t]
        while seen and seen[-1].born <= last.t:
            there.append(seen.pop())
        while saved and saved[-1].sequence < last.sequence:
            there.append(saved.pop())
        yield call, there


def _entry(
    facts: Facts,
    call: Call,
    pair: Pair,
    pieces: list[Piece],
    untold: set[int],
    before: int | None,
    table: Table,
) -> dict[str, object]:
    """What stands of a phase; ``before`` is what the allocator had given that no piece names."""
    at, after = pair
    first = call.ticks[0]
    held = held_at(pieces, at)
    rise: int | None = None
    if at.held is not None and before is not None and after.most is not None:
        rise = max(after.most - at.held, 0) if after is not at else 0
        loose = at.held - before - _told(pieces, untold, at)
        # Of what was asked for since the tick, that is named which is there at the next one. What a
        # layer returned is an activation, too, once the next layer's node saves it.
        later, left = held_at(pieces, after), rise
        for name in ("activation", "gradient", "optimizer_state"):
            more = max(later[name] - held[name], 0)
            named = min(more, left)
            earlier = min(more - named, max(loose, 0)) if name == "activation" else 0
            held[name] += named + earlier
            left -= named
            loose -= earlier
        held["temporary"] += max(loose, 0) + left
    return {
        "phase": call.number,
        "path": call.path,
        "what": call.what,
        "at": at.read,
        "after": after.read,
        "begin": first.read,
        "end": call.ticks[-1].read,
        "high": max(after.read["high"], after.read["rss"], at.read["rss"]),
        "rise": rise,
        "stays": None if rise is None else (after.held or 0) - (at.held or 0),
        "turn": call.turn,
        "first": call.first,
        "asked": facts.asked(first),
        "returned": facts.asked(first, "temporary"),
        "stood": table.pairs(call.stood),
        "shared": sum(each.size for each in pieces if each.mapped and each.is_there(at)),
        "categories": held,
        "layers": table.pairs(saved_at(pieces, at)),
    }


def _candidates(ticks: Sequence[Tick], *, ends: bool) -> list[Pair]:
    """The ticks between which memory went highest; where that is often, with most in use.

    Of a phase in which no moment was looked at its end may be that, too (``ends``).

    Then those between which it may have gone higher than these readings tell: the sampler takes
    the high-water mark, too, and what it took is in its rows. Who reads the recording has both.
    """
    pairs = list(zip(ticks, ticks[1:], strict=False))  # noqa: RUF007 - itertools is one more
    pairs = pairs or [(ticks[0], ticks[0])]
    if ends:
        pairs.append((ticks[-1], ticks[-1]))

    def high(pair: Pair) -> int:
        return max(pair[0].read["rss"], pair[1].read["high"], pair[1].read["rss"])

    def risen(pair: Pair) -> int:
        at, after = pair
        return max((after.most or 0) - (at.held or 0), 0) if after is not at else 0

    def in_use(pair: Pair) -> int:
        at = pair[0]
        return (at.held or 0 if at.held is not None else at.read["in_use"]) + risen(pair)

    top = max(map(high, pairs))
    first = max((pair for pair in pairs if high(pair) >= top - SAME_PEAK), key=in_use)

    def most(pair: Pair) -> int:
        return pair[0].read["rss"] + risen(pair)

    higher = [pair for pair in pairs if pair is not first and most(pair) > top + SAME_PEAK]
    return [first, *sorted(higher, key=most, reverse=True)[:MOST_CANDIDATES]]


def _told(pieces: list[Piece], untold: set[int], tick: Tick) -> int:
    """Bytes of the pieces that torch reports when they are given back."""
    return sum(piece.size for piece in pieces if id(piece) not in untold and piece.is_there(tick))


def made_outside(facts: Facts) -> set[int]:
    """The ids of pieces that were made outside of every call, as by a loss that is a function.

    These were taken while nobody asked, and torch does not report when such blocks are given back.
    """
    calls = sorted(facts.calls, key=lambda one: one.ticks[0].t)
    saved = [(call.ticks[0].sequence, call.ticks[-1].sequence - 1) for call in calls]
    seen = [(call.ticks[0].t, call.ticks[-1].t) for call in calls]
    inside_saved, inside_seen = _Stretches(saved), _Stretches(seen)
    return {
        id(piece)
        for piece in facts.pieces
        if (piece.sequence if piece.sequence >= 0 else piece.born)
        not in (inside_saved if piece.sequence >= 0 else inside_seen)
    }


class _Stretches:
    """Stretches from a first to a last number, in order, of which some may be inside others."""

    def __init__(self, stretches: Sequence[tuple[int, int]]) -> None:
        self._firsts = [first for first, _ in stretches]
        self._lasts = list(accumulate((last for _, last in stretches), max))

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self._firsts, number) - 1
        return place >= 0 and number <= self._lasts[place]
