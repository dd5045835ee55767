"""Which step of a training is weighed, and when: see `weighing` for how.

A step goes from the end of one step of the program's optimizer to the end of its next, so that the
micro-steps of gradient accumulation lie in it. Where several take turns, as in a GAN, it goes from
the last one's to the last one's: from the first one's a generator's forward would lie before the
one end, and its backward after the other. Which is the last is known once each has stepped: as a
new one steps, the step begins anew after it. Where the first one steps several times before the
second one does, as a critic may, its second step is weighed, and then a step with all turns in its
place. A program that only infers has its first inference weighed.
"""

from __future__ import annotations

import weakref
from _thread import get_ident
from typing import Any

from timeline.recorder import session as sessions
from timeline.recorder.hooks.afterwards import Afterwards
from timeline.recorder.hooks.allocations import Allocations
from timeline.recorder.hooks.imported import Imports
from timeline.recorder.hooks.resident import Resident
from timeline.recorder.hooks.weighed import write
from timeline.recorder.hooks.weighing import Call, Weighing
from timeline.recording.weighed.facts import MOMENT

_MOST_KNOWN = 1000
"""Of modules that were built, the first so many may be a part of the weighed step."""

_MOST_CALLS = 5000
"""A step with more phases than that, each with some KB of ticks and what it saved, may be none: the
program's optimizer is done, and it goes on in another way."""

_MOST_TURNS = 100
"""Of so many optimizers one may be the last of those that take turns; a program that makes more of
them, such as one for each image, has them for themselves."""

_MOST_BEFORE = 128
"""After so many steps, an optimizer that is new takes no turns with those before it: it begins
another part of the program. Critics step 5 times, some 100 times at first."""

_INFERENCE = "inference"
_FORWARDS = 3
"""Without a backward up to this forward there will hardly be one."""


class Anatomy:
    """Waits for the step, has it weighed and its document written, and is done.

    Attributes:
        done: whether nothing is to be done any more.
        traced: whether the program traces its operators, which must all be told.
        afterwards: looks at the heap in the steps that come then; None where nobody does.
        awaits_turns: whether a new optimizer may yet take turns with the one whose step was
            weighed.
    """

    def __init__(self, session: sessions.Session, step: int) -> None:
        """``step``: the number of the step to weigh, from 1."""
        self.done = False
        self.traced = False
        self.afterwards: Afterwards | None = None
        self.awaits_turns = False
        self._session = session
        self._resident: Resident | None = None
        self._allocations: Allocations | None = None
        self._imports: Imports | None = None
        self._step = step
        self._steps = 0
        self._last: Any = None  # of the optimizers that take turns
        self._since: set[int] = set()  # the ids of those that have stepped since it did
        self._taken: list[tuple[int, int, int]] = []  # by imports
        self._models: list[Any] = []
        self._optimizers: list[Any] = []
        self._before: dict[str, int] | None = None
        self._before_holds = 0
        self._weighing: Weighing | None = None
        self._weighed = False
        self._weighed_a_step = False
        self._forwards = 0
        self._trains = False
        self._alone = False

    # What the probes tell, outermost calls alone.

    def built(self, module: Any) -> None:
        """A module is being built; nothing of it is there yet."""
        self._look_before(None)
        self._is_more_than_import()
        self._know(self._models, module)

    def begins(
        self, path: str, what: str, opened: sessions.Open, module: Any, inputs: Any
    ) -> Call | None:
        """A phase has begun, and may be weighed; then until `ends`."""
        if self.done:
            return None
        try:
            self._look_before(module)
            self._is_more_than_import()
            weighing = self._weighing
            if weighing is None:
                if not self._is_time(path):
                    return None
                if self._resident is None or self._allocations is None:
                    return None
                weighing = self._weighing = Weighing(
                    self._resident,
                    self._allocations,
                    _there(self._models),
                    _there(self._optimizers),
                )
            elif weighing.thread != get_ident() or path == _INFERENCE:
                return None
            elif len(weighing.calls) >= _MOST_CALLS:
                self._end_early(f"{self._which()} had not ended after {_MOST_CALLS:,} phases")
                return None
            if module is not None and path != "step/loss":
                weighing.own.know(module)
            given = inputs
            if path.endswith("backward"):
                weighing.walk(inputs)
                inputs = ()
            call = weighing.begin(path, what, opened.number, inputs, told=not self.traced)
            if module is not None:
                weighing.enter(module, *given)
            return call
        except Exception as error:
            self._give_up(error)
            return None

    def ends(self, call: Call) -> None:
        """The phase's last moment."""
        weighing = self._weighing
        if weighing is not None:
            try:
                weighing.end(call)
            except Exception as error:
                self._give_up(error)

    def ended(self, call: Call) -> None:
        """The phase is over, and its mark written."""
        weighing = self._weighing
        if weighing is None:
            return
        try:
            weighing.ended()
            if self._alone and not weighing.is_open:
                self._conclude(weighing)
        except Exception as error:
            self._give_up(error)

    def enter(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A module is called inside a weighed call."""
        if self._weighing is not None:
            try:
                self._weighing.enter(module, args, kwargs)
            except Exception as error:
                self._give_up(error)

    def leave(self) -> None:
        """It returned."""
        if self._weighing is not None:
            try:
                self._weighing.leave()
            except Exception as error:
                self._give_up(error)

    def steps(self, optimizer: Any) -> None:
        """An optimizer's step is weighed, perhaps its first."""
        if self._weighing is not None and optimizer is not None:
            self._weighing.own.know_optimizer(optimizer)

    def stepped(self, optimizer: Any) -> None:
        """An optimizer's step has ended."""
        if (self.done and not self.awaits_turns) or optimizer is None:
            return
        try:
            is_new = all(each() is not optimizer for each in self._optimizers)
            self._know(self._optimizers, optimizer)
            self._since.add(id(optimizer))
            if self.done:
                self._takes_turns(optimizer, is_new=is_new)
                return
            weighing = self._weighing
            last = None if self._last is None else self._last()
            if last is None:
                self._last = weakref.ref(optimizer)
            elif last is not optimizer:
                if is_new and len(self._optimizers) <= _MOST_TURNS:
                    self._begin_anew(optimizer)
                return
            self._steps += 1
            since, self._since = self._since, set()
            if weighing is not None and weighing.thread == get_ident():
                if weighing.own.know_optimizer(optimizer):
                    weighing.own.look(states=True)
                if self._weighed_a_step and len(since) < 2:
                    self._keep_the_one_before(weighing)
                else:
                    self._conclude(weighing)
        except Exception as error:
            self._give_up(error)

    def step_aside(self) -> None:
        """The program starts a profiler of its own."""
        if self._weighing is not None:
            self._weighing.step_aside()

    def close(self) -> None:
        """The recording ends: what was begun is let go, and said."""
        weighing, self._weighing = self._weighing, None
        afterwards, self.afterwards = self.afterwards, None
        if afterwards is not None:
            afterwards.close()
        self._watch_no_imports()
        if self._resident is not None:
            self._resident.close()
        if self.done:
            return
        self.done = True
        if weighing is not None:
            weighing.close()
        if self._weighed_a_step:
            return  # that of one optimizer alone
        if weighing is not None or self._steps:
            self._session.missing(f"no anatomy: the program ended before {self._which()} had ended")
        elif self._forwards and not self._weighed:
            self._session.missing("no anatomy: no optimizer of torch.optim has stepped")

    # What comes of it.

    def _is_time(self, path: str) -> bool:
        """Whether to begin now."""
        self._alone = False
        self._forwards += path == "step/forward"
        self._trains |= path.endswith("backward")
        if self._steps:
            return self._steps == self._step - 1 and path != _INFERENCE
        # Until an optimizer has stepped nobody knows that it will: a program that only infers has
        # its first inference weighed, or an early forward if it forgot to say no_grad.
        forgot = self._forwards == _FORWARDS and not self._trains
        if not self._weighed and (path == _INFERENCE or forgot):
            self._alone = True
            return True
        return self._step == 1 and path != _INFERENCE

    def _look_before(self, module: Any) -> None:
        """What is resident before the model; or, where it came first, with it."""
        if self._before is not None:
            return
        self._resident = resident = Resident(self._session)
        self._before = dict(zip(MOMENT, resident.read(), strict=True))
        # Made here, where a model is built: in the step it would take a tenth of all.
        self._allocations = Allocations()
        if resident.heap is not None:
            self._imports = Imports(resident.private)
            self._imports.watch()
        if module is not None:
            probe = Weighing(resident, self._allocations, [module], [])
            probe.own.look(states=True)
            self._before_holds = probe.pieces.on_cpu()
            probe.close()

    def _begin_anew(self, optimizer: Any) -> None:
        """One more optimizer takes turns with the others, and has ended the first step of all."""
        if self._weighing is not None:
            if self._weighing.thread != get_ident():
                return
            self._weighing.close()
            self._weighing = None
        self._last = weakref.ref(optimizer)
        self._steps = 1

    def _takes_turns(self, optimizer: Any, *, is_new: bool) -> None:
        """A step was weighed, and an optimizer has stepped; a new one may take turns with it."""
        last = self._last() if self._last is not None else None
        self._steps += 1
        if last is None or self._steps > _MOST_BEFORE:
            self.awaits_turns = False
        elif is_new:
            self.done = self.awaits_turns = False
            self._steps, self._step = 1, 2
            self._last = weakref.ref(optimizer)
            self._since = set()

    def _keep_the_one_before(self, weighing: Weighing) -> None:
        """No other stepped meanwhile: it takes no turns, but begins another part of the program."""
        self._weighing = None
        self.done = True
        weighing.close()

    def _is_more_than_import(self) -> None:
        if self._imports is not None:
            self._imports.give_up()

    def _watch_no_imports(self) -> None:
        imports, self._imports = self._imports, None
        if imports is not None:
            imports.stop()
            self._taken = imports.taken

    def _know(self, those: list[Any], one: Any) -> None:
        if len(those) < _MOST_KNOWN and all(each() is not one for each in those):
            those.append(weakref.ref(one))

    def _conclude(self, weighing: Weighing) -> None:
        self._weighing = None
        self.awaits_turns = not self._weighed_a_step and not self._alone
        self._weighed = True
        self._weighed_a_step |= not self._alone
        self.done = not self._alone
        if self.done:
            self._watch_no_imports()
        imports = self._imports
        try:
            write(
                self._session.directory,
                weighing,
                step=0 if self._alone else self._step,
                before={**(self._before or {}), "held": self._before_holds},
                imports=imports.taken if imports is not None else self._taken,
            )
        finally:
            weighing.close()
        if self.done and self._resident is not None and self._resident.heap is not None:
            if self.afterwards is not None:
                self.afterwards.close()
            highest = weighing.highest()
            highest.pop(_INFERENCE, None)  # of which nothing stays that would tell it from another
            self.afterwards = Afterwards(self._session, highest, self._resident)

    def _which(self) -> str:
        last = None if self._last is None else self._last()
        name = "its optimizer" if last is None else type(last).__name__
        return f"the {_ordinal(self._step)} step of {name}"

    def _give_up(self, error: Exception) -> None:
        self._end_early(f"{type(error).__name__}: {error}")

    def _end_early(self, why: str) -> None:
        self.done = True
        self._watch_no_imports()
        weighing, self._weighing = self._weighing, None
        if weighing is not None:
            try:
                weighing.close()
            except Exception:
                pass
        self._session.missing(f"no anatomy: {why}")


def _there(those: list[Any]) -> list[Any]:
    return [one for one in (each() for each in those) if one is not None]


def _ordinal(number: int) -> str:
    named = {1: "first", 2: "second", 3: "third"}
    return named.get(number, f"{number}th")
