"""Several cards and several processes, as a script finds them where there is one of each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
import torch.multiprocessing

from timeline.theory.script.split import Split

BUCKET = 25 << 20
"""Bytes of a bucket of gradients (``bucket_cap_mb``), of which the first has 1 MiB:
torch/nn/parallel/distributed.py."""


class _Alone(torch.nn.Module):  # type: ignore[misc]
    """What stands around a model that several cards train, where there is one.

    Both of torch bring to their card what a model is called with; DistributedDataParallel where it
    was told of one.
    """

    def __init__(self, module: torch.nn.Module, *, moves: bool) -> None:
        super().__init__()
        self.module = module
        self._moves = moves

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self._moves:
            args, kwargs = on_the_card(args), on_the_card(kwargs)
        return self.module(*args, **kwargs)

    def no_sync(self) -> Any:
        """Nothing is synchronised anyway."""
        return contextlib.nullcontext()


def on_the_card(value: Any) -> Any:
    """A value with its tensors brought to the card, as torch scatters it."""
    if isinstance(value, torch.Tensor):
        return value.to("cuda")
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(on_the_card, value))
    if isinstance(value, list | tuple):
        return type(value)(map(on_the_card, value))
    if isinstance(value, dict):
        return type(value)((name, on_the_card(each)) for name, each in value.items())
    return value


def put_on(split: Split, note: Callable[[str], None]) -> None:
    """Let a script for many cards find one, and be the only process of its group."""
    _models(split, note)
    _groups(note)


def _models(split: Split, note: Callable[[str], None]) -> None:
    class DataParallel(_Alone):
        def __init__(self, module: torch.nn.Module, *args: Any, **kwargs: Any) -> None:
            super().__init__(module, moves=True)
            note("DataParallel is followed with one card")

    class DistributedDataParallel(_Alone):
        def __init__(
            self, module: torch.nn.Module, device_ids: Any = None, *args: Any, **kwargs: Any
        ) -> None:
            super().__init__(module, moves=bool(device_ids))
            note("DistributedDataParallel is followed as one process of one")
            trained = [each for each in module.parameters() if each.requires_grad]
            total = sum(each.numel() * each.element_size() for each in trained)
            sizes = [min(total, 1 << 20)]
            while sum(sizes) < total:
                sizes.append(min(BUCKET, total - sum(sizes)))
            self._buckets = [
                torch.empty(size, dtype=torch.uint8, device="cuda") for size in sizes if size
            ]
            split.taping.is_("gradient", self._buckets)

    for home in (torch.nn, torch.nn.parallel):
        home.DataParallel = DataParallel
    torch.nn.parallel.DistributedDataParallel = DistributedDataParallel
    torch.nn.parallel.distributed.DistributedDataParallel = DistributedDataParallel


def _groups(note: Callable[[str], None]) -> None:
    distributed: Any = torch.distributed
    begun: list[bool] = []

    def begin(*args: Any, **kwargs: Any) -> None:
        if kwargs.get("world_size", 1) not in (-1, 1, None):
            note(f"a group of {kwargs['world_size']} processes is followed as one of one")
        begun.append(True)

    def spawn(function: Any, args: Any = (), nprocs: int = 1, *_: Any, **__: Any) -> None:
        if nprocs > 1:
            note(f"{nprocs} processes were to be started: the first is followed in their place")
        function(0, *args)

    def reduced(tensor: Any = None, *args: Any, **kwargs: Any) -> Any:
        return None

    def gathered(found: Any = None, tensor: Any = None, *args: Any, **kwargs: Any) -> Any:
        if isinstance(found, list) and found:
            found[0] = tensor

    instead = {
        "init_process_group": begin, "is_initialized": lambda: bool(begun),
        "is_available": lambda: True, "get_rank": lambda *_: 0, "get_world_size": lambda *_: 1,
        "destroy_process_group": lambda *_: None, "barrier": reduced, "all_reduce": reduced,
        "broadcast": reduced, "reduce": reduced, "all_gather": gathered,
        "all_gather_object": gathered, "broadcast_object_list": reduced,
        "get_backend": lambda *_: "nccl", "new_group": lambda *_, **__: None,
        "is_nccl_available": lambda: True,
    }  # fmt: skip
    for name, function in instead.items():
        setattr(distributed, name, function)
    torch.multiprocessing.spawn = spawn
