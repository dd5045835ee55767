"""The weighed step of a training, from its begin to its document: see `weighing` for how.

Which step that is `turns` knows. A program that only infers has its first inference weighed.
"""

from __future__ import annotations

from _thread import get_ident
from collections import deque
from typing import Any
from weakref import ref

from timeline.recorder import session as sessions
from timeline.recorder.hooks.afterwards import Afterwards, Looking
from timeline.recorder.hooks.allocations import Allocations
from timeline.recorder.hooks.coarse import Coarse
from timeline.recorder.hooks.forecast import COARSELY, FULLY, LATER, Forecast
from timeline.recorder.hooks.imported import Imports
from timeline.recorder.hooks.nesting import Watch, Watcher
from timeline.recorder.hooks.passage import Call
from timeline.recorder.hooks.pieces import storages_in
from timeline.recorder.hooks.resident import Resident
from timeline.recorder.hooks.turns import ANEW, END, NOTHING, Turns, know, there
from timeline.recorder.hooks.watching import Stepping, Waiting, Watching
from timeline.recorder.hooks.weighed import write
from timeline.recorder.hooks.weighing import Weighing
from timeline.recording.weighed.facts import MOMENT

_MOST_CALLS = 5000
"""A step with more phases than that, each with some KB of ticks and what it saved, may be none: the
program's optimizer is done, and it goes on in another way."""

_MOST_RETURNED = 256
"""Of what models returned before the step, so many of the last tensors may still be there."""

_INFERENCE = "inference"
_MOST_INFERENCES = 64
"""Of a program that has inferred so often before it trains no more is looked at: it may never."""

_EARLY = 2
"""The step that is weighed where none is named: the first has no state of optimizers before it, and
libraries load and make their code in it."""

_FORWARDS = 3
"""Without a backward up to this forward there will hardly be one."""


class Anatomy(Watcher):
    """Waits for the step, has it weighed and its document written, and is done.

    Attributes:
        done: whether nothing is to be done any more.
        traced: whether the program traces its operators, which must all be told.
        afterwards: looks at the heap in the steps that come then; None where nobody does.
        awaits_turns: whether a new optimizer may yet take turns with the one whose step was
            weighed.
    """

    def __init__(self, session: sessions.Session, step: int) -> None:
        """``step``: the number of the step to weigh in full, from 1; under 0 for an early one."""
        self.done = False
        self.traced = False
        self.afterwards: Afterwards | None = None
        self.awaits_turns = False
        self._session = session
        self._resident: Resident | None = None
        self._allocations: Allocations | None = None
        self._imports: Imports | None = None
        self._turns = Turns(step if step > 0 else _EARLY)
        self._forecast = Forecast() if step < 0 else None
        self._taken: list[tuple[int, int, int]] = []  # by imports
        self._models: list[Any] = []
        self._returned: deque[Any] = deque(maxlen=_MOST_RETURNED)  # by models, before the step
        self._before: dict[str, int] | None = None
        self._before_holds = 0
        self._weighing: Weighing | Coarse | None = None
        self._weighed = False
        self._weighed_a_step = False
        self._forwards = 0
        self._inferences = 0
        self._trains = False
        self._alone = False

    def watch(self, path: str, of: Any, inputs: Any) -> Watch | None:
        """Who looks on at a phase; None for nobody.

        Args:
            path: of the phase, which has just begun.
            of: the module or the optimizer that is called; None for a backward.
            inputs: what the module is given, or what the backward begins from.
        """
        steps = path == "step/optimizer"
        if not self.done:
            if path == _INFERENCE and self._weighing is None:
                self._inferences += 1
                if self._inferences > _MOST_INFERENCES:
                    return None
            return Stepping(self, of) if steps else Watching(self, of, inputs)
        if steps and self.awaits_turns:
            return Waiting(self, of)
        return self.looking()

    def looking(self) -> Watch | None:
        """Who looks on at the heap in a phase after the weighed step."""
        afterwards = self.afterwards
        return None if afterwards is None or afterwards.is_idle() else Looking(afterwards)

    # What the probes tell, outermost calls alone.

    def built(self, module: Any) -> None:
        """A module is being built; nothing of it is there yet."""
        try:
            self._look_before(None)
            self._is_more_than_import()
            know(self._models, module)
        except Exception as error:
            self._give_up(error)

    def copied(self, module: Any, state: Any) -> None:
        """A module is made without being built, of a ``state`` with copies of what is inside it."""
        try:
            inside = {id(each) for each in (state.get("_modules") or {}).values()}
            # A model's copy comes after those of its layers, of which there may be too many.
            while self._models and id(self._models[-1]()) in inside:
                self._models.pop()
        except Exception as error:
            self._give_up(error)
        self.built(module)

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
                    if self._forecast is not None and path == "step/forward":
                        self._forecast.called(module)
                    return None
                weighing = self._begun(module if path != "step/loss" else None)
                if weighing is None:
                    return None
            elif weighing.thread != get_ident() or path == _INFERENCE:
                return None
            elif len(weighing.calls) >= _MOST_CALLS:
                self._end_early(f"{self._turns.which()} had not ended after {_MOST_CALLS:,} phases")
                return None
            if module is not None and path != "step/loss":
                weighing.know(module)
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

    def returned(self, value: Any) -> None:
        """A model's call returns this, and the program may keep it."""
        try:
            weighing = self._weighing
            if weighing is None and not self.done:
                self._returned += (ref(each) for each in storages_in(value))
            elif weighing is not None and weighing.thread == get_ident():
                weighing.returned(value)
        except Exception as error:
            self._give_up(error)

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
            try:
                self._weighing.know_optimizer(optimizer)
            except Exception as error:
                self._give_up(error)

    def stepped(self, optimizer: Any) -> None:
        """An optimizer's step has ended."""
        if (self.done and not self.awaits_turns) or optimizer is None:
            return
        try:
            weighing = self._weighing
            if self.done:
                what = self._turns.stepped_after(optimizer)
                if self._forecast is not None and what == ANEW:
                    self._forecast.begin_anew(known=False)
                self.awaits_turns = what == NOTHING
                self.done = what != ANEW
                return
            here = weighing is None or weighing.thread == get_ident()
            what = self._turns.stepped(optimizer, may_begin=here)
            if self._forecast is not None and what != NOTHING:
                if what == END:
                    self._forecast.stepped()
                else:
                    self._forecast.begin_anew(known=True)
            if weighing is None or not here:
                return
            if what == ANEW:
                self._weighing = None
                weighing.close()
            elif what == END:
                weighing.stepped(optimizer)
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
        if weighing is not None or self._turns.steps:
            which = self._turns.which()
            earlier = self._forecast is not None and self._turns.step > _EARLY
            self._is_missing(
                f"the program ended before {which} had ended"
                + (f": --anatomy {_EARLY} weighs an earlier one" if earlier else "")
            )
        elif self._trains or (self._forwards and not self._weighed):
            of = " of a training step" if self._weighed else ""
            self._session.missing(
                f"no anatomy{of}: no optimizer of torch.optim or Keras has stepped"
            )

    # What comes of it.

    def _begun(self, called: Any) -> Weighing | Coarse | None:
        """What weighs the step that begins with this call; None where it is to be a later one."""
        forecast, step = self._forecast, self._turns.step
        says = FULLY if forecast is None or self._alone else forecast.says()
        if forecast is not None and says == LATER:
            self._turns.step += 1
            if called is not None:
                forecast.called(called)
            return None
        resident, allocations = self._resident, self._allocations
        if resident is None or allocations is None:
            return None
        models, optimizers = self._models_with(called), there(self._turns.optimizers)
        weighing: Weighing | Coarse
        if forecast is not None and says == COARSELY:
            weighing = Coarse(resident, models, optimizers, forecast.sentence(step))
        else:
            weighing = Weighing(resident, allocations, models, optimizers)
        self._weighing = weighing
        weighing.add_returned(there(list(self._returned)))
        return weighing

    def _models_with(self, called: Any) -> list[Any]:
        """Those that are there, and last the one that is called: in it all of its layers are.

        A Sequential holds nothing by itself, and is not known before it is called.
        """
        known = there(self._models)
        if called is not None and not any(each is called for each in known):
            known.append(called)
        return known

    def _is_time(self, path: str) -> bool:
        """Whether to begin now."""
        self._alone = False
        self._forwards += path == "step/forward"
        self._trains |= path.endswith("backward")
        if self._turns.steps:
            return self._turns.is_next and path != _INFERENCE
        # Until an optimizer has stepped nobody knows that it will: a program that only infers has
        # its first inference weighed, or an early forward if it forgot to say no_grad.
        forgot = self._forwards == _FORWARDS and not self._trains
        if not self._weighed and (path == _INFERENCE or forgot):
            self._alone = True
            return True
        return self._turns.is_next and path != _INFERENCE

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

    def _is_more_than_import(self) -> None:
        if self._imports is not None:
            self._imports.give_up()

    def _watch_no_imports(self) -> None:
        imports, self._imports = self._imports, None
        if imports is not None:
            imports.stop()
            self._taken = imports.taken

    def _conclude(self, weighing: Weighing | Coarse) -> None:
        self._weighing = None
        if self._weighed_a_step and self._turns.among < 2:
            # The new one takes no turns with the one before, whose step stays.
            self.done = True
            weighing.close()
            return
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
                step=0 if self._alone else self._turns.step,
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
        self._is_missing(why)

    def _is_missing(self, why: str) -> None:
        of = " of a step with all turns" if self._weighed_a_step else ""
        self._session.missing(f"no anatomy{of}: {why}")
