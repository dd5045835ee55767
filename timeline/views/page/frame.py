"""What every page is made of: its policy, its styles, elements that hold what came from outside."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields
from importlib.resources import files

from timeline.views.page.words import escaped
from timeline.views.palette import PALETTES, Palette


def policy(*scripts: str) -> str:
    """What the browser may do with this page: run these very scripts, and reach for nothing.

    With the hashes alone allowed, a script that came in by a name would not run even if it got past
    the escaping. Bokeh writes styles as it goes, and draws some icons from data URLs.
    """
    hashes = " ".join(
        "'sha256-"
        + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
        + "'"
        for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def block(name: str, kind: str, text: str) -> str:
    """An element that holds text for the scripts, made fit for it before."""
    return f'<script type="{kind}" id="{name}">{text}</script>'


def style() -> str:
    """The colours of both themes, and the style sheet."""
    light, dark = (_variables(PALETTES[name]) for name in ("light", "dark"))
    # Of colours that say well and not so well; green and amber, apart from the phases' colours.
    light += "--good:#1a7f37;--fair:#9a6700;"
    dark += "--good:#4ac26b;--fair:#d4a72c;"
    return (
        f":root{{color-scheme:light;{light}}}"
        f"@media(prefers-color-scheme:dark){{:root{{color-scheme:dark;{dark}}}}}"
        f":root[data-theme=light]{{color-scheme:light;{light}}}"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}\n" + asset("page.css")
    )


def _variables(palette: Palette) -> str:
    out = ""
    for field in fields(palette):
        value = getattr(palette, field.name)
        if isinstance(value, str):
            out += f"--{field.name}:{value};"
        else:
            out += "".join(f"--{field.name}-{i}:{color};" for i, color in enumerate(value))
    return out


def filled(template: str, values: dict[str, str]) -> str:
    """The template with each ``{{name}}`` replaced."""
    # In one pass: what is filled in may hold braces of its own.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], template)


def asset(name: str) -> str:
    """The text of a file of ``views/assets``."""
    return (files("timeline.views") / "assets" / name).read_text(encoding="utf-8")


def remarks_card(lists: Iterable[tuple[str, Sequence[str]]]) -> str:
    """A card with a heading and its sentences for each list that has some; else nothing."""
    blocks = [
        f"<div><h2>{heading}</h2><ul>"
        + "".join(f"<li>{escaped(sentence)}</li>" for sentence in sentences)
        + "</ul></div>"
        for heading, sentences in lists
        if sentences
    ]
    return f'<section class="card remarks">{"".join(blocks)}</section>' if blocks else ""
