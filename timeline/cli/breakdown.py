"""Break down what a model should need, by layer and category, without allocating or running it.

TARGET is torchvision:NAME, transformers:NAME-OR-CONFIG.json, keras:NAME, or module:factory, a
function (or a model) in a module that can be imported from here. It returns a model, or a whole
job: (model, optimizer, inputs), or a dict with model, optimizer, inputs, loss or step.

  timeline breakdown torchvision:resnet50 --input 3x224x224 --batch 16 --optimizer adam
  timeline breakdown transformers:gpt2 --input 1024 --batch 8 --precision bf16
  timeline breakdown torchvision:resnet50 --input 3x224x224 --batch 16 --advice
"""

from __future__ import annotations

import argparse
import sys

from timeline.cli import model_options
from timeline.cli.output import show
from timeline.theory.advising import advice
from timeline.theory.breakdown import breakdown
from timeline.theory.lightly import loading, without_compiler
from timeline.theory.targets import resolve
from timeline.views import breakdown_json, breakdown_text
from timeline.views.terminal import look_of


def run(arguments: list[str]) -> int:
    """Run the verb; returns the exit code."""
    options = _parser().parse_args(arguments)
    model_options.at_least(options, layers=0, batch=1)
    without_compiler()
    with loading():
        target = resolve(options.target, options.input)
    step = {
        "batch": options.batch,
        "dtype": options.dtype,
        "precision": options.precision,
        "train": not options.inference,
        "loss": options.loss,
        "set_to_none": options.zero_grad == "none",
    }
    told = breakdown(target.make, options.optimizer, target.inputs, title=target.title, **step)
    advised = None
    if options.advice:
        advised = advice(target.make, options.optimizer, target.inputs, **step)
    if options.json:
        show(breakdown_json.render(told, advised))
    else:
        look = look_of(sys.stdout)
        show(
            breakdown_text.render(
                told,
                width=look.width,
                color=look.color,
                ascii=look.ascii,
                layers=options.layers,
                advice=advised,
            )
        )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="timeline breakdown",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("target", metavar="TARGET", help="the model")
    model_options.add(parser)
    parser.add_argument(
        "--zero-grad",
        choices=("none", "zeros"),
        default="none",
        help="what gradients are when the step begins; by default none, as torch has it",
    )
    parser.add_argument(
        "--advice",
        action="store_true",
        help="say what would lower the peak and by how much: each change is tried",
    )
    parser.add_argument(
        "--layers",
        metavar="N",
        type=int,
        default=breakdown_text.LAYERS_SHOWN,
        help="how many layers are shown, those with the most bytes; 0 is all",
    )
    parser.add_argument("--json", action="store_true", help="print a document for programs")
    return parser
