"""The functions of torch that have a probe while something records."""

from __future__ import annotations

import sys
from importlib import import_module
from types import FunctionType
from typing import Any

from timeline.recorder import lines
from timeline.recorder import session as sessions
from timeline.recorder.hooks import keras_hooks, torch_memory
from timeline.recorder.hooks.anatomy import Anatomy
from timeline.recorder.hooks.hook import Hook, functions_in, plant_hook, uproot_hooks
from timeline.recorder.hooks.nesting import Here, UntilReturn
from timeline.recorder.hooks.pieces import Pieces
from timeline.recorder.hooks.torch_phases import Probe

_MODULE = "torch.nn.modules.module"
_OPTIMIZER = "torch.optim.optimizer"
_OLD_PROFILER = "torch.autograd.profiler_legacy"
_LOADER = "torch.utils.data.dataloader"

HOOKS = (
    Hook(
        "forward",
        (_MODULE, "Module._wrapped_call_impl"), "call", "call(self, args, kwargs)", returns=True,
    ),
    Hook("Tensor.backward", ("torch.autograd", "backward"), "backward", "backward(tensors)"),
    Hook("autograd.grad", ("torch.autograd", "grad"), "backward", "backward(outputs)"),
    Hook(
        "optimizer steps",
        (_OPTIMIZER, "Optimizer.profile_hook_step"), "step", "step(args)", nested="wrapper",
    ),
    Hook("DataLoader", (_LOADER, "_BaseDataLoaderIter.__next__"), "data", "fetch(self)"),
    Hook("DataLoader's workers", (_LOADER, "DataLoader.__iter__"), "data", "workers(self)"),
    Hook("torch.load", ("torch.serialization", "load"), "load", "load('torch.load')"),
    Hook("Module.load_state_dict", (_MODULE, "Module.load_state_dict"), "load", "load(self)"),
    Hook("Module.to", (_MODULE, "Module._apply"), "load", "load(self)"),
    Hook(
        "Optimizer.load_state_dict",
        (_OPTIMIZER, "Optimizer.load_state_dict"), "load", "load(self)",
    ),
    Hook(
        "module construction",
        (_MODULE, "Module.__init__"), "load", "construct(self)", ends=False,
    ),
    Hook(
        "copies of modules",
        (_MODULE, "Module.__setstate__"), "load", "copied(self, state)", ends=False,
    ),
    Hook(
        "profilers",
        ("torch.autograd.profiler", "profile._prepare_trace"), "profile", "profile()", ends=False,
    ),
    Hook(
        "profilers of the old kind",
        (_OLD_PROFILER, "profile._start_trace"), "profile", "profile()", ends=False,
    ),
    Hook(
        "execution traces",
        ("torch.profiler.profiler", "ExecutionTraceObserver.start"),
        "profile", "observe()", ends=False,
    ),
    Hook(
        "emit_nvtx",
        ("torch.autograd.profiler", "emit_nvtx.__enter__"), "profile", "profile()", ends=False,
    ),
    Hook(
        "emit_itt",
        ("torch.autograd.profiler", "emit_itt.__enter__"), "profile", "profile()", ends=False,
    ),
)  # fmt: skip


def plant(anatomy: int, *, snapshot: bool = False) -> None:
    """Put the probes into torch; what cannot be done is a sentence in the recording.

    Args:
        anatomy: the number of the step to weigh; 0 for none.
        snapshot: whether torch's own history of GPU memory is recorded and written.
    """
    session = sessions.current
    torch: Any = sys.modules["torch"]
    missing = []
    try:
        Probe.learn(torch)
        _keep_from_compiler(torch)
        if anatomy:
            # Not imported with torch, and all it needs is: a program may do so within the step.
            import_module(_OLD_PROFILER)
    except AttributeError as error:
        missing.append(f"no phases for torch {getattr(torch, '__version__', '')}: {error}")
    else:
        for hook in HOOKS:
            if hook.kind == "profile" and not anatomy:
                continue
            try:
                plant_hook(hook)
            except Exception as error:
                missing.append(f"no phases for {hook.what}: {error or repr(error)}")
        if lines.others_trace():
            missing.append("no phases for module construction: a debugger or coverage traces it")
        if anatomy and session is not None:
            Probe.anatomy = Probe.watcher = Anatomy(session, anatomy)
    torch_memory.install(torch, snapshot=snapshot)
    keras_hooks.install()
    if session is not None:
        session.fact("torch", str(getattr(torch, "__version__", "unknown")))
        for sentence in missing:
            session.missing(sentence)


def uproot() -> None:
    """Give every function of torch and Keras its own code back."""
    Probe.forget_anatomy()
    torch_memory.uninstall()
    keras_hooks.uninstall()
    uproot_hooks()


def _keep_from_compiler(torch: Any) -> None:
    """Tell torch.compile to leave alone what the probes run where a graph breaks."""
    engine = torch._C._dynamo.eval_frame
    if not hasattr(engine, "set_code_exec_strategy"):
        # An older torch compiles it there, which is slow and not wrong.
        return
    skip = engine._FrameAction.SKIP
    itself_and_what_it_calls = engine._FrameExecStrategy(skip, skip)
    for kind in (Probe, Here, UntilReturn, Pieces):
        for method in vars(kind).values():
            if isinstance(method, FunctionType):
                for code in (method.__code__, *functions_in(method.__code__)):
                    engine.set_code_exec_strategy(code, itself_and_what_it_calls)
