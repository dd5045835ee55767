"""Puts cuDNN's answers into a tape: how large the workspaces of its convolutions are."""

from __future__ import annotations

from timeline.theory.cudnn import asking
from timeline.theory.tape import Amount, Tape

BY_RULE = (
    "cuDNN takes convolutions without a workspace; the range has what a change of layout takes"
)
"""What holds as long as cuDNN has not answered."""

NOBODY = (
    "there is no cuDNN here that can be asked for its workspaces (torch's CUDA wheel brings one): "
    "convolutions are taken by rule"
)


def settle(tape: Tape, capability: tuple[int, int]) -> None:
    """Ask for all workspaces of a tape that can be asked for.

    Where there is nobody to ask, or there is no answer, the amounts stay as they are. torch tries
    cuDNN's kernels in the order of its heuristics, and goes on to the next where there is no room
    for a workspace.

    Args:
        tape: its amounts are set.
        capability: of the card that it is for.
    """
    open_ = [each for each in tape.storages if each.asks is not None]
    if not open_:
        return
    answers = asking.ask(capability, (each.asks for each in open_ if each.asks))
    if answers is None or not answers.workspaces:
        tape.assumptions.setdefault(NOBODY)
    else:
        tape.assumptions.pop(BY_RULE, None)
        tape.assumptions.setdefault(
            f"cuDNN {answers.version} says which workspaces its convolutions take, for a card of "
            f"compute capability {capability[0]}.{capability[1]}; another version may choose others"
        )
    for storage in open_:
        sizes = answers.workspaces.get(storage.asks) if answers and storage.asks else None
        storage.asks = None
        if sizes:
            first, *others = asking.to_try(sizes)
            storage.amount = Amount(0, first, max(first, storage.amount.high))
            storage.instead = tuple(others)
