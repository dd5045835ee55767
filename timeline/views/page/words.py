"""Text that came from a user, made fit to stand in the page."""

from __future__ import annotations

import html
import json
from typing import Any

from timeline.views.terminal import neutral

LONGEST = 2000
"""Characters of one text of a user; the middle of a longer one is left out."""

_UNSAFE = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def visible(text: str) -> str:
    """The text with control characters, lone surrogates and changes of direction written out."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"
    return neutral(text)


def escaped(text: str) -> str:
    """The text as it may stand in HTML, between tags or in a quoted attribute."""
    return html.escape(visible(text))


def script_json(value: Any) -> str:
    """The value as JSON in ASCII that may stand in a script element: nothing in it ends one."""
    return json.dumps(value, separators=(",", ":")).translate(_UNSAFE)
