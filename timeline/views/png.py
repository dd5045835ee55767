"""The picture of a run as a PNG, fit for a paper or a talk.

What is on it and where stands in `timeline.views.chart`, which needs matplotlib: 57 MB and half a
second, so it is imported only when a picture is made.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Iterator

from timeline.analysis.rank_types import RanksAnalysis
from timeline.analysis.types import Analysis
from timeline.errors import UsageError
from timeline.views import whole
from timeline.views.palette import PALETTES, Theme

NARROWEST_IN, WIDEST_IN = 3.0, 60.0
COARSEST_DPI, FINEST_DPI = 40, 1200
MOST_PIXELS = 1 << 14
"""In one direction; Agg refuses four times as many."""


def write(
    analysis: Analysis | RanksAnalysis,
    path: str | os.PathLike[str],
    *,
    theme: Theme = "light",
    width_in: float = 10.0,
    dpi: int = 200,
) -> None:
    """Write the picture; the file is replaced as a whole, or after an error left as it was.

    Args:
        analysis: what to show, of one recording or of all ranks of a run.
        path: of the PNG.
        theme: ``light`` or ``dark``.
        width_in: inches, 3 to 60; the height follows from what there is to show.
        dpi: pixels an inch, 40 to 1200.

    Raises:
        UsageError: there is no such theme, width or resolution.
        OSError: the file cannot be written.
    """
    picture = render(analysis, theme=theme, width_in=width_in, dpi=dpi)
    whole.replace(path, picture)


def render(
    analysis: Analysis | RanksAnalysis,
    *,
    theme: Theme = "light",
    width_in: float = 10.0,
    dpi: int = 200,
) -> bytes:
    """The bytes of the picture; arguments and errors as those of `write`."""
    if theme not in PALETTES:
        raise UsageError(f"{theme!r} is no theme: write light or dark")
    if not NARROWEST_IN <= width_in <= WIDEST_IN:
        raise UsageError(
            f"a width of {width_in} inches is not possible: it goes from {NARROWEST_IN:g} to "
            f"{WIDEST_IN:g}"
        )
    if not COARSEST_DPI <= dpi <= FINEST_DPI or width_in * dpi > MOST_PIXELS:
        raise UsageError(
            f"{dpi} dpi at {width_in:g} inches is not possible: it goes from {COARSEST_DPI} to "
            f"{FINEST_DPI}, and up to {MOST_PIXELS} pixels across"
        )
    with as_shipped():
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        from timeline.views.chart import page, ranks

        palette = PALETTES[theme]
        if isinstance(analysis, RanksAnalysis):
            figure = ranks.draw(analysis, palette, width_in, dpi)
        else:
            figure = page.draw(analysis, palette, width_in, dpi)
        out = io.BytesIO()
        canvas = FigureCanvasAgg(figure)
        canvas.print_png(out, metadata={"Software": "timeline"})  # type: ignore[no-untyped-call]
    return out.getvalue()


@contextlib.contextmanager
def as_shipped() -> Iterator[None]:
    """Without the user's style, and without its words on stderr about caches of fonts."""
    log = logging.getLogger("matplotlib")
    level = log.level
    if level == logging.NOTSET:
        log.setLevel(logging.ERROR)
    try:
        import matplotlib

        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            yield
    finally:
        log.setLevel(level)
