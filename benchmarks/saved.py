"""What is saved for backward: the sum of closed formulas beside tracing, model by model.

    python benchmarks/saved.py [--quick] [MODEL ...]

Models are named as the command line does: ``torchvision:resnet18``, ``transformers:gpt2``,
``torch:lstm``. Nothing is allocated. A process for each sort of models prints one line of JSON a
model.
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

from measure import command_of, rows_of

BATCH = 2
TOKENS = 32

TRANSFORMERS = (
    "gpt2", "bert", "llama", "t5", "roberta", "distilbert", "mistral", "qwen2", "opt", "gpt_neox",
)  # fmt: skip
RECURRENT = ("lstm", "gru", "rnn", "bidirectional_lstm")
QUICK = (
    "torchvision:resnet18",
    "torchvision:swin_t",
    "transformers:distilbert",
    "torch:lstm",
)


def names(quick: bool) -> list[str]:
    """What is compared: all classifiers of torchvision, ten transformers, recurrent networks."""
    if quick:
        return list(QUICK)
    import torchvision

    classifiers = torchvision.models.list_models(module=torchvision.models)
    return [
        *(f"torchvision:{each}" for each in classifiers),
        *(f"transformers:{each}" for each in TRANSFORMERS),
        *(f"torch:{each}" for each in RECURRENT),
    ]


def target(name: str) -> tuple[Any, Any]:
    """What makes the model, and its inputs without a batch."""
    from timeline.theory.targets import resolve

    family, _, short = name.partition(":")
    if family == "torch":
        return recurrent(short), f"{TOKENS}:int64"
    if short == "t5":
        shapes = [f"{each}={TOKENS}:int64" for each in ("input_ids", "decoder_input_ids")]
    elif family == "transformers":
        shapes = [str(TOKENS)]
    else:
        size = 299 if short == "inception_v3" else 224
        shapes = [f"3x{size}x{size}"]
    found = resolve(name, shapes)
    return found.make, found.inputs


def recurrent(name: str) -> Any:
    """Words, two layers in one direction or both, and scores."""
    from torch import nn

    two = name.startswith("bidirectional")
    kind = getattr(nn, name.removeprefix("bidirectional_").upper())

    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(8000, 128)
            self.steps = kind(128, 256, 2, batch_first=True, bidirectional=two, dropout=0.1)
            self.scores = nn.Linear(512 if two else 256, 8000)

        def forward(self, tokens: Any) -> Any:
            return self.scores(self.steps(self.words(tokens))[0])

    return Words


def one(name: str, quick: bool) -> None:
    """Print both figures of one model."""
    import timeline
    from timeline.theory.summing import saved_by_formula

    warnings.simplefilter("ignore")
    make, inputs = target(name)
    summed = saved_by_formula(make, inputs, batch=BATCH)
    traced = timeline.breakdown(make, None, inputs, batch=BATCH)
    row = {
        "model": name,
        "traced": traced.categories["activation"],
        "formula": summed.bytes,
        "of_layers": summed.of_layers,
        "of_operators": summed.of_operators,
        "not_counted": summed.not_counted,
    }
    print(json.dumps(row), flush=True)


def measure_all(*, quick: bool = False, models: list[str] | None = None) -> list[dict[str, Any]]:
    """Every model; those of a library in a process of its own."""
    rows = []
    chosen = models or names(quick)
    for family in dict.fromkeys(each.partition(":")[0] for each in chosen):
        of_it = [each for each in chosen if each.startswith(f"{family}:")]
        rows += rows_of(__file__, ["--lines", *of_it], family)
        print(f"saved        {family}", file=sys.stderr, flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: every model, and what the errors come to."""
    lines = [
        "| model | traced, bytes | formulas | off | by layers | by single operators | no rule |",
        "| --- " * 7 + "|",
    ]
    errors = []
    for row in rows:
        error = row["formula"] / row["traced"] - 1
        errors.append(abs(error))
        off = f"{100 * error:+.3f} %" if error else "equal"
        share = 100 * row["of_layers"] / row["formula"]
        lines.append(
            f"| {row['model']} | {row['traced']:,} | {row['formula']:,} | {off} | {share:.0f} % "
            f"| {100 - share:.0f} % | {', '.join(row['not_counted'])} |"
        )
    equal = sum(each == 0 for each in errors)
    lines += [
        "",
        f"saved for backward: {len(errors)} models, {equal} equal to the byte, "
        f"{sum(each <= 0.01 for each in errors)} within 1 %, worst {100 * max(errors):.2f} %",
    ]
    return "\n".join(lines)


def main() -> None:
    command_of(__doc__, one, lambda models, quick: table(measure_all(quick=quick, models=models)))


if __name__ == "__main__":
    main()
