"""Estimates of a script: one, or several with words of its command filled in.

Where several are asked for, what stands in braces among the script's own words is what changes:
``train.py --batch-size {batch}``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from timeline.errors import FollowingError, UsageError
from timeline.theory import cards
from timeline.theory.estimate_types import Estimate


def of_script(
    script: Sequence[str],
    options: argparse.Namespace,
    *,
    gpu: str | None = None,
    capacity: int | None = None,
) -> Estimate:
    """The estimate of a script, followed in a process of its own.

    Args:
        script: its name and its words, or ``-m``, a module and its words.
        options: of the command.
        gpu: the card, where it is not the one of the options.
        capacity: bytes that the allocator can have; None for no end.
    """
    from timeline.recorder.command import interpreter_options, own_name
    from timeline.theory.allocator.settings import Settings
    from timeline.theory.cuda.cards import card as as_the_rules_see_it
    from timeline.theory.predicting import predict
    from timeline.theory.script.launch import follow

    _is_there(script)
    # Before the script is followed: torch would end its process over what it cannot read.
    settings = Settings.of(os.environ)
    settings = Settings.parse(options.allocator) if options.allocator else settings
    gpu = gpu or options.gpu
    title = title_of(script)
    followed = follow(
        [own_name(), *interpreter_options(), *script],
        title,
        cards.find(gpu),
        gpu,
        steps=options.steps,
        limit_s=options.limit,
        show=options.show_output,
        ask_cudnn=options.ask_cudnn,
    )
    if not options.allocator:
        # A script may set it itself before CUDA starts.
        settings = Settings.of(followed.allocator)
    made = predict(
        followed.tape,
        title=title,
        card=as_the_rules_see_it(gpu),
        steps=followed.on_tape,
        settings=settings,
        capacity=capacity,
    )
    assumptions = (*followed.notes, *made.assumptions)
    return replace(made, assumptions=assumptions, cut_off=followed.cut_off, steps=followed.steps)


def _is_there(script: Sequence[str]) -> None:
    if script[0] != "-m" and not os.path.isfile(script[0]):
        raise UsageError(f"there is no script {script[0]}: give a file, or a model such as "
                         "torchvision:resnet50")  # fmt: skip


def title_of(script: Sequence[str]) -> str:
    """What to call it."""
    return f"-m {script[1]}" if script[0] == "-m" else os.path.basename(script[0])


class Varied:
    """A script whose words change from estimate to estimate.

    Args:
        script: with what changes in braces.
        options: of the command.
    """

    def __init__(self, script: Sequence[str], options: argparse.Namespace) -> None:
        _is_there(script)
        self._script = script
        self._options = options
        self._courses: dict[int, int] = {}

    def check(self, option: str, names: Iterable[str]) -> None:
        """Refuse names that the script's words have no place for.

        Raises:
            UsageError: there is one; a card needs no place.
        """
        for name in names:
            if name != "gpu" and not any(_place(name) in word for word in self._words()):
                raise UsageError(
                    f"{option} changes the {name} of {title_of(self._script)}: write "
                    f"{_place(name)} where its words have it, such as {title_of(self._script)} "
                    f"--{name} {_place(name)}"
                )

    def _words(self) -> Sequence[str]:
        return self._script[2 if self._script[0] == "-m" else 1 :]

    def one(self, *, capacity: int | None = None, **changed: str | int) -> Estimate:
        """The estimate with some words filled in; ``gpu`` is the card.

        Raises:
            FollowingError: it cannot be followed with these.
        """
        values = {name: str(value) for name, value in changed.items()}
        gpu = values.pop("gpu", None)
        name = self._script[: -len(self._words()) or None]
        script = [*name, *(_filled(word, values) for word in self._words())]
        try:
            return of_script(script, self._options, gpu=gpu, capacity=capacity)
        except FollowingError as error:
            if not values:
                raise
            with_ = ", ".join(f"{_place(name)} as {value}" for name, value in values.items())
            raise FollowingError(f"with {with_}: {error}") from error

    def of_batch(self, *, batch: int, gpu: str, capacity: int) -> Estimate:
        """The estimate with a batch, on the way to the largest that fits.

        Raises:
            UsageError: the batch changes nothing.
        """
        made = self.one(batch=batch, gpu=gpu, capacity=capacity)
        if not made.out_of_memory:
            # The peak alone may be that of the optimizer's step, whatever the batch.
            course = hash(tuple(made.course.allocated))
            same = next((each for each, known in self._courses.items() if known == course), batch)
            if same != batch:
                raise UsageError(
                    f"{title_of(self._script)} needs the same with {_place('batch')} as {same} and "
                    f"as {batch}: its data has no larger batch, or {_place('batch')} stands where "
                    "it changes nothing"
                )
            self._courses[batch] = course
        return made


def _place(name: str) -> str:
    return "{" + name + "}"


def _filled(word: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(_place(name), value)
    return word
