"""What a prediction says: values that know neither torch nor a GPU. Sizes are bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from timeline.theory.allocator.settings import Settings
    from timeline.theory.tape import Tape


@dataclass(frozen=True, slots=True)
class Range:
    """A figure that is known between two bounds."""

    low: int
    expected: int
    high: int


@dataclass(frozen=True, slots=True)
class Alive:
    """What a layer has at the moment of the peak.

    Attributes:
        layer: its qualified name; ``""`` outside of all.
        category: what it is for.
        phase: in which it was made.
        bytes: the blocks' sizes.
        storages: how many they are.
    """

    layer: str
    category: str
    phase: str
    bytes: int
    storages: int


@dataclass(frozen=True, slots=True)
class Course:
    """The allocator over the whole program, one value an event; all columns are equally long.

    Attributes:
        allocated, reserved: after each event.
        categories: allocated bytes by category, after each event.
        phases: where each phase begins: the index of its first event, and its name.
        steps: where each step begins.
    """

    allocated: Sequence[int]
    reserved: Sequence[int]
    categories: Mapping[str, Sequence[int]]
    phases: Sequence[tuple[int, str]]
    steps: Sequence[int]


@dataclass(frozen=True, slots=True)
class Program:
    """What is asked of the allocator.

    Attributes:
        tape: by whom, and in which order.
        steps: how many; the tape's last is repeated.
        settings: of the allocator; None for its own.
    """

    tape: Tape
    steps: int
    settings: Settings | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a program should need on a GPU, by following it on tensors without memory.

    Attributes:
        title: of the model or the program.
        device: the card, by name.
        peak_allocated, peak_reserved: as ``torch.cuda.max_memory_allocated`` and ``…_reserved``
            would give them.
        reserved: the range of the peak of reserved bytes, for what is not known of kernels.
        context: what the process has on the card beside the allocator.
        process_total: reserved and context: what ``nvidia-smi`` would show.
        peak_phase: where the peak of allocated bytes lies, such as ``step/backward``.
        categories_at_peak: what is alive then.
        alive_at_peak: the same by layer, most bytes first.
        course: over the whole program.
        steps: how many were run through the allocator.
        capacity: what the allocator was given; None for no end.
        out_of_memory: the sentence of the allocation that found no room; ``""`` where all did.
        assumptions: what was taken for granted.
        not_counted: what has no rule.
        cut_off: why the program was not followed to where its training repeats itself; ``""`` if
            it was.
        program: what was asked of the allocator; None of an estimate that was read from a file.
    """

    title: str
    device: str
    peak_allocated: int
    peak_reserved: int
    reserved: Range
    context: Range
    process_total: Range
    peak_phase: str
    categories_at_peak: Mapping[str, int]
    alive_at_peak: tuple[Alive, ...]
    course: Course
    steps: int
    capacity: int | None = None
    out_of_memory: str = ""
    assumptions: tuple[str, ...] = ()
    not_counted: tuple[str, ...] = ()
    cut_off: str = ""
    program: Program | None = field(default=None, repr=False, compare=False)

    @property
    def fits(self) -> bool:
        """Whether everything found room in the capacity that was given."""
        return not self.out_of_memory
