"""What torch itself does in a real step: the truth that theory is held against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def most_allocated(run: Callable[[], object]) -> int:
    """The most that torch's allocator gives out while something runs, on top of what stood."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        run()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def saved_for_backward(model: Callable[..., Any], *inputs: torch.Tensor) -> int:
    """What torch's hooks see saved in forward, each storage once, less what stood before."""
    own = (*model.parameters(), *model.buffers()) if isinstance(model, torch.nn.Module) else ()
    known = {each.untyped_storage()._cdata for each in (*own, *inputs)}
    saved = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = model(*inputs)
        out = out if isinstance(out, torch.Tensor) else out[0]
    assert out.requires_grad
    return sum(each.nbytes() for key, each in saved.items() if key not in known)
