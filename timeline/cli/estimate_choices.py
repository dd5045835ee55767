"""Several estimates of a target: the largest batch that fits, and choices side by side."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any

from timeline.cli.estimate_scripts import Varied
from timeline.cli.output import show
from timeline.errors import BreakdownError, UsageError
from timeline.theory import cards
from timeline.theory.cards import Card
from timeline.theory.estimate_types import Estimate
from timeline.theory.lightly import loading
from timeline.units import format_bytes
from timeline.views.breakdown_text import table
from timeline.views.estimate_json import verdict
from timeline.views.terminal import BOLD, look_of

if TYPE_CHECKING:
    from timeline.theory.targets import Target

CHOICES = {
    "optimizer": None,
    "precision": ("fp32", "bf16", "fp16"),
    "checkpointing": ("no", "yes"),
    "attention": ("sdpa", "eager"),
    "batch": None,
    "gpu": None,
}
"""What can be compared, and between what; None for anything that the option takes."""

MOST = 24
"""Estimates in one comparison."""


def one(options: argparse.Namespace, *, capacity: int | None = None, **changed: Any) -> Estimate:
    """One estimate of the target, with some options changed."""
    target = _target(options.target, tuple(options.input))
    from timeline.theory.estimate import estimate
    from timeline.theory.rebuilding import rebuilt

    given = {name: getattr(options, name) for name in ("optimizer", "batch", "gpu")}
    given["precision"] = options.precision or "fp32"
    given.update({name: value for name, value in changed.items() if name in given})
    make = rebuilt(
        target.make,
        checkpointing=changed.get("checkpointing") == "yes",
        attention=changed.get("attention"),
    )
    return estimate(
        make,
        given["optimizer"],
        target.inputs,
        batch=int(given["batch"]) if given["batch"] else None,
        dtype=options.dtype,
        precision=given["precision"],
        device=given["gpu"],
        train=not options.inference,
        loss=options.loss,
        zero_grad=options.zero_grad,
        accumulate=options.accumulate,
        allocator=options.allocator,
        torch_version=options.torch,
        ask_cudnn=options.ask_cudnn,
        capacity=capacity,
        title=target.title,
        **({"steps": options.steps} if options.steps else {}),
    )


@cache
def _target(text: str, inputs: tuple[str, ...]) -> Target:
    """What the command names; the first time imports torch, and the model's library."""
    from timeline.theory.breakdown import needs_torch
    from timeline.theory.mapped import forget_libraries
    from timeline.theory.targets import resolve

    with loading():
        needs_torch()
        forget_libraries()
        return resolve(text, inputs)


def fit(options: argparse.Namespace, varied: Varied | None = None) -> int:
    """Find the largest batch that fits, of a model or of a script; returns the exit code."""
    from timeline.theory.cuda.cards import card as as_the_rules_see_it
    from timeline.theory.cuda.cards import context
    from timeline.theory.fitting import largest_batch

    card = cards.find(options.fit)
    # Of what a program sees the context takes a part, and the allocator has the rest.
    taken = context(as_the_rules_see_it(options.fit)).expected
    room = card.visible - taken
    if room <= 0:
        raise UsageError(
            f"--fit {options.fit}: CUDA's context alone, about {format_bytes(taken)}, does not fit "
            f"into {format_bytes(card.visible)}: give a larger card"
        )
    if varied is not None:
        varied.check("--fit", ["batch"])

    def of(batch: int) -> Estimate:
        if varied is not None:
            return varied.of_batch(batch=batch, gpu=options.fit, capacity=room)
        return one(options, capacity=room, batch=batch, gpu=options.fit)

    found = largest_batch(of, lambda estimate: not estimate.out_of_memory, start=options.batch or 8)
    if options.json:
        show(json.dumps({"timeline": 1, "fit": _fit_document(found, card)}, indent=1) + "\n")
        return 0
    look = look_of(sys.stdout)
    title = found.estimate.title
    if not found.batch:
        smallest = found.next[0] if found.next and found.refused else 1
        said = f"not even a batch of {smallest:,} fits {card.title}"
    elif found.next is None:
        said = f"every batch up to {found.batch:,} fits {card.title}, and no larger one was tried"
    else:
        said = f"a batch of {found.batch:,} fits {card.title}"
    lines = look.lines(f"{title}: {said}", rest="  ")
    lines[0] = look.paint(lines[0], BOLD)
    rows = [["batch", "allocated", "reserved", "process", ""]]
    if found.batch:
        rows.append(_fit_row(found.batch, found.estimate, "fits"))
    if found.next is not None:
        rows.append(_fit_row(*found.next, "out of memory"))
    lines += ["", *table(rows, look, left=0, least=(1, 2)), ""]
    lines += look.lines(
        f"{format_bytes(room)} of {format_bytes(card.visible)} are taken to be left beside CUDA's "
        f"context, of which {format_bytes(found.estimate.context.low)} to "
        f"{format_bytes(found.estimate.context.high)} are known; {found.runs} estimates",
        rest="  ",
    )
    if found.next and found.refused:
        smaller = found.next[0] - 1
        lines += look.lines(f"A batch of {smaller:,} cannot run: {found.refused}", rest="  ")
    if found.estimate.cut_off:
        lines += look.lines(f"Cut off: {found.estimate.cut_off}", rest="  ")
    show("\n".join(lines) + "\n")
    return 0


def _fit_row(batch: int, estimate: Estimate, word: str) -> list[str]:
    at_least = "over " if estimate.out_of_memory else ""
    return [
        f"{batch:,}",
        at_least + format_bytes(estimate.peak_allocated),
        at_least + format_bytes(estimate.peak_reserved),
        at_least + format_bytes(estimate.process_total.expected),
        word,
    ]


def _fit_document(found: Any, card: Card) -> dict[str, object]:
    after = found.next
    return {
        "card": {"key": card.key, "name": card.name, "visible": card.visible},
        "batch": found.batch,
        "peak_allocated": found.estimate.peak_allocated,
        "peak_reserved": found.estimate.peak_reserved,
        "process_total": asdict(found.estimate.process_total),
        "next": None if after is None else {"batch": after[0], "reason": after[1].out_of_memory},
        "refused": found.refused,
        "estimates": found.runs,
        "cut_off": found.estimate.cut_off,
    }


def compare(options: argparse.Namespace, card: Card, varied: Varied | None = None) -> int:
    """Set choices side by side, of a model or of a script; returns the exit code."""
    free = varied is not None
    names, sets = zip(*(_choice(each, free=free) for each in options.compare), strict=True)
    if varied is not None:
        varied.check("--compare", names)
    if len(set(names)) < len(names):
        raise UsageError("--compare names the same choice twice: give all its values in one")
    rows = list(itertools.product(*sets))
    if len(rows) > MOST:
        raise UsageError(f"--compare makes {len(rows)} estimates: {MOST} at most")
    changes = [dict(zip(names, row, strict=True)) for row in rows]
    # Found before the first estimate, which may take long: one of them may not exist.
    holding = [cards.find(each["gpu"]) if "gpu" in each else card for each in changes]
    made = [
        (row, _named(options, each) if varied is None else varied.one(**each), on)
        for row, each, on in zip(rows, changes, holding, strict=True)
    ]
    if options.json:
        document = [
            {**dict(zip(names, row, strict=True)), "peak_allocated": each.peak_allocated,
             "peak_reserved": each.peak_reserved, "process_total": asdict(each.process_total),
             "peak_phase": each.peak_phase, "fits": verdict(each, held),
             "cut_off": each.cut_off}
            for row, each, held in made
        ]  # fmt: skip
        show(json.dumps({"timeline": 1, "comparison": document}, indent=1) + "\n")
        return 0
    look = look_of(sys.stdout)
    first = made[0][1]
    lines = [[*names, "allocated", "", "reserved", "", "process", f"fits {card.key}"
              if "gpu" not in names else "fits", "peak in"]]  # fmt: skip
    for row, each, held in made:
        cells = list(row)
        for size, against in (
            (each.peak_allocated, first.peak_allocated),
            (each.peak_reserved, first.peak_reserved),
        ):
            cells += [format_bytes(size), _change(size, against)]
        total = format_bytes(each.process_total.expected)
        lines.append([*cells, total, verdict(each, held), each.peak_phase])
    count = len(names)
    on = "" if "gpu" in names else f" for {card.title}"
    heading = look.paint(f"{first.title}, predicted{on}", BOLD)
    least = (count + 6, count + 1, count + 4, count + 3, count + 2)
    body = table(lines, look, left=count, least=least)
    for row, each, _ in made:
        if each.cut_off:
            body += look.lines(f"{', '.join(row)} was cut off: {each.cut_off}", rest="  ")
    show("\n".join([heading, "", *body]) + "\n")
    return 0


def _named(options: argparse.Namespace, changed: dict[str, Any]) -> Estimate:
    """One estimate of a model; where it cannot be made, an error that names the choices."""
    try:
        return one(options, **changed)
    except BreakdownError as error:
        choices = ", ".join(f"{name}={value}" for name, value in changed.items())
        raise BreakdownError(f"with {choices}: {error}") from error


def _change(size: int, first: int) -> str:
    return "" if size == first or not first else f"{100 * (size - first) / first:+.1f} %"


def _choice(text: str, *, free: bool = False) -> tuple[str, tuple[str, ...]]:
    """What is compared, and between what; ``free`` where any name and value will do.

    Raises:
        UsageError: it cannot be compared.
    """
    name, equals, rest = text.partition("=")
    if name not in CHOICES and not (free and name.replace("-", "_").isidentifier()):
        raise UsageError(f"--compare {text!r}: compare one of {', '.join(CHOICES)}")
    known = None if free else CHOICES[name]
    values = tuple(_split(rest)) if equals else known
    if not values or len(values) < 2:
        raise UsageError(f"--compare {text!r}: give at least two, such as {name}=A,B")
    for each in values:
        if known is not None and each not in known:
            raise UsageError(f"--compare {name} knows {', '.join(known)}, and not {each!r}")
        if name == "batch" and (not each.isdecimal() or int(each) < 1):
            raise UsageError(f"--compare batch takes numbers from 1, and not {each!r}")
    return name, values


def _split(text: str) -> Iterator[str]:
    """At commas, but an option of an optimizer stays with its name: ``adam,foreach=false``."""
    held = ""
    for part in filter(None, (each.strip() for each in text.split(","))):
        if "=" in part and held:
            held += f",{part}"
            continue
        if held:
            yield held
        held = part
    if held:
        yield held
