"""A function that has a probe while something records, and its own code at all other times."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import reduce
from types import CodeType, FunctionType
from typing import Any

from timeline.recorder.hooks.planting import CannotPlantError, with_probe
from timeline.recorder.hooks.torch_phases import probe


@dataclass(frozen=True)
class Hook:
    """A function of torch or Keras, and what its probe says.

    Attributes:
        what: for the sentence that says that these phases are missing.
        home: the module that has the function, then its name.
        kind: one of `nesting.KINDS`, or ``profile``.
        begin: the call on the probe; its names are the function's own.
        ends: whether the function's end is the phase's.
        nested: the name of the function inside it that is meant.
        returns: whether the probe is told what it returns.
    """

    what: str
    home: tuple[str, str]
    kind: str
    begin: str
    ends: bool = True
    nested: str = ""
    returns: bool = False


_codes: dict[FunctionType, tuple[CodeType, CodeType]] = {}
"""By function its own code and the one with the probe, kept: compiling them takes some 30 ms."""


def uproot_hooks() -> None:
    """Give every function its own code back."""
    for function, (own, probed) in _codes.items():
        if function.__code__ is probed:
            function.__code__ = own
            _exchange_steps(probed, own)


def plant_hook(hook: Hook) -> None:
    """Give a function its code with the probe.

    Raises:
        CannotPlantError: it is better left alone.
        AttributeError: there is no such function.
    """
    module, name = hook.home
    function = _innermost(reduce(getattr, name.split("."), sys.modules[module]), module)
    if function not in _codes:
        _codes[function] = (
            function.__code__,
            with_probe(
                function,
                probe,
                kind=hook.kind,
                begin=hook.begin,
                ends=hook.ends,
                nested=hook.nested,
                returns=hook.returns,
            ),
        )
    own, probed = _codes[function]
    if function.__code__ is own:
        function.__code__ = probed
        _exchange_steps(own, probed)


def _innermost(function: Any, home: str) -> FunctionType:
    """The function itself, under what torch puts around it: dynamo wraps Module.__init__, say."""
    around = [function]
    while around:
        function = around.pop()
        if isinstance(function, FunctionType):
            if function.__globals__.get("__name__") == home:
                return function
            around += [cell.cell_contents for cell in function.__closure__ or ()]
    raise CannotPlantError("something else stands in its place")


def _exchange_steps(old: CodeType, new: CodeType) -> None:
    """Give the step of every optimizer's class new code, where it was made by the old.

    ``profile_hook_step`` makes the function that a class has as its step, when the first optimizer
    of that class is made; those that are there already have their code from the old one.
    """
    if old.co_name != "profile_hook_step":
        return
    (old_step,) = functions_in(old)
    (new_step,) = functions_in(new)
    classes = [sys.modules["torch.optim.optimizer"].Optimizer]
    while classes:
        kind = classes.pop()
        classes += type.__subclasses__(kind)
        step = vars(kind).get("step")
        while step is not None:
            if getattr(step, "__code__", None) is old_step:
                step.__code__ = new_step
            step = getattr(step, "__wrapped__", None)


def functions_in(code: CodeType) -> list[CodeType]:
    """The code of the functions that are defined right inside one."""
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]
