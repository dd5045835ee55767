"""The rest of torch as a script would find it with the card there: autocast, scalers, compilers,
several processes, files of weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
import torch.hub
import torch.multiprocessing
from torch._subclasses.fake_tensor import FakeTensor

from timeline.theory.script.split import Split
from timeline.theory.script.values import line

BUCKET = 25 << 20
"""Bytes of a bucket of gradients (``bucket_cap_mb``), of which the first has 1 MiB:
torch/nn/parallel/distributed.py."""


def put_on(split: Split, note: Callable[[str], None]) -> None:
    """Let torch serve a script that expects a card."""
    _autocast()
    _scaler()
    _compilers(note)
    _parallel(split, note)
    _weights(note)
    _initialisers()
    _packed_sequences(note)
    # Tensors of inference mode take ways of their own past the modes; as memory it is no_grad.
    torch.inference_mode = lambda mode=True: torch.no_grad() if mode is True else _called(mode)


def _packed_sequences(note: Callable[[str], None]) -> None:
    """An LSTM over a packed sequence as one kernel, as cuDNN has it.

    On a CPU torch does it by a few small operators for each step of time and each layer, which
    takes minutes here and keeps other tensors. The rows of a packed sequence are as many as those
    of one sequence of that length in a batch of one, for which there is one kernel.
    """
    lstm = torch._VF.lstm

    def followed(*args: Any) -> Any:
        packed = len(args) == 9 and isinstance(args[2], tuple | list)
        if not packed or not isinstance(args[0], FakeTensor) or not _one_kernel(*args[:3]):
            return lstm(*args)
        data, _, (hidden, cell), *rest = args
        note(f"the packed sequence at {line()} is followed as one of as many rows")
        out, last, last_cell = lstm(data.unsqueeze(1), (hidden[:, :1], cell[:, :1]), *rest, False)
        return out.squeeze(1), last.expand_as(hidden), last_cell.expand_as(cell)

    torch._VF.lstm = followed


def _one_kernel(data: torch.Tensor, sizes: Any, state: Any) -> bool:
    # aten/src/ATen/native/RNN.cpp: oneDNN has no projections, and no fp16 in training.
    half = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.float16
    known = data.dtype in (torch.float32, torch.bfloat16) and not half
    return known and state[0].shape == state[1].shape


def _called(function: Any) -> Any:
    """``@torch.inference_mode`` without brackets, or a context with ``False``."""
    return torch.no_grad()(function) if callable(function) else contextlib.nullcontext()


def _autocast() -> None:
    # Fake tensors are those of the CPU: its autocast is the one that sees them. What CUDA's does
    # otherwise is a matter of the rules.
    made = torch.amp.autocast_mode.autocast.__init__

    def init(self: Any, device_type: str, dtype: Any = None, *args: Any, **kwargs: Any) -> None:
        if device_type == "cuda":
            device_type, dtype = "cpu", dtype or torch.float16
        made(self, device_type, dtype, *args, **kwargs)

    torch.amp.autocast_mode.autocast.__init__ = init
    for name in ("is_autocast_enabled", "get_autocast_dtype", "set_autocast_enabled",
                 "set_autocast_dtype"):  # fmt: skip
        setattr(torch, name, _of_the_cpu(getattr(torch, name)))
    torch.get_autocast_gpu_dtype = lambda: torch.get_autocast_dtype("cpu")


def _of_the_cpu(function: Callable[..., Any]) -> Callable[..., Any]:
    def asked(*args: Any) -> Any:
        if not args or args[0] == "cuda":
            args = ("cpu", *args[1:])
        elif isinstance(args[0], bool | torch.dtype):  # the older way, of CUDA alone
            args = ("cpu", *args)
        return function(*args)

    return asked


def _scaler() -> None:
    scaler: Any = torch.amp.grad_scaler.GradScaler

    def step(self: Any, optimizer: Any, state: Any, *args: Any, **kwargs: Any) -> Any:
        return optimizer.step(*args, **kwargs)  # no gradient is taken as infinite

    scaler._maybe_opt_step = step

    def update(self: Any, new_scale: Any = None) -> None:
        if self._enabled:
            self._per_optimizer_states.clear()

    scaler.update = update
    scaler.get_scale = lambda self: float(self._init_scale) if self._enabled else 1.0


def _compilers(note: Callable[[str], None]) -> None:
    def as_it_is(what: str) -> Callable[..., Any]:
        def compiled(model: Any = None, *args: Any, **kwargs: Any) -> Any:
            note(f"{what} is passed over: the program is followed as eager torch runs it")
            if model is None:
                return lambda function: function
            return model

        return compiled

    torch.compile = as_it_is("torch.compile")
    torch.jit.script = as_it_is("torch.jit.script")
    torch.jit.trace = as_it_is("torch.jit.trace")
    torch.nn.Module.compile = lambda self, *_, **__: as_it_is("torch.compile")() and None


class _Alone(torch.nn.Module):  # type: ignore[misc]
    """What stands around a model that is trained by several processes, where there is one."""

    def __init__(self, module: torch.nn.Module, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def no_sync(self) -> Any:
        """Nothing is synchronised anyway."""
        return contextlib.nullcontext()


def _parallel(split: Split, note: Callable[[str], None]) -> None:
    class DataParallel(_Alone):
        def __init__(self, module: torch.nn.Module, *args: Any, **kwargs: Any) -> None:
            super().__init__(module)
            note("DataParallel is followed with one card")

    class DistributedDataParallel(_Alone):
        def __init__(self, module: torch.nn.Module, *args: Any, **kwargs: Any) -> None:
            super().__init__(module)
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
    distributed: Any = torch.distributed
    begun: list[bool] = []

    def begin(*args: Any, **kwargs: Any) -> None:
        if kwargs.get("world_size", 1) not in (-1, 1, None):
            note(f"a group of {kwargs['world_size']} processes is followed as one of one")
        begun.append(True)

    def spawn(function: Any, args: Any = (), nprocs: int = 1, *_: Any, **__: Any) -> None:
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


class NoWeights(dict[str, Any]):
    """Stands for weights that were not downloaded; loading them leaves a model as it is."""


def _weights(note: Callable[[str], None]) -> None:
    def download(*args: Any, **kwargs: Any) -> NoWeights:
        note("no weights are downloaded: the model keeps its own, of the same size")
        return NoWeights()

    torch.hub.load_state_dict_from_url = download
    load_state = torch.nn.Module.load_state_dict

    def load_state_dict(self: Any, state: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(state, NoWeights):
            return torch.nn.modules.module._IncompatibleKeys([], [])
        return load_state(self, state, *args, **kwargs)

    torch.nn.Module.load_state_dict = load_state_dict

    def save(what: Any, file: Any = None, *args: Any, **kwargs: Any) -> None:
        note(f"{line()} saves tensors, which have no values: nothing is written")

    torch.save = save
    load = torch.load

    def load_on_the_host(*args: Any, **kwargs: Any) -> Any:
        kwargs["map_location"] = "cpu"
        return load(args[0], **kwargs)

    torch.load = load_on_the_host


def _initialisers() -> None:
    """Weights without memory have no values: what sets them is left out."""
    for name in dir(torch.nn.init):
        if name.endswith("_") and not name.startswith("_"):
            setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)
