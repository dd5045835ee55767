"""The page put together: words, styles, scripts and packed readings in one text."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import fields
from importlib.resources import files

from bokeh.resources import Resources

from timeline._version import __version__
from timeline.analysis.types import Analysis
from timeline.views.page import devices, header, phases, processes, remarks
from timeline.views.page.chart import CURVE_HEIGHT, build
from timeline.views.page.contents import contents
from timeline.views.page.words import script_json
from timeline.views.palette import PALETTES, Palette

_SCRIPTS = ("words", "unpack", "extremes", "curve", "lanes", "chart", "hover", "table", "page")
"""Of ``assets/``, in the order that they need each other."""


def page(analysis: Analysis) -> str:
    """The page of an analysis."""
    chart = build(analysis, "chart")
    document, packs = contents(analysis, chart)
    bokeh = _bokeh()
    own = "\n".join(
        ('"use strict";', "(() => {", *(_asset(f"{name}.js") for name in _SCRIPTS), "})();")
    )
    scripts = [
        f"<script>{bokeh}</script>",
        _block("document", "application/json", script_json(chart.item)),
        _block("facts", "application/json", script_json(document)),
        f"<script>{own}</script>",
        *(_block(f"pack-{number}", "text/plain", text) for number, text in enumerate(packs)),
    ]
    return _filled(
        _asset("page.html"),
        {
            "policy": _policy(bokeh, own),
            "version": __version__,
            "title": header.title(analysis),
            "ending": header.ending(analysis),
            "death": header.death(analysis),
            "command": header.command(analysis),
            "tiles": header.tiles(analysis),
            "channels": remarks.channels(analysis),
            "key": remarks.key(analysis),
            "height": str(CURVE_HEIGHT),
            "phases": phases.table(analysis),
            "gpus": devices.card(analysis),
            "processes": processes.table(analysis),
            "remarks": remarks.remarks(analysis),
            "help": remarks.help_text(),
            "run": remarks.run(analysis),
            "style": _style(),
            "scripts": "\n".join(scripts),
        },
    )


def _policy(*scripts: str) -> str:
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


def _bokeh() -> str:
    resources = Resources(
        mode="inline", components=["bokeh"], minified=True, dev=False, log_level="warn"
    )
    script = "\n".join(resources.js_raw)
    # A line end other than \n is changed by the browser before it hashes the text; and none of
    # these, wherever it may stand in the script, may open or end an element.
    script = script.replace("\r\n", "\n").replace("\r", "\n").replace("</script", "<\\/script")
    return script.replace("<!--", "<\\!--")


def _block(name: str, kind: str, text: str) -> str:
    return f'<script type="{kind}" id="{name}">{text}</script>'


def _style() -> str:
    light, dark = (_variables(PALETTES[name]) for name in ("light", "dark"))
    # Of colours that say well and not so well; green and amber, apart from the phases' colours.
    light += "--good:#1a7f37;--fair:#9a6700;"
    dark += "--good:#4ac26b;--fair:#d4a72c;"
    return (
        f":root{{color-scheme:light;{light}}}"
        f"@media(prefers-color-scheme:dark){{:root{{color-scheme:dark;{dark}}}}}"
        f":root[data-theme=light]{{color-scheme:light;{light}}}"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}\n" + _asset("page.css")
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


def _filled(template: str, values: dict[str, str]) -> str:
    # In one pass: what is filled in may hold braces of its own.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], template)


def _asset(name: str) -> str:
    return (files("timeline.views") / "assets" / name).read_text(encoding="utf-8")
