"""A likeness of a model: fake tensors on the CPU in the place of all its tensors.

Fake tensors have shapes, strides and storages with a size, and no memory. The likeness is a deep
copy, so that nothing that is done to it reaches the user's model, and a model on the meta device
or on a GPU becomes one whose operators are those of the CPU.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode

from timeline.errors import BreakdownError, TimelineError
from timeline.theory.failing import LEFT, why
from timeline.theory.storages import tensors_in


def fake_mode() -> FakeTensorMode:
    """A mode in which every tensor that is made has no memory."""
    # A tensor that the model closes over, such as a constant of its module, is real.
    return FakeTensorMode(allow_non_fake_inputs=True)


class _Copier(TorchFunctionMode):  # type: ignore[misc]
    """Makes fake tensors of real, meta or fake ones; tensors that share a storage still do."""

    def __init__(self, mode: FakeTensorMode, cast: torch.dtype | None) -> None:
        super().__init__()
        self._mode = mode
        self._cast = cast
        self._bases: dict[int, torch.Tensor] = {}
        self.memo: dict[int, Any] = {}
        self._kept: list[torch.Tensor] = []

    def copy_state(self, tensor: torch.Tensor) -> None:
        """Make the likeness of a tensor of an optimizer's state, which is not cast."""
        scalar = tensor.dim() == 0 and tensor.device.type == "cpu"
        if scalar and not isinstance(tensor, FakeTensor):
            value = tensor.item()  # of the steps: the optimizer asks for it
            with self._mode:
                self._keep(tensor, torch.tensor(value, dtype=tensor.dtype))
        else:
            self.copy(tensor, cast=False)

    def copy(self, tensor: torch.Tensor, *, cast: bool = True) -> torch.Tensor:
        """The likeness of a tensor, the same one each time."""
        known = self.memo.get(id(tensor))
        if known is None:
            if torch.nn.parameter.is_lazy(tensor):
                raise BreakdownError(
                    "the model has a lazy parameter without a shape: call the model once before"
                )
            with self._mode:
                dtype = self._cast if cast and tensor.is_floating_point() else None
                known = self._likeness(tensor, dtype or tensor.dtype)
            if tensor.is_leaf:
                known.requires_grad_(tensor.requires_grad)
            if isinstance(tensor, torch.nn.Parameter):
                known._is_param = True  # so torch.nn.Parameter makes one of another kind of tensor
            self._keep(tensor, known)
        return known

    def _keep(self, tensor: torch.Tensor, likeness: torch.Tensor) -> None:
        self.memo[id(tensor)] = likeness
        self._kept.append(tensor)  # deepcopy's memo goes by id: none may be used twice

    def _likeness(self, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        if tensor.layout is not torch.strided:
            raise BreakdownError(
                f"a tensor of the model has the layout {tensor.layout}: only strided ones can be "
                "weighed"
            )
        storage = tensor.untyped_storage()
        numbers = -(-storage.nbytes() // tensor.element_size())
        base = self._bases.get(storage._cdata)
        if base is None:
            base = torch.empty_strided(tensor.size(), tensor.stride(), dtype=dtype, device="cpu")
            if base.untyped_storage().nbytes() == numbers * base.element_size():
                self._bases[storage._cdata] = base
                return base
            # It is a part of its storage, or has more numbers than that.
            base = self._bases[storage._cdata] = torch.empty(numbers, dtype=dtype, device="cpu")
        base = base.detach()
        if base.dtype != dtype:
            count = base.untyped_storage().nbytes() // base.element_size()
            base = base.as_strided((count,), (1,), 0).view(dtype)
        return base.as_strided(tensor.size(), tensor.stride(), tensor.storage_offset())

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # What deepcopy finds beside parameters and buffers: a tensor that is a plain attribute.
        if func is torch.Tensor.__deepcopy__:
            return self.copy(args[0])
        return func(*args, **(kwargs or {}))


def likeness(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer | None,
    mode: FakeTensorMode,
    cast: torch.dtype | None = None,
) -> tuple[torch.nn.Module, torch.optim.Optimizer | None]:
    """Copies of a model and of the optimizer of its parameters, with fake tensors in them.

    Args:
        model, optimizer: they stay as they are.
        mode: of the fake tensors.
        cast: the dtype of the floating tensors of the copy, as `torch.nn.Module.to` makes them.

    Raises:
        BreakdownError: a tensor of the model has no shape yet, or the model cannot be copied.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise BreakdownError(
            "a ScriptModule cannot be followed: give the module that it was compiled from"
        )
    copier = _Copier(mode, cast)
    for tensor in (*model.parameters(), *model.buffers()):
        copier.copy(tensor)
    for tensor in tensors_in(list(optimizer.state.values()) if optimizer else ()):
        copier.copy_state(tensor)
    try:
        with copier:
            copied, its_optimizer = copy.deepcopy((model, optimizer), copier.memo)
        for each in copied.modules():
            # A cumulative average would ask for the number of batches; it takes no other memory.
            if isinstance(each, torch.nn.modules.batchnorm._NormBase) and each.momentum is None:
                each.momentum = 0.1
        return copied, its_optimizer
    except TimelineError:
        raise
    except Exception as error:
        raise BreakdownError(
            f"{type(model).__name__} cannot be copied by copy.deepcopy, and only a copy is looked "
            f"at ({type(error).__name__}: {error})"
        ) from error


def likeness_of_optimizer(
    optimizer: torch.optim.Optimizer, mode: FakeTensorMode, parameters: Mapping[int, torch.Tensor]
) -> torch.optim.Optimizer:
    """A copy of an optimizer, with fake tensors in it, for parameters that have theirs already.

    Args:
        optimizer: it stays as it is.
        mode: of the fake tensors.
        parameters: by the id of a parameter, what stands for it.
    """
    copier = _Copier(mode, None)
    copier.memo.update(parameters)
    for tensor in tensors_in(list(optimizer.state.values())):
        copier.copy_state(tensor)
    with copier:
        return copy.deepcopy(optimizer, copier.memo)


_INITIALISERS = tuple(
    name for name in dir(torch.nn.init) if name.endswith("_") and not name.startswith("_")
)


@contextmanager
def _no_initialisers() -> Iterator[None]:
    """Weights without memory have no values: what sets them is left out.

    Some initialisers ask for a value, such as trunc_normal_, and fail on a fake tensor.
    """
    kept = {name: getattr(torch.nn.init, name) for name in _INITIALISERS}
    for name in kept:
        setattr(torch.nn.init, name, _as_it_is)
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(torch.nn.init, name, function)


def _as_it_is(tensor: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
    return tensor


@contextmanager
def _weightless() -> Iterator[None]:
    """Each parameter goes to the meta device as a module gets it; all else is real.

    At most one has memory at a time, and none that is touched: nothing sets its values.
    """
    register = torch.nn.Module.register_parameter

    def on_meta(self: Any, name: str, parameter: Any) -> None:
        if parameter is not None and parameter.device.type != "meta":
            parameter = torch.nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
        register(self, name, parameter)

    torch.nn.Module.register_parameter = on_meta
    try:
        yield
    finally:
        torch.nn.Module.register_parameter = register


def _keras_on_meta() -> AbstractContextManager[Any]:
    """Keras names the device of each variable itself, and so is told of it by its own way."""
    keras = sys.modules.get("keras")
    on_torch = keras is not None and keras.backend.backend() == "torch"
    return keras.device("meta") if keras is not None and on_torch else nullcontext()


def build(factory: Callable[[], Any]) -> Any:
    """What a function makes: a model or more, made without memory for its weights.

    The meta device is the quickest. A function that needs the values of a tensor, such as the
    widths of a RegNet, fails there, and is called again with parameters alone on it.

    Raises:
        BreakdownError: it fails on both.
    """
    try:
        with _no_initialisers(), torch.device("meta"), _keras_on_meta():
            return factory()
    except TimelineError:
        raise
    except LEFT:
        try:
            with _no_initialisers(), _weightless():
                return factory()
        except TimelineError:
            raise
        except LEFT as error:
            ended = isinstance(error, SystemExit)
            else_ = "" if ended else "; if it needs weights with values, give a model already made"
            raise BreakdownError(
                f"{name_of(factory)} does not make a model without memory: {why(error)}{else_}"
            ) from error


def name_of(factory: Any) -> str:
    """What an error calls a function."""
    while isinstance(factory, partial):
        factory = factory.func
    return getattr(factory, "__qualname__", None) or repr(factory)
