"""The weighed step of a run, as its process wrote it: what was held at each phase's peak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from timeline.recording.course import Course
from timeline.recording.types import UNKNOWN


@dataclass(frozen=True, slots=True)
class Moment:
    """What was read together at one moment; sizes in bytes, ``UNKNOWN`` where it could not be had.

    Attributes:
        t_ns: monotonic.
        rss: resident size.
        file: of it what is mapped from files or shared.
        in_use, free: of the C library's heap: given to the program, and free but kept.
        heap: how large the heap itself is: both, but for pieces with mappings of their own.
    """

    t_ns: int
    rss: int
    file: int
    in_use: int
    free: int
    heap: int = UNKNOWN


NO_MOMENT = Moment(0, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)


@dataclass(frozen=True, slots=True)
class WeighedPhase:
    """One phase of the weighed step at its peak, or where its peak may have been.

    The sampler takes the high-water mark, too: what it took is not in ``high``, and may have been
    between ``at`` and ``after``. There may be several of one phase, the likeliest first.

    Attributes:
        path, what: the phase's path, and what more is known of it, such as a module's class.
        at: the last moment before the peak at which all was read.
        after: the next moment at which all was read; where it was not kept, all is unknown.
        stays: what torch's allocator gave more than at ``at`` until ``after``; None where unknown.
        begin, end: its first and last moment; where they were not kept, all is unknown.
        turn: how many backwards of the step had ended before it began.
        first: the number of the first call of a layer in it; ``UNKNOWN`` where not kept.
        reached: the call of a layer that was under way at ``at``, or whose backward was;
            ``UNKNOWN`` before the first one. In forward that at ``after``.
        past: the same at ``after``; the peak was between. None where not kept.
        torn: bytes by which what was saved at ``at`` may be another moment's than of ``reached``:
            a layer's backward had given back a part, and the smaller part is this.
        asked: bytes of the inputs that the program had as it began, by their shapes; None where not
            kept.
        returned: bytes of what models had returned and the program still had as it began, by their
            shapes; a part of temporaries.
        stood: (number of the layer, bytes of parameters) of those that had a gradient as it began;
            None where not kept.
        high: how high resident memory went then.
        rise: what torch's allocator gave more than at ``at`` until the peak; None where unknown.
        shared: bytes of the categories that lie in shared memory or mapped files.
        categories: bytes of CPU memory by category at the peak; ``temporary`` is 0 where ``rise``
            is not known.
        layers: (number of the layer, bytes of activations) at ``at``.
    """

    path: str
    what: str
    at: Moment
    high: int
    rise: int | None
    shared: int
    categories: Mapping[str, int]
    layers: tuple[tuple[int, int], ...]
    after: Moment = NO_MOMENT
    stays: int | None = None
    begin: Moment = NO_MOMENT
    end: Moment = NO_MOMENT
    turn: int = 0
    reached: int = UNKNOWN
    past: int | None = None
    torn: int = 0
    first: int = UNKNOWN
    asked: int | None = None
    returned: int = 0
    stood: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True, slots=True)
class HeapLook:
    """The heap in an instance of a phase after the weighed step; (in_use, free, file) in bytes.

    Attributes:
        phase: the instance's number in the recording.
        begin, end: as it began and as it ended.
        most: how large the heap itself had been at most by then; ``UNKNOWN`` where nobody told.
    """

    phase: int
    begin: tuple[int, int, int]
    end: tuple[int, int, int]
    most: int = UNKNOWN


@dataclass(frozen=True, slots=True)
class Import:
    """An outermost import between the moment before the model and the end of the weighed step.

    Attributes:
        t_ns: when it had ended, monotonic.
        heap: bytes that the heap had more in use after it than before.
        beside: bytes that were resident more beside the heap and files.
    """

    t_ns: int
    heap: int
    beside: int


@dataclass(frozen=True, slots=True)
class WeighedLayer:
    """One module of the weighed step; the fields of `timeline.theory.types.Layer`."""

    name: str
    kind: str
    parameters: int
    parameter: int
    buffer: int
    gradient: int
    activation: int
    output_shape: tuple[int, ...] | None
    output_dtype: str | None
    output_bytes: int
    calls: int


@dataclass(frozen=True, slots=True)
class LayerCall:
    """An innermost layer was called while gradients were wanted.

    Attributes:
        layer: its number.
        turn: how many backwards of the step had ended before.
        shape, element: of what it was given; bytes of a number of it, of indices the weights'.
        storage: of what it was given, by number; under 0 for a parameter, a buffer or an input.
        bytes: of that storage.
        maker: the number of the call that made what it was given; under 0 where none did.
        plain: whether it is called in the way that formulas are for.
        walked: the turns whose backward went through it; none where that was not in the step. None
            where it was not kept: that of its own turn.
        cast: whether it was called under autocast.
        packed: whether what it saves was packed, as in a checkpoint.
    """

    layer: int
    turn: int
    shape: tuple[int, ...]
    element: int
    storage: int
    bytes: int
    maker: int
    plain: bool
    walked: tuple[int, ...] | None = None
    cast: bool = False
    packed: bool = False

    @property
    def turns(self) -> tuple[int, ...]:
        """The turns whose backward went through it."""
        return (self.turn,) if self.walked is None else self.walked


@dataclass(frozen=True, slots=True)
class Trained:
    """A group of parameters that an optimizer steps.

    Attributes:
        optimizer: the name of its class.
        options: whether ``momentum``, ``amsgrad``, ``centered``, ``foreach``, ``fused``,
            ``weight_decay``, ``nesterov`` and ``maximize`` are on, where it has them.
        sizes: (numbers, bytes of a number) of each parameter.
    """

    optimizer: str
    options: Mapping[str, bool]
    sizes: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Anatomy:
    """A weighed step.

    Attributes:
        step: its number, from 1; 0 for an inference or a forward without a step.
        began_ns, ended_ns: monotonic.
        spent_ns: how much longer the step took for being weighed.
        before: the moment before the model.
        held: bytes of the model that were there at ``before`` all the same.
        categories: the most of each at one moment.
        parameters: how many numbers the parameters have.
        sizes: (numbers, bytes of a number) of each parameter in host memory.
        trained: the groups of parameters that optimizers step.
        devices: where the tensors were.
        not_counted: a sentence for each thing that could not be weighed.
        calls: of innermost layers, in their order.
        older: the turns whose backward went through what had been there before the step.
        course: what was held at each moment; None where it was not kept.
        settings: of those layers by number, such as a convolution's stride.
        imports: in the order of time.
        heap_most: how large the heap itself had been at most when the step ended.
        coarse: why it was weighed coarsely; empty where it was weighed in full.
    """

    step: int
    began_ns: int
    ended_ns: int
    spent_ns: int
    before: Moment
    held: int
    phases: tuple[WeighedPhase, ...]
    categories: Mapping[str, int]
    layers: tuple[WeighedLayer, ...]
    parameters: int
    sizes: tuple[tuple[int, int], ...]
    trained: tuple[Trained, ...]
    devices: tuple[str, ...]
    not_counted: tuple[str, ...]
    calls: tuple[LayerCall, ...] = ()
    settings: Mapping[int, Mapping[str, object]] = field(default_factory=dict)
    imports: tuple[Import, ...] = ()
    heap_most: int = UNKNOWN
    older: tuple[int, ...] = ()
    course: Course | None = None
    coarse: str = ""
