"""``torch.cuda`` as a script would find it with the card there; nothing of it is started."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import torch

from timeline.theory.script.split import Split


class Quiet:
    """A stream, an event, a graph or a range: whatever is asked of it, nothing happens."""

    device = torch.device("cuda", 0)
    cuda_stream = 0
    stream_id = 0

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __enter__(self) -> Quiet:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def query(self) -> bool:
        """All work is done."""
        return True

    def elapsed_time(self, *other: object) -> float:
        """Some milliseconds."""
        return 1.0

    def nothing(self, *args: object, **kwargs: object) -> None:
        """What a stream or event is told."""

    record = wait = synchronize = wait_stream = wait_event = nothing

    def record_event(self, event: Any = None) -> Any:
        """An event that has happened."""
        return event or Quiet()


def _nothing(*args: object, **kwargs: object) -> None:
    pass


class NoGraph:
    """What would capture a CUDA graph."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise RuntimeError("CUDA graphs cannot be followed: leave capturing out in an estimate")


def put_on(
    split: Split,
    *,
    name: str,
    memory: int,
    capability: tuple[int, int],
    processors: int,
) -> None:
    """Let ``torch.cuda`` speak of one card of this name and memory."""
    tape = split.taping.tape
    properties = SimpleNamespace(
        name=name,
        major=capability[0],
        minor=capability[1],
        total_memory=memory,
        multi_processor_count=processors,
        is_integrated=0,
        is_multi_gpu_board=0,
        max_threads_per_multi_processor=1536,
        warp_size=32,
        regs_per_multiprocessor=65536,
        shared_memory_per_block=49152,
        L2_cache_size=4 << 20,
        gcnArchName="",
        uuid="00000000-0000-0000-0000-000000000000",
    )

    def allocated(*_: object, **__: object) -> int:
        """Of what is on the tape so far; a script that asks prints it."""
        alive = split.taping.alive()
        return sum(tape.storages[number].amount.expected for number in alive
                   if not tape.storages[number].host)  # fmt: skip

    def stats(*_: object, **__: object) -> Any:
        return defaultdict(int, {"allocated_bytes.all.current": allocated()})

    def seeds(*_: object, **__: object) -> torch.Tensor:
        with torch._C._DisableTorchDispatch():
            return torch.zeros(16, dtype=torch.uint8)

    same = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "init": _nothing,
        "_lazy_init": _nothing,
        "_is_in_bad_fork": lambda: False,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_name": lambda *_, **__: name,
        "get_device_capability": lambda *_, **__: capability,
        "get_device_properties": lambda *_, **__: properties,
        "get_arch_list": lambda: [f"sm_{capability[0]}{capability[1]}"],
        "is_bf16_supported": lambda *_, **__: capability >= (8, 0),
        "is_tf32_supported": lambda *_, **__: capability >= (8, 0),
        "can_device_access_peer": lambda *_, **__: False,
        "mem_get_info": lambda *_, **__: (max(memory - allocated(), 0), memory),
        "utilization": lambda *_, **__: 0,
        "empty_cache": tape.empty_cache,
        "memory_summary": lambda *_, **__: "",
        "get_rng_state": seeds,
        "get_rng_state_all": lambda *_, **__: [seeds()],
        "Stream": Quiet,
        "ExternalStream": Quiet,
        "Event": Quiet,
        "StreamContext": Quiet,
        "CUDAGraph": NoGraph,
        "graph": NoGraph,
        "make_graphed_callables": NoGraph,
        "device": Quiet,
        "device_of": Quiet,
        "stream": Quiet,
        "current_stream": Quiet,
        "default_stream": Quiet,
        "memory_stats": stats,
        "memory_stats_as_nested_dict": stats,
        "initial_seed": lambda: 0,
    }
    cuda: Any = torch.cuda
    for each in ("memory_allocated", "max_memory_allocated", "memory_reserved",
                 "max_memory_reserved", "memory_cached", "max_memory_cached"):  # fmt: skip
        same[each] = allocated
    for each in ("synchronize", "set_device", "set_stream", "manual_seed", "manual_seed_all",
                 "seed", "seed_all", "set_rng_state", "set_rng_state_all", "ipc_collect",
                 "reset_peak_memory_stats", "reset_accumulated_memory_stats",
                 "reset_max_memory_allocated", "reset_max_memory_cached",
                 "set_per_process_memory_fraction", "caching_allocator_delete"):  # fmt: skip
        same[each] = _nothing
    for each, instead in same.items():
        if hasattr(cuda, each):
            setattr(cuda, each, instead)
            if hasattr(cuda.memory, each):
                setattr(cuda.memory, each, instead)
    for each in ("range_push", "range_pop", "mark", "range_start", "range_end"):
        setattr(cuda.nvtx, each, _nothing)
    cuda.nvtx.range = Quiet
    cuda.amp.common.amp_definitely_not_available = lambda: False
    accelerator: Any = getattr(torch, "accelerator", None)
    if accelerator is not None:
        accelerator.is_available = lambda: True
        accelerator.device_count = lambda: 1
        accelerator.current_accelerator = lambda *_, **__: torch.device("cuda")
        accelerator.synchronize = _nothing
        if hasattr(accelerator, "empty_cache"):
            accelerator.empty_cache = tape.empty_cache
