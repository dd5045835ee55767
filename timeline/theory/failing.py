"""What went wrong while somebody's model was made or followed, in one sentence with its line."""

from __future__ import annotations

import os
import traceback

from timeline.theory.refusing import MixedDtypes
from timeline.theory.script.values import is_own

_VALUES = ("DataDependent", "DynamicOutput", "GuardOnDataDependent")
"""What torch calls it when a tensor without memory is asked for its values."""

_NUMPY = "numpy() is not supported"

LEFT = (Exception, SystemExit)
"""What a user's function may raise; Ctrl-C stays what it is."""


def why(error: BaseException) -> str:
    """The reason, with the innermost line of the user's own that it passed."""
    place = _line(error)
    kind = type(error).__name__
    if kind.startswith(_VALUES) or _NUMPY in str(error):
        return (
            f"{place or 'it'} asks a tensor for its value, and none has one here: do it without a "
            "condition, such as by torch.where, or leave it out of the model that is given"
        )
    at = f"{place}: " if place else ""
    if isinstance(error, SystemExit):
        return f"{at}it ends the program, by SystemExit({error.code!r})"
    text = str(error).strip().split("\n", 1)[0][:300] or "no reason given"
    # An error of ours is a sentence by itself.
    return f"{at}{text}" if isinstance(error, MixedDtypes) else f"{at}{kind}: {text}"


def _line(error: BaseException) -> str:
    """``models.py:41``; empty where no line of the user's own was passed."""
    own = [each for each in traceback.extract_tb(error.__traceback__) if is_own(each.filename)]
    return f"{os.path.basename(own[-1].filename)}:{own[-1].lineno}" if own else ""
