"""Advice beside the change really made: its figure, the theory's again, and torch's own allocator.

    python benchmarks/advice.py [--quick] [MODEL ...]

Each advised change is made by hand to the model, to the optimizer or to the loop, as a reader of
the advice would make it; then the changed step is broken down anew, and a real one is run. Each
model runs in a process of its own, which prints one line of JSON a change.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import peaks
from measure import command_of, rows_of

MODELS = ("resnet18", "mobilenet_v3_large", "gpt", "lstm")
LR = ",lr=0.00001"


@dataclass(frozen=True)
class Case:
    """A training step, and how it is run."""

    make: Callable[[], Any]
    inputs: Any
    optimizer: str = "adam"
    precision: str = "fp32"
    train: bool = True
    set_to_none: bool = False

    def theory(self) -> int:
        import timeline

        told = timeline.breakdown(
            self.make,
            self.optimizer + LR if self.train else None,
            self.inputs,
            precision=self.precision,
            train=self.train,
            set_to_none=self.set_to_none,
            loss=peaks.loss_of,
        )
        peak: int = told.peak.bytes
        return peak

    def real(self) -> int:
        import torch

        from timeline.theory import optimizers

        torch.manual_seed(0)
        model = self.make()
        if not self.train:
            return peaks.truth_of_inference(model, self.inputs)
        kind, options = optimizers.parse(self.optimizer + LR)
        optimizer = kind(model.parameters(), **options)
        return peaks.truth(
            model, optimizer, self.inputs, self.precision, set_to_none=self.set_to_none
        )


def case_of(name: str) -> Case:
    """One in which every kind of advice can be: activations stand beside what they are given."""
    make, inputs = peaks.build(name)

    def beside() -> Any:
        model = make()
        for each in model.modules():
            if getattr(each, "inplace", False):
                each.inplace = False
        return model

    return Case(beside, inputs)


def changed(case: Case, advice: Any) -> Case:
    """The change that a piece of advice speaks of, made as its reader would."""
    from torch import nn
    from torch.utils.checkpoint import checkpoint

    class Again(nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return checkpoint(self.inner, *args, use_reentrant=False, **kwargs)

    def with_layers(change: Callable[[Any], Any]) -> Callable[[], Any]:
        def make() -> Any:
            model = case.make()
            for name in advice.layers:
                home, _, short = name.rpartition(".")
                parent = model.get_submodule(home)
                parent._modules[short] = change(parent._modules[short])
            return model

        return make

    def overwriting(layer: Any) -> Any:
        layer.inplace = True
        return layer

    def separated(layer: Any) -> Any:
        wide = layer.in_channels
        return nn.Sequential(
            nn.Conv2d(
                wide, wide, layer.kernel_size, layer.stride, layer.padding, groups=wide, bias=False
            ),
            nn.Conv2d(wide, layer.out_channels, 1, bias=layer.bias is not None),
        )

    words = advice.what
    if advice.kind == "batch":
        return replace(case, inputs=case.inputs[: len(case.inputs) // 2])
    if advice.kind == "bf16":
        return replace(case, precision="bf16")
    if advice.kind == "optimizer":
        return replace(case, optimizer=words.removeprefix("the optimizer "))
    if advice.kind == "optimizer_kernel":
        return replace(case, optimizer=f"{case.optimizer},{words.rpartition(' ')[2]}")
    if advice.kind == "set_to_none":
        return replace(case, set_to_none=True)
    if advice.kind == "inference_mode":
        return replace(case, train=False)
    change = {"checkpointing": Again, "in_place": overwriting, "separable": separated}[advice.kind]
    return replace(case, make=with_layers(change))


def one(name: str, quick: bool) -> None:
    """Print a line for each change of one model."""
    import timeline

    case = case_of(name)
    rows = [("as it is", case, case.theory())]
    for each in timeline.advice(
        case.make,
        case.optimizer + LR,
        case.inputs,
        set_to_none=case.set_to_none,
        loss=peaks.loss_of,
    ):
        rows.append((f"{each.kind}: {each.what}", changed(case, each), each.peak))
    for what, made, advised in rows[:4] if quick else rows:
        row = {
            "model": name,
            "change": what,
            "advised": advised,
            "theory": made.theory(),
            "real": made.real(),
        }
        print(json.dumps(row), flush=True)


def measure_all(*, quick: bool = False, models: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Every change of the models, each model in a process of its own."""
    rows = []
    for name in models or MODELS[: 1 if quick else None]:
        rows += rows_of(__file__, ["--lines", name, *(["--quick"] if quick else [])], name)
        print(f"advice       {name}", file=sys.stderr, flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: every change, and what the errors come to."""
    lines = [
        "| model | change | peak advised | broken down again | in a real step | off "
        "| saves, advised | saves, really |",
        "| --- " * 8 + "|",
    ]
    errors = []
    before: dict[str, dict[str, Any]] = {}
    for row in rows:
        now = before.setdefault(row["model"], row)
        errors.append(abs(row["advised"] / row["real"] - 1))
        again = "equal" if row["theory"] == row["advised"] else f"{row['theory'] / 1e6:.2f} MB"
        saves = ["", ""]
        if row is not now:
            saves = [f"{(now[key] - row[key]) / 1e6:.2f} MB" for key in ("advised", "real")]
        lines.append(
            f"| {row['model']} | {row['change'][:60]} | {row['advised'] / 1e6:.2f} MB | {again} "
            f"| {row['real'] / 1e6:.2f} MB | {100 * (row['advised'] / row['real'] - 1):+.2f} % "
            f"| {saves[0]} | {saves[1]} |"
        )
    errors.sort()
    equal = sum(row["theory"] == row["advised"] for row in rows)
    lines += [
        "",
        f"advice: {len(rows)} steps, {equal} broken down again to the same byte; against a real "
        f"step median error {100 * errors[len(errors) // 2]:.2f} %, worst {100 * errors[-1]:.2f} %",
    ]
    return "\n".join(lines)


def main() -> None:
    command_of(__doc__, one, lambda models, quick: table(measure_all(quick=quick, models=models)))


if __name__ == "__main__":
    main()
