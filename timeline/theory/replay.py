"""Replays a trace of a real CUDA caching allocator through the model of it.

A trace has the sizes that were asked for. What a block counted for, and what was free at every
moment, follows from the model; where the two agree on every address and segment, its figures are
those of the GPU that wrote the trace.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from timeline.theory.allocator import Adopted, CachingAllocator
from timeline.theory.allocator.settings import SMALL_BUFFER, SMALL_SIZE, Settings

Action = Literal["alloc", "free", "segment_alloc", "segment_free"]
"""Memory that is mapped into an expandable segment, or taken out of it, is a segment here: what it
adds to what is reserved is all that matters."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a trace. ``free`` is the moment when the block is free again."""

    action: Action
    address: int
    size: int
    stream: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment with its live blocks: start, size and the bytes asked for."""

    address: int
    size: int
    stream: int
    live: tuple[Adopted, ...] = ()


@dataclass(slots=True)
class Replay:
    """What a replay gave, one value an event.

    Attributes:
        allocated, reserved: bytes after each event, by the model.
        sizes: what each event's block counts for; 0 for those that hand none out.
        live: the blocks before the first event: address and size.
        disagreements: events at which the model's address or reserved bytes are not the trace's.
        first: a sentence about the first of them; empty where there is none.
    """

    allocated: list[int] = field(default_factory=list)
    reserved: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    live: dict[int, int] = field(default_factory=dict)
    disagreements: int = 0
    first: str = ""

    def disagree(self, sentence: str) -> None:
        """Count one, and keep the sentence of the first."""
        self.disagreements += 1
        self.first = self.first or sentence


def replay(
    events: Sequence[Event], final: Sequence[Segment], settings: Settings | None = None
) -> Replay:
    """Run a trace through the model.

    With expandable segments there is nothing to model: every block there is split down to its
    rounded size, so the trace alone tells what it counts for.

    Args:
        events: the whole trace, in its order.
        final: the segments as they are after its last event, from which what was there before
            its first is worked out.
        settings: of the allocator that wrote it.
    """
    settings = settings or Settings()
    if settings.expandable_segments:
        return _expandable(events, final, settings)
    waiting: list[Event] = []

    def place(size: int) -> int:
        if waiting and waiting[0].size == size:
            return waiting.pop(0).address
        return -1

    model = CachingAllocator(settings, place=place)
    for segment in before(events, final, settings):
        model.adopt(segment.address, segment.size, segment.stream, _covering(segment))
    result = Replay(live=dict(model.live()))
    reserved = model.counters.reserved
    for number, event in enumerate(events):
        size = 0
        if event.action == "segment_alloc":
            waiting.append(event)
            reserved += event.size
        elif event.action == "alloc":
            address = model.malloc(event.size, event.stream)
            if address != event.address or model.counters.reserved != reserved:
                result.disagree(
                    f"event {number}: {event.size} bytes went to {event.address:#x} with "
                    f"{reserved} reserved, by the model to {address:#x} with "
                    f"{model.counters.reserved}"
                )
                return _by_the_trace_alone(events, final, settings, result)
            size = model.size_of(address)
        elif event.action == "free":
            model.free(event.address)
        elif event.address in model.segments:
            model.release(event.address)
            reserved -= event.size
        result.sizes.append(size)
        result.allocated.append(model.counters.allocated)
        # A segment that the trace has just announced is reserved, whoever will live in it.
        result.reserved.append(reserved)
    return result


def before(events: Sequence[Event], final: Iterable[Segment], settings: Settings) -> list[Segment]:
    """The segments and live blocks before the first event: the trace undone on the final state."""
    segments = {each.address: each for each in final}
    live = {block[0]: block for each in segments.values() for block in each.live}
    unsized: dict[int, int] = {}
    for event in reversed(events):
        if event.action == "alloc":
            live.pop(event.address, None)
            unsized.pop(event.address, None)
        elif event.action == "free":
            live[event.address] = (event.address, settings.round_size(event.size), event.size)
            unsized[event.address] = settings.round_size(event.size)
        elif event.action == "segment_alloc":
            segments.pop(event.address, None)
        else:
            segments[event.address] = Segment(event.address, event.size, event.stream)
    slack = _slack(events, unsized)
    found = []
    blocks = sorted(live.values())
    starts = [block[0] for block in blocks]
    for address in sorted(segments):
        segment = segments[address]
        first, last = (
            bisect_right(starts, address - 1),
            bisect_right(starts, address + segment.size - 1),
        )
        inside = []
        for i in range(first, last):
            start, size, asked = blocks[i]
            if start in unsized:
                following = starts[i + 1] if i + 1 < last else address + segment.size
                if start in slack:
                    size = slack[start]
                elif segment.size > SMALL_BUFFER and following - start - size <= SMALL_SIZE:
                    # The large pool holds no free block so small: it is this block's unsplit rest.
                    size = following - start
            inside.append((start, size, asked))
        found.append(Segment(address, segment.size, segment.stream, tuple(inside)))
    return found


def _slack(events: Sequence[Event], unsized: dict[int, int]) -> dict[int, int]:
    """Sizes of first blocks told by what was handed out right behind them while they lived."""
    ends = sorted((start + size, start) for start, size in unsized.items())
    keys = [end for end, _ in ends]
    gone: set[int] = set()
    sizes: dict[int, int] = {}
    for event in events:
        if event.action == "free":
            gone.add(event.address)
        elif event.action == "alloc":
            i = bisect_right(keys, event.address) - 1
            if i < 0:
                continue
            end, start = ends[i]
            if event.address <= end + SMALL_SIZE and start not in gone:
                sizes.setdefault(start, event.address - start)
    return sizes


def _covering(segment: Segment) -> Iterable[Adopted]:
    """The blocks of a segment with the free stretches between them."""
    at = segment.address
    for start, size, asked in segment.live:
        if start > at:
            yield at, start - at, 0
        yield start, size, asked
        at = start + size
    end = segment.address + segment.size
    if at < end:
        yield at, end - at, 0


def alive_at(events: Sequence[Event], figures: Replay, last: int) -> dict[int, tuple[int, int]]:
    """The blocks that are handed out after an event.

    Args:
        events: the whole trace.
        figures: what `replay` gave for it.
        last: the number of the event.

    Returns:
        By address the size, and the number of the event that handed it out; -1 before the first.
    """
    alive = {address: (size, -1) for address, size in figures.live.items()}
    for number, event in enumerate(events[: last + 1]):
        if event.action == "alloc" and event.size:
            alive[event.address] = figures.sizes[number], number
        elif event.action == "free":
            alive.pop(event.address, None)
    return alive


def _by_the_trace_alone(
    events: Sequence[Event], final: Iterable[Segment], settings: Settings, result: Replay
) -> Replay:
    """The figures as far as the trace has them: sizes rounded, segments as they came."""
    start = before(events, final, settings)
    live = {block[0]: block[1] for segment in start for block in segment.live}
    return _counted(events, live, sum(segment.size for segment in start), settings, result)


def _expandable(events: Sequence[Event], final: Sequence[Segment], settings: Settings) -> Replay:
    live = {address: size for segment in final for address, size, _ in segment.live}
    at_the_end = dict(live)
    handed_out: dict[int, int] = {}
    reserved = sum(segment.size for segment in final)
    for event in reversed(events):
        if event.action == "alloc":
            live.pop(event.address, None)
            handed_out.setdefault(event.address, event.size)
        elif event.action == "free":
            live[event.address] = settings.round_size(event.size)
        else:
            reserved += -event.size if event.action == "segment_alloc" else event.size
    result = _counted(events, live, reserved, settings, Replay())
    # What is left at the end says whether the sizes are as they should be.
    for address, asked in handed_out.items():
        size = at_the_end.get(address)
        if size is not None and size != settings.round_size(asked):
            result.disagree(
                f"{asked} bytes at {address:#x} count for {size} at the end, and not for "
                f"{settings.round_size(asked)}"
            )
    if reserved < 0:
        result.disagree("more was mapped than there is at the end")
    return result


def _counted(
    events: Sequence[Event],
    live: dict[int, int],
    reserved: int,
    settings: Settings,
    result: Replay,
) -> Replay:
    """The figures with every block counted for its rounded size."""
    result.live, sizes = dict(live), dict(live)
    allocated = sum(sizes.values())
    result.allocated, result.reserved, result.sizes = [], [], []
    for event in events:
        size = 0
        if event.action == "alloc":
            size = sizes[event.address] = settings.round_size(event.size) if event.size else 0
            allocated += size
        elif event.action == "free":
            allocated -= sizes.pop(event.address, 0)
        else:
            reserved += event.size if event.action == "segment_alloc" else -event.size
        result.allocated.append(allocated)
        result.reserved.append(reserved)
        result.sizes.append(size)
    return result
