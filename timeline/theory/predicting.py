"""From a tape to an Estimate: the allocator's model is asked for what the program asks for."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from timeline.theory.allocator import CachingAllocator, OutOfDeviceMemory
from timeline.theory.allocator.settings import Settings
from timeline.theory.cuda.cards import Card, context
from timeline.theory.cudnn.settling import settle
from timeline.theory.estimate_types import Alive, Course, Estimate, Program, Range
from timeline.theory.tape import Act, Amount, Storage, Tape
from timeline.theory.types import CATEGORIES

TOO_MUCH = 0.08
"""The part of what is reserved that may not be: no row of public measurements, of 75, was more than
5.6 % below where the card had room (docs/estimate.md)."""

END_OF_PROGRAM = 4
"""Steps after which nothing new is expected: a cache that is warm stays as it is."""


def _column() -> array[int]:
    """Bytes after each event: as a list each would take four times as much."""
    return array("q")


@dataclass(slots=True)
class Run:
    """One run of a tape through the allocator.

    Attributes:
        peak_event: the event at which most was allocated, and ``peak_phase`` its phase.
        sizes: by storage, the size of its block.
    """

    allocator: CachingAllocator
    peak_event: int = -1
    peak_phase: str = ""
    out_of_memory: str = ""
    sizes: dict[int, int] = field(default_factory=dict)
    allocated: array[int] = field(default_factory=_column)
    reserved: array[int] = field(default_factory=_column)
    categories: dict[str, array[int]] = field(default_factory=dict)
    phases: list[tuple[int, str]] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)


def run(
    tape: Tape,
    *,
    steps: int,
    size: Callable[[Amount], int],
    settings: Settings | None = None,
    capacity: int | None = None,
    follow: bool = True,
) -> Run:
    """Ask the allocator for everything on a tape.

    Args:
        steps: how many to run; the tape's last is repeated.
        size: which of an amount's bounds to take.
        capacity: bytes that the device has for the allocator; None for no end.
        follow: whether the course is kept, or the peaks alone.
    """
    allocator = CachingAllocator(settings, capacity=capacity)
    made = Run(allocator)
    counters = allocator.counters
    blocks: dict[int, int] = {}
    by: dict[str, int] = dict.fromkeys(CATEGORIES, 0)
    columns = made.categories = {name: _column() for name in CATEGORIES} if follow else {}
    phase, highest, index = "", -1, 0
    for act, which in tape.repeated(steps):
        if act is Act.PHASE:
            phase = tape.phases[which]
            made.phases.append((index, phase))
            continue
        if act is Act.STEP:
            made.steps.append(index)
            continue
        if act is Act.BORN:
            storage = tape.origin(which)
            if storage.host:
                continue
            try:
                address = _room_for(allocator, storage, size(storage.amount))
            except OutOfDeviceMemory as error:
                made.out_of_memory = str(error)
                break
            if not address:
                continue
            blocks[which] = address
            made.sizes[which] = allocator.size_of(address)
            by[storage.category] += made.sizes[which]
            if counters.allocated > highest:
                highest = counters.allocated
                made.peak_event, made.peak_phase = index, phase
        elif act is Act.EMPTY:
            allocator.empty_cache()
        else:
            address = blocks.pop(which, 0)
            if not address:
                continue
            by[tape.origin(which).category] -= made.sizes[which]
            allocator.free(address)
        index += 1
        if follow:
            made.allocated.append(counters.allocated)
            made.reserved.append(counters.reserved)
            for name, column in columns.items():
                column.append(by[name])
    return made


def _room_for(allocator: CachingAllocator, storage: Storage, size: int) -> int:
    """The address of its block; 0 where it goes without."""
    try:
        return allocator.malloc(size)
    except OutOfDeviceMemory:
        if not storage.may_fail:
            raise
    for smaller in storage.instead:
        with suppress(OutOfDeviceMemory):
            return allocator.malloc(smaller)
    return 0


def alive_at_peak(tape: Tape, made: Run, steps: int) -> tuple[Alive, ...]:
    """By layer, category and phase, what is alive when most is allocated; most bytes first."""
    live: dict[int, None] = {}
    index = 0
    for act, which in tape.repeated(steps):
        if act in (Act.PHASE, Act.STEP):
            continue
        if act is not Act.EMPTY and which not in made.sizes:
            continue
        if act is Act.BORN:
            live[which] = None
        else:
            live.pop(which, None)
        if index == made.peak_event:
            break
        index += 1
    rows: dict[tuple[str, str, str], tuple[int, int]] = {}
    for which in live:
        storage = tape.origin(which)
        key = storage.layer, storage.category, storage.phase
        total, count = rows.get(key, (0, 0))
        rows[key] = total + made.sizes[which], count + 1
    told = [Alive(*key, total, count) for key, (total, count) in rows.items()]
    return tuple(sorted(told, key=lambda each: -each.bytes))


def predict(
    tape: Tape,
    *,
    title: str,
    card: Card,
    steps: int = END_OF_PROGRAM,
    settings: Settings | None = None,
    capacity: int | None = None,
) -> Estimate:
    """What the allocator would show for a tape.

    Args:
        title: what to call the program.
        card: for the context, which is no matter of the allocator.
        steps: how many to run; the tape's last is repeated.
        settings: what ``PYTORCH_CUDA_ALLOC_CONF`` would say.
        capacity: bytes that the allocator can have; None for no end.
    """
    steps = max(steps, tape.steps)
    if settings is not None and settings.backend != "native":
        tape.not_counted.setdefault(
            f"the backend {settings.backend}: CUDA's own pools reserve otherwise than torch's "
            "allocator, whose figures these are"
        )
    settle(tape, card.capability)

    def ask(which: int, *, follow: bool = False) -> Run:
        return run(
            tape,
            steps=steps,
            size=lambda amount: amount[which],
            settings=settings,
            capacity=capacity,
            follow=follow,
        )

    made = ask(1, follow=True)
    peaks = made.allocator.counters
    beside = context(card)
    reserved = Range(_least(tape, made, ask), peaks.peak_reserved, _most(tape, made, ask, capacity))
    room = card.memory - beside.low
    if reserved.expected <= room < reserved.high:
        # The allocator gives back what it only keeps before it fails.
        reserved = Range(reserved.low, reserved.expected, room)
    at = made.peak_event
    return Estimate(
        title=title,
        device=card.name,
        peak_allocated=peaks.peak_allocated,
        peak_reserved=peaks.peak_reserved,
        reserved=reserved,
        context=Range(*beside),
        process_total=Range(
            reserved.low + beside.low,
            reserved.expected + beside.expected,
            reserved.high + beside.high,
        ),
        peak_phase=made.peak_phase,
        categories_at_peak={
            name: column[at] if at >= 0 else 0 for name, column in made.categories.items()
        },
        alive_at_peak=alive_at_peak(tape, made, steps),
        course=Course(
            allocated=made.allocated,
            reserved=made.reserved,
            categories=made.categories,
            phases=made.phases,
            steps=made.steps,
        ),
        steps=len(made.steps),
        capacity=capacity,
        out_of_memory=made.out_of_memory,
        assumptions=tuple(tape.assumptions),
        not_counted=tuple(tape.not_counted),
        program=Program(tape, steps, settings),
    )


def _least(tape: Tape, made: Run, ask: Callable[[int], Run]) -> int:
    """The least that may be reserved: what tensors take, or nearly what the model says.

    Where workspaces may be smaller than expected, as small as they can be; that can also keep more.
    """
    known = all(each.amount.low == each.amount.expected for each in tape.storages)
    runs = (made,) if known else (made, ask(0))
    peaks = [each.allocator.counters for each in runs]
    return min(max(each.peak_allocated, int((1 - TOO_MUCH) * each.peak_reserved)) for each in peaks)


def _most(tape: Tape, made: Run, ask: Callable[[int], Run], capacity: int | None) -> int:
    """The most that may be reserved, for what the model cannot know.

    Kernels whose workspaces are not known, and batches that differ in shape, change which free
    block serves which request. So a largest block may be needed once more, and the blocks that are
    kept and not used may be half as much again; where there are such kernels, twice as much, and
    workspaces may be as large as they can be.
    """
    peaks = made.allocator.counters
    unused = peaks.peak_reserved - peaks.peak_allocated
    most = peaks.peak_reserved + max(made.sizes.values(), default=0)
    if any(each.amount.expected != each.amount.high for each in tape.storages):
        most = max(most + unused, ask(2).allocator.counters.peak_reserved)
    else:
        most += unused // 2
    return most if capacity is None or made.out_of_memory else min(most, capacity)
