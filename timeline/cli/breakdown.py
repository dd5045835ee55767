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

from timeline.cli.output import show
from timeline.errors import UsageError
from timeline.theory.advising import advice
from timeline.theory.breakdown import breakdown
from timeline.theory.targets import resolve
from timeline.views import breakdown_json, breakdown_text
from timeline.views.terminal import look_of


def run(arguments: list[str]) -> int:
    """Run the verb; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.layers < 0:
        raise UsageError(f"--layers {options.layers} cannot be: give 0 for all, or more")
    if options.batch is not None and options.batch < 1:
        raise UsageError(f"--batch {options.batch} cannot be: give 1 or more")
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
    parser.add_argument(
        "--input",
        metavar="SIZES",
        action="append",
        default=[],
        help="sizes of an input without the batch, such as 3x224x224, 128:int64 or "
        "input_ids=128:int64; may be given several times",
    )
    parser.add_argument("--batch", metavar="N", type=int, help="size of the batch; 1 if left out")
    parser.add_argument("--dtype", help="what the model is cast to, such as bf16")
    parser.add_argument(
        "--optimizer", metavar="NAME[,OPTION=VALUE...]", help="such as adam or sgd,momentum=0.9"
    )
    parser.add_argument(
        "--precision", choices=("fp32", "bf16", "fp16"), help="bf16 and fp16 are autocast"
    )
    parser.add_argument(
        "--loss", choices=("sum", "cross_entropy"), default="sum", help="by default sum"
    )
    parser.add_argument(
        "--inference", action="store_true", help="one inference, not a training step"
    )
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
