"""The page of a run: one HTML file that opens from disk and needs no network.

What is on it and how it is made stands in `timeline.views.page`, which needs Bokeh: that takes half
a second to import, so it is imported only when a page is made.
"""

from __future__ import annotations

import os

from timeline.analysis.types import Analysis
from timeline.views import whole


def write(analysis: Analysis, path: str | os.PathLike[str]) -> None:
    """Write the page; the file is replaced as a whole, or after an error left as it was.

    Args:
        analysis: what to show.
        path: of the HTML file.

    Raises:
        OSError: the file cannot be written.
    """
    whole.replace(path, render(analysis).encode("utf-8"))


def render(analysis: Analysis) -> str:
    """The text of the page, which UTF-8 can encode whatever names the run has."""
    from timeline.views.page.assembly import page

    return page(analysis)
