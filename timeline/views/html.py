"""The page of a run: one HTML file that opens from disk and needs no network.

What is on it and how it is made stands in `timeline.views.page`, which needs Bokeh: that takes half
a second to import, so it is imported only when a page is made.
"""

from __future__ import annotations

import os
from pathlib import Path

from timeline.analysis.types import Analysis


def write(analysis: Analysis, path: str | os.PathLike[str]) -> None:
    """Write the page; the file is replaced as a whole, or after an error left as it was.

    Args:
        analysis: what to show.
        path: of the HTML file.

    Raises:
        OSError: the file cannot be written.
    """
    text = render(analysis)
    path = Path(path)
    temporary = path.with_name(f".{path.name[:200]}.{os.getpid()}")
    try:
        temporary.write_bytes(text.encode("utf-8"))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def render(analysis: Analysis) -> str:
    """The text of the page, which UTF-8 can encode whatever names the run has."""
    from timeline.views.page.assembly import page

    return page(analysis)
