"""Puts together a `Breakdown`: what stands in the model, and what a traced step shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from timeline.errors import BreakdownError, UsageError
from timeline.theory import optimizers
from timeline.theory.apart import apart
from timeline.theory.inputs import parse_cast
from timeline.theory.inside import known_here
from timeline.theory.job import belongs, job_of
from timeline.theory.likeness import fake_mode
from timeline.theory.several import as_one, parts_of
from timeline.theory.step import PRECISIONS, trace_step
from timeline.theory.storages import Ledger
from timeline.theory.subject import Part, open_subject
from timeline.theory.tracing import LOSS, Called, Trace
from timeline.theory.types import CATEGORIES, Breakdown, Layer, Peak

KERNELS = (
    "memory inside operators, such as oneDNN's reordered weights and the workspaces of "
    "convolutions and recurrent layers: it is known on x86 with AVX-512 alone"
)
OTHER_KERNELS = (
    "memory inside operators, except products, convolutions, normalisations, attention and LSTM"
)


@dataclass(slots=True)
class _Notes:
    not_counted: list[str] = field(default_factory=list)
    assumptions: list[str] = field(default_factory=list)


@apart()
def assemble(
    model: Any,
    optimizer: Any,
    inputs: Any,
    *,
    batch: int | None,
    dtype: str | None,
    precision: str,
    train: bool,
    loss: str | Callable[[Any], Any],
    title: str | None,
    set_to_none: bool = True,
) -> Breakdown:
    """`timeline.breakdown`, whose arguments these are, with torch imported."""
    if precision not in PRECISIONS:
        raise UsageError(
            f"the precision {precision!r} is not known: use one of {', '.join(PRECISIONS)}"
        )
    cast = parse_cast(dtype) if dtype else None
    mode = fake_mode()
    job = job_of(model, optimizer, inputs, batch=batch, loss=loss)
    if job.inputs is None and job.batch is not None:
        raise UsageError("batch is for inputs given as shapes: give inputs, too")
    model, optimizer = job.model, job.optimizer
    own = optimizer if isinstance(optimizer, torch.optim.Optimizer) else None
    belongs(own, model)
    notes = _Notes()
    with open_subject(model, own, mode, cast=cast, train=train) as subject, mode:
        copied = subject.optimizer
        if train and optimizer is not None and own is None:
            copied = optimizers.make(optimizer, subject.parameters())
        rows = _standing(subject.parts, notes)
        _packed(model, notes)
        trace = None
        ruled = [each for each in parts_of(copied) if not optimizers.can_be_followed(each)]
        kept = 0
        if job.inputs is not None:
            args, kwargs = job.arguments(subject.floating())
            followed = as_one(each for each in parts_of(copied) if each not in ruled)
            trace = trace_step(
                replace(subject, call=job.calling(subject.call)),
                args,
                kwargs,
                optimizer=followed if train else None,
                loss=job.loss_of_outputs,
                precision=precision,
                train=train,
                set_to_none=set_to_none,
            )
        categories = dict.fromkeys(CATEGORIES, 0)
        categories["parameter"] = sum(row.parameter for row in rows.values())
        categories["buffer"] = sum(row.buffer for row in rows.values())
        if train:
            categories["gradient"] = _gradients(subject.parts, rows, traced=trace is not None)
            state = {each: _state(each, subject.parameters(), notes) for each in parts_of(copied)}
            categories["optimizer_state"] = sum(state.values())
            kept = sum(state[each] for each in ruled)
    phases = _traced(
        trace,
        rows,
        categories,
        notes,
        _assumed(train, job.loss_of_outputs, precision, set_to_none),
        kept=kept,
    )
    layers = tuple(each for each in (r.layer(n) for n, r in rows.items()) if _tells(each))
    return Breakdown(
        title=title or type(model).__name__,
        categories=categories,
        layers=layers,
        parameters=sum(each.parameters for each in layers),
        outputs_bytes=sum(each.output_bytes for each in layers),
        peak=max(phases, key=lambda each: each.bytes, default=None),
        phases=phases,
        not_counted=tuple(notes.not_counted),
        assumptions=tuple(notes.assumptions),
    )


@dataclass(slots=True)
class _Row:
    """A `Layer` that is being filled in."""

    kind: str
    parameters: int = 0
    parameter: int = 0
    buffer: int = 0
    gradient: int = 0
    activation: int = 0
    called: Called = field(default_factory=Called)

    def layer(self, name: str) -> Layer:
        return Layer(
            name=name,
            kind=self.kind,
            parameters=self.parameters,
            parameter=self.parameter,
            buffer=self.buffer,
            gradient=self.gradient,
            activation=self.activation,
            output_shape=self.called.shape,
            output_dtype=self.called.dtype,
            output_bytes=self.called.bytes,
            calls=self.called.calls,
        )


def _tells(row: Layer) -> bool:
    return bool(row.parameters or row.buffer or row.activation or row.output_bytes)


def _standing(parts: Sequence[Part], notes: _Notes) -> dict[str, _Row]:
    """A row for each layer, with the parameters and buffers that are its own."""
    ledger = Ledger()
    first: dict[int, str] = {}
    rows: dict[str, _Row] = {}
    tied: list[str] = []
    for part in parts:
        row = rows[part.name] = _Row(kind=part.kind)
        for short, parameter in part.parameters.items():
            full = f"{part.name}.{short}" if part.name else short
            if id(parameter) in first:
                tied.append(f"{full} is {first[id(parameter)]}")
                continue
            first[id(parameter)] = full
            row.parameters += parameter.numel()
            row.parameter += ledger.add([parameter])
        row.buffer += ledger.add(part.buffers)
    if tied:
        more = f" and {len(tied) - 3} more" if len(tied) > 3 else ""
        notes.assumptions.append(f"tied weights count once: {', '.join(tied[:3])}{more}")
    return rows


def _packed(model: torch.nn.Module, notes: _Notes) -> None:
    """Say which layers hold their weights in something that is no tensor, as quantized ones do."""
    kinds = {
        type(each).__name__
        for each in model.modules()
        if any(isinstance(held, torch.ScriptObject) for held in vars(each).values())
    }
    if kinds:
        notes.not_counted.append(f"weights packed by {', '.join(sorted(kinds))}")


def _gradients(parts: Sequence[Part], rows: Mapping[str, _Row], *, traced: bool) -> int:
    """The bytes of all gradients: as the traced step left them, else one as large as each."""
    ledger = Ledger()
    seen: set[int] = set()
    for part in parts:
        for parameter in part.parameters.values():
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            if not traced:
                rows[part.name].gradient += parameter.numel() * parameter.element_size()
            elif parameter.grad is not None:
                rows[part.name].gradient += ledger.add([parameter.grad])
    return sum(row.gradient for row in rows.values())


def _state(
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[torch.nn.Parameter],
    notes: _Notes,
) -> int:
    name = type(optimizer).__name__
    if not optimizers.can_be_followed(optimizer):
        notes.not_counted.append(f"temporaries of {name}'s step, which depends on values")
        return optimizers.by_rule(optimizer)
    if optimizers.weigh_state(optimizer):
        return optimizers.weigh_state(optimizer)
    if optimizers.has_rule(optimizer):
        return optimizers.by_rule(optimizer)
    try:
        return optimizers.state_after_a_step(optimizer, parameters)
    except BreakdownError as error:
        notes.not_counted.append(str(error))
        return 0


def _traced(
    trace: Trace | None,
    rows: dict[str, _Row],
    categories: dict[str, int],
    notes: _Notes,
    assumed: Iterable[str],
    *,
    kept: int,
) -> tuple[Peak, ...]:
    """Fill in what the traced step showed; returns the peak of each phase."""
    if trace is None:
        notes.not_counted.append(
            "activations, outputs, inputs and temporaries: they need inputs, and none were given"
        )
        return ()
    highest, peaks = trace.most(kept)
    for category in ("activation", "input", "temporary"):
        categories[category] = highest[category]
    for name, called in trace.called.items():
        rows[name].called = called
    for name, size in trace.saved_by().items():
        rows.setdefault(name, _Row(kind="loss" if name == LOSS else "")).activation += size
    notes.not_counted.append(OTHER_KERNELS if known_here() else KERNELS)
    notes.not_counted.extend(sorted(trace.unseen))
    notes.assumptions.extend(assumed)
    notes.assumptions.extend(sorted(trace.assumed))
    return peaks


def _assumed(train: bool, loss: object, precision: str, set_to_none: bool) -> Iterable[str]:
    yield "operators as on a CPU; a GPU saves other tensors for dropout, attention and LSTM"
    if train:
        are = "None" if set_to_none else "zeros"
        yield f"gradients are {are} when the step begins, and its outputs are held until it ends"
        if loss == "sum":
            yield "the loss is the sum of the outputs"
    if precision != "fp32":
        yield f"autocast to {precision} by the CPU's list of operators"
