"""The course of a script: its phases and steps, as torch's own calls tell of them, and its end.

A step is what lies between two steps of the first optimizer: gradient accumulation, a second
optimizer and a scaler lie within. The script has been followed far enough when the highest peak of
its steps repeats, or after so many that never do; then its loaders end early, so that what comes
after the loop is seen, too, and the next step ends it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from timeline.theory.loop import keep_by_rule
from timeline.theory.optimizers import can_be_followed
from timeline.theory.script.micro_steps import MicroSteps
from timeline.theory.script.split import Split
from timeline.theory.storages import tensors_in
from timeline.theory.tape import Act, Storage
from timeline.theory.taping import Taping
from timeline.units import format_bytes

LEAST_STEPS = 3
"""The first makes the optimizer's state, the second has it, the third can repeat the second."""

MOST_STEPS = 16
"""Where no two in succession are alike, such as with batches of many lengths: the largest of so
many has to do."""


class Course:
    """Where a script is.

    Args:
        split: what runs its operators.
        steps: how many to follow; None until the peak of one repeats.
        limit_s: seconds after which it is enough.
        end: called when the script has been followed far enough, with a sentence or nothing.
        note: takes a sentence on what was taken for granted.

    Attributes:
        steps: how many have ended.
        peaks: of each, the most bytes that were alive on the card.
        settled: it has been followed far enough, and is to come to its end.
        repeated: how many of the steps are repeats of the last on the tape.
    """

    def __init__(
        self,
        split: Split,
        *,
        steps: int | None,
        limit_s: float,
        end: Callable[[str], None],
        note: Callable[[str], None],
    ) -> None:
        self.split = split
        self.taping: Taping = split.taping
        self.steps = 0
        self.backwards = 0
        self.forwards = 0
        self.settled = False
        self.repeated = 0
        self._micro_steps = MicroSteps(self.taping.tape)
        self._wanted = steps
        self._end = end
        self._note = note
        self._deadline = time.monotonic() + limit_s
        self._limit_s = limit_s
        self._leader: int | None = None
        self.peaks: list[int] = []
        self._left: list[int] = []
        self._seen_events = 0
        self._live = 0
        self._depth = 0
        self._names: dict[Any, str] = {}
        self._outermost: list[Any] = []
        self._optimizers: dict[int, Any] = {}
        self._backward = False
        self._stepping = False
        self._data = False
        self._waiting: set[int] = set()
        self.taping.begin("load")

    def put_on(self) -> None:
        """Learn of calls of modules, of backward and of the optimizers' steps."""
        hooks = torch.nn.modules.module
        hooks.register_module_forward_pre_hook(self._enter)
        hooks.register_module_forward_hook(self._leave, always_call=True)
        register_optimizer_step_pre_hook(self._before_step)
        register_optimizer_step_post_hook(self._after_step)
        run = torch.autograd.graph._engine_run_backward

        def backward(*args: Any, **kwargs: Any) -> Any:
            if self._backward:
                return run(*args, **kwargs)
            self._backward = True
            self._begin("step/backward")
            try:
                return run(*args, **kwargs)
            finally:
                self._backward = False
                self.backwards += 1
                self._name_gradients()
                # A closure has its backward within the optimizer's step.
                self._begin("step/optimizer" if self._stepping else "step")
                self._look_at_micro_steps()

        torch.autograd.graph._engine_run_backward = backward
        torch.autograd._engine_run_backward = backward
        torch._C._autograd._push_saved_tensors_default_hooks(self.taping._pack, lambda each: each)
        self.split.before_op = self._look_at_the_clock

    def fetching(self) -> None:
        """A loader is at work."""
        self._data = True
        self._begin("data")

    def waits_for(self, feed: object, waiting: bool) -> None:
        """A loader has, or no longer has, batches of other sizes than those that were given."""
        if waiting:
            self._waiting.add(id(feed))
        else:
            self._waiting.discard(id(feed))

    def _begin(self, phase: str) -> None:
        if phase != self.taping.phase_now:
            self.taping.begin(phase)

    def _look_at_the_clock(self) -> None:
        if time.monotonic() > self._deadline:
            self._end(f"stopped after {self._limit_s:g} s, in {self.taping.phase_now}")

    def _enter(self, module: Any, args: Any) -> None:
        if self._depth == 0 and not self._backward:
            self.forwards += 1
            self._learn(module)
            self.taping.is_("input", _given(args))
            if torch.is_grad_enabled():
                is_loss = isinstance(module, torch.nn.modules.loss._Loss)
                self._begin("step/loss" if is_loss else "step/forward")
            else:
                self._begin("inference")
        self._depth += 1
        self.taping.enter(self._names.get(module, type(module).__name__))

    def _leave(self, module: Any, args: Any, output: Any) -> None:
        self._depth = max(self._depth - 1, 0)
        self.taping.leave(self._names.get(module, type(module).__name__))
        if self._depth == 0 and not self._backward and self.taping.phase_now == "step/forward":
            self._begin("step/loss")

    def _learn(self, module: Any) -> None:
        """The names of a model's modules, and what its tensors are for."""
        if module not in self._outermost:
            self._outermost.append(module)
            models = [each for each in self._outermost if any(True for _ in each.parameters())]
            prefix = f"{type(module).__name__}." if len(models) > 1 else ""
            alone = not any(each in self._names for each in module.modules())
            if alone and len(models) == 2 and module is models[1]:
                # Until now the first needed no name of its own: of two, as in a GAN, it does.
                first = type(models[0]).__name__
                renamed = {}
                for each in models[0].modules():
                    before = self._names.get(each, "")
                    self._names[each] = renamed[before] = f"{first}.{before}".rstrip(".")
                self.taping.rename(renamed)
            for name, each in module.named_modules():
                self._names.setdefault(each, f"{prefix}{name}".rstrip("."))
        self.taping.is_("parameter", _fake(module.parameters()))
        self.taping.is_("buffer", _fake(module.buffers()))
        for each in module.buffers():
            # Of a model that was not moved they are real, as all small tensors of the host.
            if not isinstance(each, FakeTensor) and each.dim():
                self.split.likeness(each, "buffer")

    def _name_gradients(self) -> None:
        for module in self._outermost:
            self.taping.is_("gradient", _fake(each.grad for each in module.parameters()))

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._as_on_cuda(optimizer)
        self._stepping = True
        self._begin("step/optimizer")

    def _as_on_cuda(self, optimizer: Any) -> None:
        # torch/optim/optimizer.py, _default_to_fused_or_foreach: foreach for plain tensors on an
        # accelerator, which fake tensors are not.
        for group in optimizer.param_groups:
            free = group.get("foreach", False) is None and not group.get("fused")
            if free and not group.get("differentiable"):
                group["foreach"] = True

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._name_state(optimizer)
        if not can_be_followed(optimizer):
            first = optimizer.param_groups[0]["params"][0]
            host = self.split.card_was_used and not self.split.on_card(first)
            keep_by_rule(self.taping, optimizer, host=host)
        self._stepping = False
        self._begin("step")
        if self._leader is None:
            self._leader = id(optimizer)
            self._optimizers[id(optimizer)] = optimizer  # no other may have its id
        if id(optimizer) == self._leader:
            self._stepped()

    def _name_state(self, optimizer: Any) -> None:
        parameters = [each for group in optimizer.param_groups for each in group["params"]]
        self.taping.is_("parameter", _fake(parameters))
        for state in optimizer.state.values():
            if isinstance(state, dict):
                self.taping.is_("optimizer_state", _fake(state.values()))

    def _stepped(self) -> None:
        self.peaks.append(self._peak_of_the_step())
        self.steps += 1
        if self.settled:
            self._end("")
        if self._enough():
            self.settled = True
            if not self._data:
                self._end("")  # no loader that could end early
        self.taping.step()
        self._micro_steps.next_step()

    def _look_at_micro_steps(self) -> None:
        """End where the step that is to show that the last one repeats has shown it already."""
        repeats = self._micro_steps.repeat()
        # What comes after a loader's last batch finds the gradients as a whole step leaves them.
        if not repeats or self._data or self._wanted is not None:
            return
        if self.steps == LEAST_STEPS - 1 and self.peaks[-1] == max(self.peaks):
            self._micro_steps.forget_this_step()
            self.steps += 1
            self.repeated = 1
            self._end("")

    def _enough(self) -> bool:
        """Whether further steps would bring nothing new, or nothing worth its time."""
        if self._wanted is not None:
            return self.steps >= self._wanted
        highest = max(self.peaks)
        # Twice, but not one after the other: every fifth step may train a second model.
        if self.steps >= LEAST_STEPS and self.peaks.count(highest) > 1 and not self._waiting:
            return True
        if self.steps < MOST_STEPS:
            return False
        self._note(self._unsteady())
        return True

    def _unsteady(self) -> str:
        """What is said of steps that never repeat their highest peak."""
        left = self._left[1:]
        each = (left[-1] - left[0]) // (len(left) - 1)
        if all(before < after for before, after in pairwise(left)):
            return (
                f"every step leaves about {format_bytes(each)} more behind, such as what is "
                "remembered for replay, or a loss that is kept with its graph: "
                f"{self.steps} steps count, and more of them would need more"
            )
        return (
            f"no step came to the highest peak twice: the largest of {self.steps} counts, whose "
            f"peaks go from {format_bytes(min(self.peaks))} to {format_bytes(max(self.peaks))}; "
            "a step with a larger batch would need more (--steps N follows N)"
        )

    def _peak_of_the_step(self) -> int:
        """The most bytes that were alive on the card since the last step."""
        tape = self.taping.tape
        live = highest = self._live
        for act, which in tape.events[self._seen_events :]:
            if act in (Act.BORN, Act.GONE) and self._beside(tape.storages[which]):
                continue
            if act is Act.BORN:
                live += tape.storages[which].amount.expected
                highest = max(highest, live)
            elif act is Act.GONE:
                live -= tape.storages[which].amount.expected
        self._seen_events, self._live = len(tape.events), live
        self._left.append(live)
        return highest

    def _beside(self, storage: Storage) -> bool:
        """Whether a storage is in the host's memory, and no matter of the card."""
        return storage.host and self.split.card_was_used


def _fake(tensors: Any) -> Any:
    return [each for each in tensors if isinstance(each, FakeTensor)]


def _given(args: Any) -> Any:
    """The tensors that a model is called with and that no other model made."""
    return [
        each for each in _fake(tensors_in(args)) if each.grad_fn is None and not each.requires_grad
    ]
