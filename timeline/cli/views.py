"""Every view of one thing that can be shown: a recording, those of all ranks, an estimate."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from timeline.analysis.rank_types import RanksAnalysis
from timeline.analysis.types import Analysis
from timeline.cli.output import show, write_whole
from timeline.recorder.say import say
from timeline.theory.cards import Card
from timeline.theory.estimate_types import Estimate
from timeline.theory.types import Breakdown
from timeline.views import estimate_json, estimate_text, json, ranks_json, ranks_text, text
from timeline.views.course import Measured
from timeline.views.palette import Theme
from timeline.views.terminal import Look, look_of

TEXT_FILE_WIDTH = 100


class Views(Protocol):
    """What can be shown of it."""

    def text(self, look: Look) -> str:
        """The tables for a terminal."""

    def json(self) -> str:
        """The document for programs."""

    def write(self, path: Path, *, theme: Theme) -> None:
        """Make a file, by the suffix of its name."""


def deliver(views: Views, outputs: Sequence[Path], *, theme: Theme, json: bool) -> None:
    """Write the files that were asked for, and show the document, or else the tables without any.

    Raises:
        TimelineError, OSError: a file cannot be written.
    """
    for path in outputs:
        write_whole(path, partial(views.write, theme=theme))
        say(f"wrote {path}")
    if json:
        show(views.json())
    elif not outputs:
        show(views.text(look_of(sys.stdout)))


class OfRun:
    """The views of one recording."""

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis

    def text(self, look: Look) -> str:
        """The tables for a terminal."""
        return text.render(self._analysis, width=look.width, color=look.color, ascii=look.ascii)

    def json(self) -> str:
        """The document for programs."""
        return json.render(self._analysis)

    def write(self, path: Path, *, theme: Theme) -> None:
        """Make a file, by the suffix of its name."""
        suffix = path.suffix.lower()
        # matplotlib and bokeh take long to import: only when asked for.
        if suffix == ".html":
            from timeline.views import html

            html.write(self._analysis, path)
        elif suffix == ".png":
            from timeline.views import png

            png.write(self._analysis, path, theme=theme)
        else:
            _write_words(self, path)


class OfRanks:
    """The views of all ranks of a run."""

    def __init__(self, analysis: RanksAnalysis) -> None:
        self._analysis = analysis

    def text(self, look: Look) -> str:
        """The tables for a terminal."""
        return ranks_text.render(
            self._analysis, width=look.width, color=look.color, ascii=look.ascii
        )

    def json(self) -> str:
        """The document for programs."""
        return ranks_json.render(self._analysis)

    def write(self, path: Path, *, theme: Theme) -> None:
        """Make a file, by the suffix of its name."""
        suffix = path.suffix.lower()
        if suffix == ".html":
            from timeline.views import ranks_html

            ranks_html.write(self._analysis, path)
        elif suffix == ".png":
            from timeline.views import png

            png.write(self._analysis, path, theme=theme)
        else:
            _write_words(self, path)


class OfEstimate:
    """The views of an estimate.

    Args:
        estimate: what is shown.
        card: that it is held against.
        breakdown: the theory of its model, for the document.
        measured: a recording of the same program, laid over the picture and the page.
        layers: how many rows of what is alive at the peak the tables have; 0 is all.
    """

    def __init__(
        self,
        estimate: Estimate,
        card: Card,
        *,
        breakdown: Breakdown | None = None,
        measured: Measured | None = None,
        layers: int = estimate_text.LAYERS_SHOWN,
    ) -> None:
        self._estimate, self._card = estimate, card
        self._breakdown, self._measured = breakdown, measured
        self._layers = layers

    def text(self, look: Look) -> str:
        """The tables for a terminal."""
        return estimate_text.render(
            self._estimate,
            self._card,
            width=look.width,
            color=look.color,
            ascii=look.ascii,
            layers=self._layers,
        )

    def json(self) -> str:
        """The document for programs."""
        return estimate_json.render(self._estimate, self._card, self._breakdown)

    def write(self, path: Path, *, theme: Theme) -> None:
        """Make a file, by the suffix of its name."""
        suffix = path.suffix.lower()
        if suffix == ".html":
            from timeline.views import estimate_html

            estimate_html.write(self._estimate, self._card, path, measured=self._measured)
        elif suffix == ".png":
            from timeline.views import estimate_png

            estimate_png.write(
                self._estimate, self._card, path, theme=theme, measured=self._measured
            )
        else:
            _write_words(self, path)


def _write_words(views: Views, path: Path) -> None:
    if path.suffix.lower() == ".json":
        path.write_text(views.json(), encoding="ascii")
    else:
        plain = Look(TEXT_FILE_WIDTH, color=False, ascii=False)
        path.write_text(views.text(plain), encoding="utf-8")
