"""Out of the modes that a caller has open, which would change whatever is done inside of them.

Under ``FakeTensorMode`` a second mode of fake tensors may not meet tensors of the first one; under
``torch.device("meta")`` every tensor that names no device becomes one of the meta device. Theory
makes its own tensors in its own mode, and what it says depends on its arguments alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.overrides import _pop_mode as _pop_function_mode
from torch.overrides import _push_mode as _push_function_mode
from torch.utils._python_dispatch import _pop_mode, _push_mode


@contextmanager
def apart() -> Iterator[None]:
    """A context, or a decorator: no mode of the caller's is open in it, and all are after it."""
    functions = [_pop_function_mode() for _ in range(torch._C._len_torch_function_stack())]
    dispatched = [_pop_mode() for _ in range(torch._C._len_torch_dispatch_stack())]
    try:
        with torch.inference_mode(False):  # its tensors know nothing of versions or gradients
            yield
    finally:
        for mode in reversed(dispatched):
            _push_mode(mode)
        for mode in reversed(functions):
            _push_function_mode(mode)
