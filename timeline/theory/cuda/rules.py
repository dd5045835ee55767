"""The registry of rules: what an operator needs on CUDA beside the tensors that it returns.

A rule belongs to a group, which can be switched off, and says where it is from. It is given one
call of an operator and yields, in the order of time, what CUDA's kernel does:

* a tensor: one of the results comes into being now (those not yielded come first);
* `Scratch`: memory that is gone before the operator returns, or several in a tuple, at one time;
* `Kept`: memory that lives as long as one of the results does;
* `Once`: memory that stays for good, at its first use;
* a text: what it does that is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from timeline.theory.cuda.cards import Card
from timeline.theory.tape import Amount, Convolution


@dataclass(frozen=True, slots=True)
class Scratch:
    """Memory inside an operator.

    Attributes:
        amount: bytes.
        reason: what it is.
        may_fail: where there is no room, another kernel is taken that needs less or none.
        asks: the kernel, where cuDNN can be asked for its workspace.
    """

    amount: Amount
    reason: str
    may_fail: bool = False
    asks: Convolution | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """Memory that a result takes along until it goes."""

    amount: Amount
    reason: str
    tensor: torch.Tensor


@dataclass(frozen=True, slots=True)
class Once:
    """Memory that the first use takes, and that stays; ``key`` tells one from another."""

    key: str
    amount: Amount
    reason: str


Effect = Any
"""`Scratch` or a tuple of them, `Kept`, `Once`, a `torch.Tensor` among the results, or a text."""


@dataclass(frozen=True, slots=True)
class Platform:
    """What the program is taken to run on.

    Attributes:
        card: the GPU.
        torch: version of the torch that runs there, such as ``(2, 6)``.
        without: groups of rules that are switched off.
        workspaces: whether cuBLAS has its workspaces (``CUBLAS_WORKSPACE_CONFIG`` is not ``:0:0``).
        ask_cudnn: whether the cuDNN that is installed is asked for its workspaces.
    """

    card: Card
    torch: tuple[int, int]
    without: frozenset[str] = frozenset()
    workspaces: bool = True
    ask_cudnn: bool = False


@dataclass(slots=True)
class Call:
    """One call of an operator.

    Attributes:
        backward: it runs in autograd's own thread.
    """

    func: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    out: Any
    platform: Platform
    backward: bool


Rule = Callable[[Call], Iterable[Effect]]


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are switched together.

    Attributes:
        name: such as ``cudnn-convolution``.
        source: where they are from.
        assumption: the sentence that an estimate carries when one of them was used.
    """

    name: str
    source: str
    assumption: str = ""
    rules: dict[Any, Rule] = field(default_factory=dict)

    def rule(self, *operators: Any) -> Callable[[Rule], Rule]:
        """Register a rule for operators."""

        def keep(rule: Rule) -> Rule:
            for operator in operators:
                self.rules[operator] = rule
            return rule

        return keep


GROUPS: dict[str, Group] = {}


def group(name: str, source: str, assumption: str = "") -> Group:
    """A new group of rules."""
    made = GROUPS[name] = Group(name, source, assumption)
    return made


def rules_for(platform: Platform) -> dict[Any, list[tuple[Group, Rule]]]:
    """By operator, the rules that are on."""
    found: dict[Any, list[tuple[Group, Rule]]] = {}
    for each in GROUPS.values():
        if each.name not in platform.without:
            for operator, rule in each.rules.items():
                found.setdefault(operator, []).append((each, rule))
    return found
