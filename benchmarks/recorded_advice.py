"""A recording's advice beside the change really made: recorded as it is, changed, recorded again.

    python benchmarks/recorded_advice.py [--quick] [MODEL ...]

Each model is trained for three steps under the recorder; each change that the recording advises is
made by hand as in `advice.py`, and the changed training is recorded. Compared is the drop of the
peak of tensors in the weighed step and that of resident memory in the run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import advice
import peaks
from measure import Failed, command_of, rows_of

MODELS = ("resnet18", "gpt", "lstm")
STEPS = 3
MIB = 1 << 20


def case_of(name: str) -> advice.Case:
    """A training in which there is something to advise."""
    peaks.BATCH, peaks.IMAGE, peaks.TOKENS = (16, 96, 128)
    case = advice.case_of(name)
    return replace(case, optimizer="adam,foreach=true") if name == "lstm" else case


def train(name: str, change: dict[str, Any] | None) -> None:
    """The program that is recorded."""
    import contextlib

    import torch

    from timeline.theory import optimizers

    case = case_of(name)
    if change is not None:
        # A recording names layers with their model where there are several.
        root = f"{type(case.make()).__name__}."
        change["layers"] = [each.removeprefix(root) for each in change["layers"]]
        case = advice.changed(case, SimpleNamespace(**change))
    torch.manual_seed(0)
    model = case.make()
    if not case.train:
        model.eval()
        with torch.inference_mode():
            for _ in range(STEPS):
                model(case.inputs)
        return
    kind, options = optimizers.parse(case.optimizer + advice.LR)
    optimizer = kind(model.parameters(), **options)
    for _ in range(STEPS):
        optimizer.zero_grad(set_to_none=case.set_to_none)
        half = case.precision == "bf16"
        with torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext():
            loss = peaks.loss_of(model(case.inputs))
        loss.backward()
        optimizer.step()


def recorded(name: str, change: dict[str, Any] | None) -> dict[str, Any]:
    """What `report --json` tells of one training."""
    with tempfile.TemporaryDirectory() as folder:
        run = str(Path(folder, "run.timeline"))
        told = json.dumps(change)
        command = [sys.executable, "-m", "timeline", "--no-charts", "-o", run, __file__]
        # Every larger block has a mapping of its own, and goes back to the system with it: what
        # malloc keeps of a heap differs by 60 MiB between two runs of the same training.
        at_once = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
        there = {**os.environ, **at_once, "RECORDED_TRAINING": told}
        for each in ([*command, "--lines", name], [*command[:3], "report", run, "--json"]):
            ran = subprocess.run(each, capture_output=True, text=True, env=there)
            if ran.returncode:
                raise Failed(f"{name}: {ran.stderr[-800:]}")
        found: dict[str, Any] = json.loads(ran.stdout)
        return found


def peaks_of(document: dict[str, Any]) -> dict[str, Any]:
    """Of tensors in the weighed step, by its course, and of resident memory in all steps."""
    told = document["breakdown"] or {}
    tensors = told.get("tensors_peak") or {}
    resident = [
        each["peak"]["host.rss"]["bytes"]
        for each in document["phases"]
        if each["path"].startswith(("step/", "inference")) and each["peak"]
    ]
    return {"tensors": tensors.get("bytes"), "rss": max(resident, default=None)}


def one(name: str, quick: bool) -> None:
    """Print a line for each change of one model."""
    if "RECORDED_TRAINING" in os.environ:
        train(name, json.loads(os.environ["RECORDED_TRAINING"]))
        return
    before = recorded(name, None)
    now = peaks_of(before)
    for each in before["advice"][: 2 if quick else None]:
        then = peaks_of(recorded(name, each))
        row = {"model": name, "change": f"{each['kind']}: {each['what']}", "saves": each["saves"]}
        print(json.dumps({**row, "now": now, "then": then}), flush=True)


def measure_all(*, quick: bool = False, models: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Every change of the models."""
    rows = []
    for name in models or MODELS[: 1 if quick else None]:
        rows += rows_of(__file__, ["--lines", name, *(["--quick"] if quick else [])], name)
        print(f"recorded     {name}", file=sys.stderr, flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: every change, and how far the figure is off as a share of the peak."""
    lines = [
        "| model | change | saves, advised | tensors, really | off, of the peak | resident, really "
        "| off, of the growth |",
        "| --- " * 7 + "|",
    ]
    errors = []
    for row in rows:
        now, then = row["now"], row["then"]
        cells = []
        for key in ("tensors", "rss"):
            if then[key] is None:
                cells += ["", ""]
                continue
            really = now[key] - then[key]
            error = (row["saves"] - really) / now["tensors"]
            if key == "tensors":
                errors.append(abs(error))
            cells += [f"{really / MIB:.1f} MiB", f"{100 * error:+.1f} %"]
        lines.append(
            f"| {row['model']} | {row['change'][:60]} | {row['saves'] / MIB:.1f} MiB | "
            + " | ".join(cells)
            + " |"
        )
    if errors:
        errors.sort()
        median, worst = errors[len(errors) // 2], errors[-1]
        lines += [
            "",
            f"recorded advice: {len(errors)} changes; off by {100 * median:.1f} % of the peak in "
            f"the median, {100 * worst:.1f} % at worst",
        ]
    return "\n".join(lines)


def main() -> None:
    command_of(__doc__, one, lambda models, quick: table(measure_all(quick=quick, models=models)))


if __name__ == "__main__":
    main()
