"""Predict the GPU memory of a training run, with no GPU and without running it.

TARGET is a model as `timeline breakdown` takes it (torchvision:NAME, keras:NAME, module:factory,
transformers:NAME-OR-CONFIG.json), or a script with its arguments, which is followed unmodified
until the peak of a step repeats. Options stand before a script. A factory may return a whole job:
(model, optimizer, inputs), or a dict with model, optimizer, inputs, loss or step; a parameter of
its that is called batch gets --batch.

  timeline estimate torchvision:resnet50 --input 3x224x224 --batch 32 --optimizer adamw
  timeline estimate --gpu rtx4090 train.py --epochs 2
  timeline estimate -m package.train --batch-size 64
  timeline estimate --gpu                 the cards that are known
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from timeline.cli.estimate_choices import compare, fit
from timeline.cli.estimate_files import checked, over
from timeline.cli.output import show
from timeline.cli.views import OfEstimate, deliver
from timeline.errors import UsageError
from timeline.theory import cards
from timeline.theory.cards import Card
from timeline.theory.estimate_types import Estimate
from timeline.theory.types import Breakdown
from timeline.views import estimate_text
from timeline.views.terminal import look_of

DEFAULT_CARD = "a100-40gb"

LIST = "list"


def run(arguments: list[str]) -> int:
    """Run the verb; returns the exit code."""
    words, script = split(arguments)
    options = _parser().parse_args(words)
    if options.gpu == LIST:
        show(estimate_text.list_of_cards(look_of(sys.stdout)))
        return 0
    if not script and not options.target:
        raise UsageError("there is nothing to estimate: see timeline estimate --help")
    _check(options, bool(script))
    card = cards.find(options.gpu or DEFAULT_CARD)
    outputs = [checked(Path(each)) for each in options.output]
    if options.theme and not any(each.suffix.lower() == ".png" for each in outputs):
        raise UsageError("--theme is for a chart: give -o FILE.png with it")
    if options.compare:
        return compare(options, card)
    if options.fit:
        return fit(options)
    found = of_script(script, options, card) if script else of_model(options, card)
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


def of_model(options: argparse.Namespace, card: Card) -> Found:
    """The estimate of a model in an ordinary loop."""
    from timeline.theory.estimate import estimate
    from timeline.theory.targets import resolve

    target = resolve(options.target, options.input)
    made = estimate(
        target.make,
        options.optimizer,
        target.inputs,
        batch=options.batch,
        dtype=options.dtype,
        precision=options.precision or "fp32",
        device=options.gpu or DEFAULT_CARD,
        train=not options.inference,
        loss=options.loss,
        zero_grad=options.zero_grad,
        accumulate=options.accumulate,
        allocator=options.allocator,
        torch_version=options.torch,
        title=target.title,
        **({"steps": options.steps} if options.steps else {}),
    )
    told = None
    if options.json or any(each.endswith(".json") for each in options.output):
        from timeline.theory.breakdown import breakdown

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


def of_script(script: Sequence[str], options: argparse.Namespace, card: Card) -> Found:
    """The estimate of a script, followed in a process of its own."""
    from timeline.recorder.command import interpreter_options, own_name
    from timeline.theory.allocator_settings import Settings
    from timeline.theory.cuda.cards import card as as_the_rules_see_it
    from timeline.theory.predicting import predict
    from timeline.theory.script.launch import follow

    if script[0] != "-m" and not os.path.isfile(script[0]):
        raise UsageError(f"there is no script {script[0]}: give a file, or a model such as "
                         "torchvision:resnet50")  # fmt: skip
    title = f"-m {script[1]}" if script[0] == "-m" else os.path.basename(script[0])
    followed = follow(
        [own_name(), *interpreter_options(), *script],
        title,
        card,
        options.gpu or DEFAULT_CARD,
        steps=options.steps,
        limit_s=options.limit,
        show=options.show_output,
    )
    # What the script's own environment would tell the allocator; torch looks at both names.
    settings = options.allocator or os.environ.get("PYTORCH_ALLOC_CONF") or os.environ.get(
        "PYTORCH_CUDA_ALLOC_CONF"
    )  # fmt: skip
    made = predict(
        followed.tape,
        title=title,
        card=as_the_rules_see_it(options.gpu or DEFAULT_CARD),
        steps=followed.tape.steps,
        settings=Settings.parse(settings) if settings else None,
    )
    assumptions = (*followed.notes, *made.assumptions)
    return Found(replace(made, assumptions=assumptions, cut_off=followed.cut_off))


def _check(options: argparse.Namespace, is_script: bool) -> None:
    for name, least in (("layers", 0), ("batch", 1), ("steps", 1), ("accumulate", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise UsageError(f"--{name} {value} cannot be: give {least} or more")
    if not 1 <= options.limit <= 86400:
        raise UsageError(f"--limit {options.limit:g} cannot be: give seconds, from 1 to 86400")
    if is_script:
        names = ("input", "batch", "dtype", "optimizer", "precision", "inference", "fit", "compare")
        given = [f"--{name}" for name in names if getattr(options, name)]
        if given:
            raise UsageError(
                f"{given[0]} is for a model: a script brings its own, and its arguments stand "
                "after it"
            )


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
    model = parser.add_argument_group("for a model")
    model.add_argument(
        "--fit",
        metavar="CARD",
        help="find the largest batch that fits a card, or a size such as 24GiB",
    )
    model.add_argument(
        "--compare",
        metavar="WHAT=A,B,...",
        action="append",
        default=[],
        help="set choices side by side: optimizer=sgd,adamw, precision=fp32,bf16, "
        "checkpointing=no,yes, attention=sdpa,eager; may be given several times",
    )
    model.add_argument(
        "--input",
        metavar="SIZES",
        action="append",
        default=[],
        help="sizes of an input without the batch, such as 3x224x224, 128:int64 or "
        "input_ids=128:int64; may be given several times",
    )
    model.add_argument("--batch", metavar="N", type=int, help="size of the batch; 1 if left out")
    model.add_argument("--dtype", help="what the model is cast to, such as bf16")
    model.add_argument(
        "--optimizer", metavar="NAME[,OPTION=VALUE...]", help="such as adam or sgd,momentum=0.9"
    )
    model.add_argument(
        "--precision", choices=("fp32", "bf16", "fp16"), help="bf16 and fp16 are autocast"
    )
    model.add_argument(
        "--loss", choices=("sum", "cross_entropy"), default="sum", help="by default sum"
    )
    model.add_argument("--inference", action="store_true", help="inference, not training")
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
