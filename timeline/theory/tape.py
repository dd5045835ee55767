"""What a followed program asks of the GPU's allocator: births and deaths of storages, in order.

The tape knows neither torch nor a GPU. It can be run through the allocator's model any number of
times: with a capacity, with other settings, or with the low and the high end of what is not known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import Enum, auto
from typing import Any, NamedTuple


class Act(Enum):
    """What happens to a storage, to the allocator's cache, or to the program's phase."""

    BORN = auto()
    GONE = auto()
    EMPTY = auto()
    PHASE = auto()
    STEP = auto()


class Event(NamedTuple):
    """One line of a tape; ``which`` is a storage, an index of `Tape.phases`, a step, or nothing."""

    act: Act
    which: int


class Amount(NamedTuple):
    """Bytes that are known between two bounds; the middle one is the best guess."""

    low: int
    expected: int
    high: int

    @classmethod
    def exactly(cls, size: int) -> Amount:
        """A size that is known."""
        return cls(size, size, size)


@dataclass(frozen=True, slots=True)
class Convolution:
    """One kernel of cuDNN, in its words: whose workspace cuDNN can be asked for.

    Attributes:
        kind: ``forward``, ``input gradient`` or ``weight gradient``.
        x, w, y: the sizes of the larger map, the filters, and the map that they make of it.
        stride, padding, dilation: by spatial dimension.
        dtype: such as ``float32``.
        channels_last: the memory format of all three.
    """

    kind: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    y: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    dtype: str
    channels_last: bool

    def as_value(self) -> dict[str, Any]:
        """A value of JSON."""
        return asdict(self)

    @classmethod
    def of_value(cls, value: dict[str, Any]) -> Convolution:
        """Of such a value."""
        made: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
        return cls(**made)


@dataclass(slots=True)
class Storage:
    """Something that holds memory on the device.

    Attributes:
        amount: its bytes.
        layer: the qualified name of the module that made it; ``""`` outside of all.
        phase: in which it was made.
        category: one of `timeline.theory.types.CATEGORIES`.
        host: it is in the host's memory, and no matter of the device.
        reason: for memory that no tensor shows, what it is.
        may_fail: where there is no room for it, the program goes on without it.
        instead: smaller ones that are tried, one after the other, where there is no room.
        asks: the kernel whose workspace it is, while that is to be asked for.
    """

    amount: Amount
    layer: str
    phase: str
    category: str = "temporary"
    host: bool = False
    reason: str = ""
    may_fail: bool = False
    instead: tuple[int, ...] = ()
    asks: Convolution | None = None


@dataclass(slots=True)
class Tape:
    """All that was seen.

    Attributes:
        storages: by number, in the order of their birth.
        events: in the order of time.
        phases: names, such as ``step/forward``.
        assumptions, not_counted: sentences, in the order in which they came up.
    """

    storages: list[Storage] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)
    assumptions: dict[str, None] = field(default_factory=dict)
    not_counted: dict[str, None] = field(default_factory=dict)

    def add(self, storage: Storage) -> int:
        """A storage is born; returns its number."""
        self.storages.append(storage)
        number = len(self.storages) - 1
        self.events.append(Event(Act.BORN, number))
        return number

    def remove(self, number: int) -> None:
        """A storage is gone."""
        self.events.append(Event(Act.GONE, number))

    def empty_cache(self) -> None:
        """The program has the allocator give back what it only keeps."""
        self.events.append(Event(Act.EMPTY, -1))

    def phase(self, name: str) -> None:
        """What comes from here on belongs to a phase."""
        if name not in self.phases:
            self.phases.append(name)
        self.events.append(Event(Act.PHASE, self.phases.index(name)))

    def step(self) -> None:
        """A step begins."""
        self.events.append(Event(Act.STEP, self.steps))

    @property
    def steps(self) -> int:
        """How many steps have begun."""
        return sum(event.act is Act.STEP for event in self.events)

    def repeated(self, times: int) -> Iterator[Event]:
        """The events, with the last step as often again as is needed to make ``times`` steps.

        A step that is repeated brings storages of its own, with numbers after those of the tape
        (`origin` gives the one that each stands for), and takes away those that the step before
        it left behind.
        """
        yield from self.events
        starts = [i for i, event in enumerate(self.events) if event.act is Act.STEP]
        if not starts or len(starts) >= times:
            return
        begin = starts[-1]
        last = self.events[begin:]
        left = self._left_behind(starts)
        now: dict[int, int] = {}
        for again in range(times - len(starts)):
            before, now = now, {}
            offset = len(self.storages) * (again + 1)
            for act, which in last:
                if act is Act.BORN:
                    now[which] = which + offset
                    yield Event(act, which + offset)
                elif act is Act.GONE:
                    if which in now:
                        yield Event(act, now[which])
                    elif which in left:
                        heir = left[which]
                        yield Event(act, before.get(heir, heir))
                elif act is Act.STEP:
                    yield Event(act, len(starts) + again)
                else:
                    yield Event(act, which)

    def _left_behind(self, starts: list[int]) -> dict[int, int]:
        """For storages of the step before that the last one takes away, what it leaves instead."""
        begin = starts[-1]
        ends: dict[tuple[str, str, str, int], list[int]] = {}
        born = {e.which for e in self.events[begin:] if e.act is Act.BORN}
        gone = {e.which for e in self.events[begin:] if e.act is Act.GONE}
        for number in sorted(born - gone):
            ends.setdefault(self._kind(number), []).append(number)
        heirs: dict[int, int] = {}
        for number in sorted(gone - born):
            waiting = ends.get(self._kind(number))
            if waiting:
                heirs[number] = waiting.pop(0)
        return heirs

    def _kind(self, number: int) -> tuple[str, str, str, int]:
        each = self.storages[number]
        return each.category, each.phase, each.layer, each.amount.expected

    def origin(self, number: int) -> Storage:
        """The storage that a number of `repeated` stands for."""
        return self.storages[number % len(self.storages)]
