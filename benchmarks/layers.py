"""A training step of every layer and loss of torch.nn: its peak by theory and in truth.

    python benchmarks/layers.py [NAME ...]

The truth is what `torch.profiler` lists of the allocator, on top of what stands before the step.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

from measure import command_of, rows_of

# Where the cases are that the tests go through, too.
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))


def one(name: str, quick: bool) -> None:
    """Print both figures of one layer, in both precisions."""
    from every_layer import cases, peaks_of

    from timeline.errors import TimelineError

    warnings.simplefilter("ignore")
    for precision in ("fp32",) if quick else ("fp32", "bf16"):
        row: dict[str, Any] = {"layer": name, "precision": precision}
        try:
            row["theory"], row["truth"] = peaks_of(cases()[name], precision)
        except (RuntimeError, TimelineError) as error:  # of torch's kernels, or without values
            row["refused"] = str(error).splitlines()[0]
        print(json.dumps(row), flush=True)


def names() -> list[str]:
    from every_layer import cases

    return list(cases())


def measure_all(*, quick: bool = False, models: list[str] | None = None) -> list[dict[str, Any]]:
    """Every case, in a process for all."""
    chosen = models or names()[:: 10 if quick else 1]
    rows = rows_of(__file__, ["--lines", *(["--quick"] if quick else []), *chosen], "layers")
    print("layers", file=sys.stderr, flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: every layer, and what the errors come to."""
    lines = ["| layer | fp32 | theory | bf16 autocast | theory |", "| --- " * 5 + "|"]
    by: dict[str, dict[str, str]] = {}
    errors = []
    for row in rows:
        told = "refused | "
        if "truth" in row:
            off = row["theory"] / row["truth"] - 1
            errors.append(abs(off))
            told = f"{row['truth'] / 1e6:.2f} MB | {100 * off:+.2f} %"
        by.setdefault(row["layer"], {})[row["precision"]] = told
    for name, of in by.items():
        lines.append(f"| {name} | {of.get('fp32', ' | ')} | {of.get('bf16', ' | ')} |")
    if errors:
        errors.sort()
        lines += [
            "",
            f"every layer: {len(errors)} steps, median error {100 * errors[len(errors) // 2]:.2f} "
            f"%, {sum(each <= 0.01 for each in errors)} within 1 %, worst {100 * errors[-1]:.2f} %",
        ]
    return "\n".join(lines)


def main() -> None:
    command_of(__doc__, one, lambda models, quick: table(measure_all(quick=quick, models=models)))


if __name__ == "__main__":
    main()
