"""Predict the GPU memory of a training run, with no GPU and without running it.

TARGET is a model as `timeline breakdown` takes it (torchvision:NAME, keras:NAME, module:factory,
transformers:NAME-OR-CONFIG.json), or a script with its arguments, which is followed unmodified
until the peak of a step repeats. Options stand before a script. A factory may return a whole job:
(model, optimizer, inputs), or a dict with model, optimizer, inputs, loss or step; a parameter of
its that is called batch gets --batch.

  timeline estimate torchvision:resnet50 --input 3x224x224 --batch 32 --optimizer adamw
  timeline estimate --gpu rtx4090 train.py --epochs 2
  timeline estimate -m package.train --batch-size 64
  timeline estimate --fit rtx4090 train.py --batch-size {batch}
  timeline estimate --gpu                 the cards that are known
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from timeline.cli import model_options
from timeline.cli.estimate_choices import compare, fit, one
from timeline.cli.estimate_files import checked, over
from timeline.cli.estimate_scripts import Varied, of_script
from timeline.cli.output import show
from timeline.cli.views import OfEstimate, deliver
from timeline.errors import UsageError
from timeline.theory import cards
from timeline.theory.estimate_types import Estimate
from timeline.theory.lightly import without_compiler
from timeline.theory.types import Breakdown
from timeline.views import estimate_text
from timeline.views.terminal import look_of

DEFAULT_CARD = "a100-40gb"

LIST = "list"


def run(arguments: list[str]) -> int:
    """Run the verb; returns the exit code."""
    words, script = split(arguments)
    parser = _parser()
    options = parser.parse_args(words)
    if options.gpu == LIST:
        show(estimate_text.list_of_cards(look_of(sys.stdout)))
        return 0
    if not script and not options.target:
        raise UsageError("there is nothing to estimate: see timeline estimate --help")
    given = {name for name, value in vars(options).items() if value != parser.get_default(name)}
    _check(options, given, bool(script))
    without_compiler()
    card = cards.find(options.gpu)
    outputs = [checked(Path(each)) for each in options.output]
    drawn = {each.suffix.lower() for each in outputs}
    if options.theme and ".png" not in drawn:
        raise UsageError("--theme is for a chart: give -o FILE.png with it")
    if options.over and not drawn & {".png", ".html"}:
        raise UsageError("--over is for a picture or a page: give -o FILE.png or FILE.html with it")
    if options.compare or options.fit is not None:
        varied = Varied(script, options) if script else None
        return compare(options, card, varied) if options.compare else fit(options, varied)
    found = Found(of_script(script, options)) if script else of_model(options)
    views = OfEstimate(
        found.estimate,
        card,
        breakdown=found.breakdown,
        measured=over(options.over, found.estimate) if options.over else None,
        layers=options.layers,
    )
    deliver(views, outputs, theme=options.theme or "light", json=options.json)
    return 0


@dataclass(frozen=True, slots=True)
class Found:
    """What was estimated, and what else is known of it."""

    estimate: Estimate
    breakdown: Breakdown | None = None


def of_model(options: argparse.Namespace) -> Found:
    """The estimate of a model in an ordinary loop."""
    made = one(options)
    told = None
    if options.json or any(each.lower().endswith(".json") for each in options.output):
        from timeline.theory.breakdown import breakdown
        from timeline.theory.targets import resolve

        target = resolve(options.target, options.input)
        told = breakdown(
            target.make,
            options.optimizer,
            target.inputs,
            batch=options.batch,
            dtype=options.dtype,
            precision=options.precision,
            train=not options.inference,
            loss=options.loss,
            title=target.title,
        )
    return Found(made, told)


def _check(options: argparse.Namespace, given: Set[str], is_script: bool) -> None:
    """Refuse what cannot be, and what would be passed over in silence."""
    model_options.at_least(options, layers=0, batch=1, steps=1, accumulate=1)
    if not 1 <= options.limit <= 86400:
        raise UsageError(f"--limit {options.limit:g} cannot be: give seconds, from 1 to 86400")
    strange = [name for name in (OF_A_MODEL if is_script else OF_A_SCRIPT) if name in given]
    if strange and is_script:
        raise UsageError(
            f"{_word(strange[0])} is for a model: a script brings its own, and its arguments stand "
            "after it"
        )
    if strange:
        raise UsageError(f"{_word(strange[0])} is for a script: {options.target} is a model")
    several = next((name for name in ("compare", "fit") if name in given), None)
    if several:
        idle = {"compare", "fit", "output", "over", "theme", "layers"} - {several}
        idle |= {"gpu"} if several == "fit" else set()
        for name in (each for each in vars(options) if each in idle & given):
            raise UsageError(f"--{several} makes several estimates: leave {_word(name)} out")


def _word(name: str) -> str:
    """An option as it is written."""
    return "--" + name.replace("_", "-")


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Our own words, and those of a script where the target is one.

    A target is a script where it is ``-m`` and a module, ends in ``.py``, or is a file.
    """
    at = 0
    while at < len(arguments):
        word = arguments[at]
        if word == "-m":
            if at + 1 == len(arguments):
                raise UsageError("-m names no module: see timeline estimate --help")
            return arguments[:at], arguments[at:]
        if word == "--":
            return arguments[:at], arguments[at + 1 :]
        if word.startswith("-") and word != "-":
            takes = word in WITH_VALUE
            if word == "--gpu":
                takes = at + 1 < len(arguments) and not arguments[at + 1].startswith("-")
            at += 2 if takes else 1
            continue
        if word.endswith(".py") or os.path.isfile(word):
            return arguments[:at], arguments[at:]
        break
    return arguments, []


OF_A_MODEL = (*model_options.NAMES, "zero_grad", "accumulate", "torch")
OF_A_SCRIPT = ("limit", "show_output")
"""Options that have no meaning for the other kind of target."""

WITH_VALUE = (
    "--input", "--batch", "--dtype", "--optimizer", "--precision", "--loss", "--layers", "--device",
    "--steps", "--limit", "--zero-grad", "--accumulate", "--allocator", "--torch", "-o", "--output",
    "--fit", "--compare", "--over", "--theme",
)  # fmt: skip
"""Options that take the next word. All that stands behind a script is the script's."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="timeline estimate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("target", metavar="TARGET", nargs="?", help="a model, or a script")
    parser.add_argument(
        "--gpu",
        "--device",
        dest="gpu",
        metavar="CARD",
        nargs="?",
        const=LIST,
        default=DEFAULT_CARD,
        help="such as rtx4090, or a size such as 24GiB; alone it lists those that are known; "
        f"{DEFAULT_CARD} if left out",
    )
    parser.add_argument("--json", action="store_true", help="print a document for programs")
    parser.add_argument("--steps", metavar="N", type=int, help="how many steps to follow")
    parser.add_argument(
        "--layers",
        metavar="N",
        type=int,
        default=estimate_text.LAYERS_SHOWN,
        help="how many rows of what is alive at the peak; 0 is all",
    )
    parser.add_argument(
        "--allocator", metavar="TEXT", help="what PYTORCH_CUDA_ALLOC_CONF would say"
    )
    parser.add_argument(
        "--ask-cudnn",
        action="store_true",
        help="ask the cuDNN that is installed here for the workspaces of convolutions: for where "
        "the same one runs there",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        action="append",
        default=[],
        help="write FILE, by its suffix .html, .png, .json or .txt; may be given several times",
    )
    parser.add_argument("--theme", choices=("light", "dark"), help="colours of a .png")
    parser.add_argument(
        "--over",
        metavar="RUN",
        help="lay a recording of the same program over the .png or .html: a CUDA snapshot, or a "
        "run directory with torch's memory on a GPU",
    )
    parser.add_argument(
        "--fit",
        metavar="CARD",
        help="find the largest batch that fits a card, or a size such as 24GiB; a script has "
        "{batch} among its words",
    )
    parser.add_argument(
        "--compare",
        metavar="WHAT=A,B,...",
        action="append",
        default=[],
        help="set choices side by side: optimizer=sgd,adamw, precision=fp32,bf16, "
        "checkpointing=no,yes, attention=sdpa,eager, batch, gpu; of a script gpu, and what stands "
        "in braces among its words; may be given several times",
    )
    model = parser.add_argument_group("for a model")
    model_options.add(model)
    model.add_argument(
        "--zero-grad",
        choices=("before_forward", "before_backward", "after_step", "never"),
        default="before_forward",
        help="where zero_grad() stands in the loop; by default before_forward",
    )
    model.add_argument(
        "--accumulate", metavar="N", type=int, default=1, help="micro-steps for one step"
    )
    model.add_argument(
        "--torch", metavar="VERSION", help="of the torch on the GPU's machine, such as 2.6"
    )
    script = parser.add_argument_group("for a script")
    script.add_argument(
        "--limit",
        metavar="S",
        type=float,
        default=120.0,
        help="seconds after which what was followed so far has to do; by default 120",
    )
    script.add_argument(
        "--show-output", action="store_true", help="show what the script prints, on stderr"
    )
    return parser
