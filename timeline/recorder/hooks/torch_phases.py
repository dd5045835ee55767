"""Which call of torch is which phase, and which is none. Imported once torch has been.

Everything here is called from probes in torch's own code (`planting`), in the thread of the call.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

from timeline.recorder import lines
from timeline.recorder.hooks.keras_layers import is_keras, is_symbolic
from timeline.recorder.hooks.nesting import IN_CALL, IN_STEP, IN_WEIGHED_CALL, NOBODY, NOTHING, Here
from timeline.recorder.hooks.watching import InnerCall

if TYPE_CHECKING:
    from timeline.recorder.hooks.anatomy import Anatomy

_LIBRARIES = ("torch.nn.modules.", "torchvision.transforms.")
"""Homes of modules of which many hold nothing: ReLU, MSELoss, Resize."""

_MACHINERY = ("torch._", "torch.fx.", "torch.jit.")
"""Homes of modules that are made around others."""

_WRAPPED_IN = {
    "OptimizedModule": "_orig_mod",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
}
"""Modules that stand around the model, and their name for it."""

_TRACERS = (
    "torch._dynamo", "torch._export", "torch._functorch._aot_autograd", "torch._inductor",
    "torch.ao", "torch.export", "torch.fx", "torch.jit", "torch.storage",
)  # fmt: skip
"""Homes of what runs models, backwards and loads for purposes of its own: compiling, unpickling."""

_FORWARDED_BY = (
    "torch._dynamo.eval_frame",
    "torch._dynamo.mutation_guard",
    "torch.fx.graph_module",
    "torch.jit._script",
)
"""Homes of Python around nn.Module's ``__call__`` and ``__init__``: the caller is beyond."""

_IN_NO_BACKWARD = -1
"""torch's number of the backward that runs in this thread, where none does."""

_CALLER = 3
"""So far above `_on_torchs_account` is whoever calls the function that has the probe."""

_CHECKPOINTS = "torch.utils.checkpoint"
"""Home of what runs a training's forward under ``no_grad``, to run it again in backward."""

_FUNCTIONS_UP = 4
"""So many functions a checkpoint may have been given, each within the other, around a module."""

_FRAMES_UP = 16
"""How far above ``Module.__init__`` a subclass's ``__init__`` is looked for."""


class Probe(Here):
    """What the probes in torch's code talk to.

    Attributes:
        anatomy: what weighs a step, until it has been weighed.
        is_engines: whether this thread may be one of the autograd engine's.
    """

    anatomy: Anatomy | None = None
    grad_enabled: Any
    inference_mode: Any
    graph_task: Any = None
    module: Any
    loss: Any

    def __init__(self) -> None:
        super().__init__()
        # Called in each thread that asks. Those of the engine run nothing but backwards.
        self.is_engines = Probe.graph_task is not None and Probe.graph_task() != _IN_NO_BACKWARD

    @classmethod
    def learn(cls, torch: Any) -> None:
        """Take from torch what the probes ask at each call.

        Raises:
            AttributeError: this torch has no such thing.
        """
        cls.grad_enabled = torch.is_grad_enabled
        cls.inference_mode = torch.is_inference_mode_enabled
        cls.graph_task = torch._C._current_graph_task_id
        cls.module = torch.nn.Module
        cls.loss = torch.nn.modules.loss._Loss
        torch.compiler.is_dynamo_compiling  # noqa: B018 - asked in torch's own code, see planting

    @classmethod
    def forget_anatomy(cls) -> None:
        """Weigh nothing more."""
        anatomy, cls.anatomy, cls.watcher = cls.anatomy, None, NOBODY
        if anatomy is not None:
            anatomy.close()

    def __reduce__(self) -> str:
        # torch.compile copies the constants of code that it breaks in two: by name, not by value.
        return "probe"

    def call(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A module is called: outermost, or inside a call that is weighed."""
        anatomy = Probe.anatomy
        if self.quiet is IN_WEIGHED_CALL:
            self.call_inside(InnerCall(anatomy, module, args, kwargs))
            return
        kind = type(module)
        while kind.__name__ in _WRAPPED_IN:
            inner = module.__dict__.get("_modules", {}).get(_WRAPPED_IN[kind.__name__])
            if inner is None:
                break
            module, kind = inner, type(inner)
        is_loss = issubclass(kind, Probe.loss)
        grad = Probe.grad_enabled()
        if (
            (not grad if is_loss else _is_operation(module))
            or "_is_replica" in module.__dict__
            or (is_keras(module) and is_symbolic(args, kwargs))
            or _on_torchs_account()
        ):
            self.pass_by()
        else:
            # A frozen module of TorchScript has no such attribute, and another's may be code.
            trains = grad or (module.__dict__.get("training") is True and _is_checkpointed())
            path = "step/loss" if is_loss else "step/forward" if trains else "inference"
            self.open(IN_CALL, path, kind.__name__, anatomy, module, (args, kwargs))

    def loss_of_keras(self, loss: Any, wanted: Any, given: Any) -> None:
        """A loss of Keras is called, which is no module."""
        if not Probe.grad_enabled() or is_symbolic((wanted, given), {}) or _on_torchs_account():
            self.pass_by()
        else:
            name = type(loss).__name__
            self.open(IN_CALL, "step/loss", name, Probe.anatomy, None, (wanted, given))

    def backward(self, roots: Any) -> None:
        """torch.autograd.backward or torch.autograd.grad is called, outermost."""
        if _on_torchs_account():
            self.pass_by()
        else:
            self.open(NOTHING, "step/backward", "", Probe.anatomy, None, roots)

    def step(self, args: tuple[Any, ...]) -> None:
        """An optimizer's step is called, outermost."""
        if _on_torchs_account():
            self.pass_by()
        else:
            optimizer = args[0] if args else None
            name = type(optimizer).__name__ if args else ""
            self.open(IN_STEP, "step/optimizer", name, Probe.anatomy, optimizer, ())

    def fetch(self, iterator: Any) -> None:
        """A DataLoader is asked for its next batch."""
        self.open(NOTHING, "data", type(getattr(iterator, "_dataset", iterator)).__name__)

    def workers(self, loader: Any) -> None:
        """A DataLoader makes its iterator, and with it its workers."""
        if getattr(loader, "num_workers", 0):
            self.open(NOTHING, "data", type(getattr(loader, "dataset", loader)).__name__)
        else:
            self.pass_by()

    def load(self, target: Any) -> None:
        """A module or an optimizer is loaded, or moved to a device or type; or a file is."""
        kind = type(target)
        if _is_operation(target) or _on_torchs_account():
            self.pass_by()
        else:
            self.open(NOTHING, "load", target if kind is str else kind.__name__)

    def construct(self, module: Any) -> None:
        """nn.Module.__init__ runs: of a module that is being built, outermost."""
        kind = type(module)
        if _holds_nothing(kind) or _on_torchs_account():
            return
        frame = _outermost_init(kind, sys._getframe(2))
        if frame is not None:
            if Probe.anatomy is not None:
                Probe.anatomy.built(module)
            if not lines.others_trace():  # else f_trace is a debugger's
                self.build(frame, kind.__name__)

    def copied(self, module: Any, state: Any) -> None:
        """nn.Module.__setstate__ runs: of a copy, as by copy.deepcopy, or of what is unpickled."""
        if Probe.anatomy is not None and not _on_torchs_account():
            Probe.anatomy.copied(module, state)

    def profile(self) -> None:
        """The program starts a profiler of its own while a step is weighed."""
        if Probe.anatomy is not None:
            Probe.anatomy.step_aside()

    def observe(self) -> None:
        """The program begins to trace operators, in all threads and for longer than a call."""
        if Probe.anatomy is not None:
            Probe.anatomy.traced = True
            Probe.anatomy.step_aside()


probe = Probe()


def _is_operation(module: Any) -> bool:
    """Whether a module is no model but an operation, such as a Softmax called by itself."""
    return str(type(module).__module__).startswith(_LIBRARIES) and not (
        module._parameters or module._modules
    )


def _holds_nothing(kind: type) -> bool:
    """Whether building one allocates nothing worth a phase, as nn.MSELoss() in a loop."""
    home = str(kind.__module__)
    if not home.startswith(_LIBRARIES):
        return home.startswith(_MACHINERY)
    # What has parameters of its own has a method that gives them their first values; transformers
    # are built of others that have.
    return not (
        hasattr(kind, "reset_parameters")
        or hasattr(kind, "_reset_parameters")
        or home.endswith(".transformer")
    )


def _on_torchs_account() -> bool:
    """Whether torch itself calls the function whose probe asks, for purposes of its own.

    A backward that neither ``torch.autograd.backward`` nor ``grad`` began, and that runs on the
    CPU in the thread of whoever began it, is not known as one: to ask in all threads whether the
    engine runs there costs each phase a microsecond.
    """
    # A thread of the autograd engine, where CUDA's backward runs forward again for a checkpoint,
    # runs a backward that it has not called.
    if probe.is_engines and Probe.graph_task() != _IN_NO_BACKWARD:
        return True
    try:
        # The probe asks, the function stands before it, and then whoever called it. The frames
        # between are not touched: each would become an object.
        caller: FrameType | None = sys._getframe(_CALLER)
    except ValueError:  # a thread that began with the function itself
        return False
    while caller is not None:
        home = caller.f_globals.get("__name__")
        if not isinstance(home, str) or home[:6] != "torch.":
            return False
        if home not in _FORWARDED_BY:
            return home.startswith(_TRACERS)
        caller = caller.f_back
    return False


def _is_checkpointed() -> bool:
    """Whether a checkpoint calls the module whose probe asks, directly or by a function of its own.

    One of the older, reentrant kind runs forward under ``no_grad``, in training too. Whether
    gradients were enabled around it nothing in its frame tells.
    """
    if Probe.inference_mode():
        return False
    try:
        caller: FrameType | None = sys._getframe(_CALLER)
    except ValueError:
        return False
    for _ in range(_FUNCTIONS_UP):
        if caller is None:
            return False
        if caller.f_globals.get("__name__") == _CHECKPOINTS:
            return caller.f_code.co_qualname == "CheckpointFunction.forward"
        caller = caller.f_back
    return False


def _outermost_init(kind: type, frame: FrameType | None) -> FrameType | None:
    """The frame of the outermost ``__init__`` of this class or a base that is now running."""
    codes = set()
    for base in kind.__mro__:
        if base is Probe.module:
            break
        init = vars(base).get("__init__")
        while init is not None:
            codes.add(id(getattr(init, "__code__", None)))
            init = getattr(init, "__wrapped__", None)
    found = None
    for _ in range(_FRAMES_UP):
        if frame is None:
            break
        if id(frame.f_code) in codes:
            found = frame
        frame = frame.f_back
    return found
