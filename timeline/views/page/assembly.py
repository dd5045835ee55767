"""The page put together: words, styles, scripts and packed readings in one text."""

from __future__ import annotations

from bokeh.resources import Resources

from timeline._version import __version__
from timeline.analysis.types import Analysis
from timeline.views.page import anatomy, devices, header, lines, phases, processes, remarks
from timeline.views.page.bounded import bounded
from timeline.views.page.chart import CURVE_HEIGHT, build
from timeline.views.page.contents import contents
from timeline.views.page.frame import asset, block, filled, policy, style
from timeline.views.page.words import script_json

_SCRIPTS = (
    "words",
    "unpack",
    "extremes",
    "timed",
    "curve",
    "devices",
    "lanes",
    "chart",
    "hover",
    "table",
    "parts",
    "page",
)
"""Of ``assets/``, in the order that they need each other."""


def page(analysis: Analysis) -> str:
    """The page of an analysis."""
    analysis = bounded(analysis)
    chart = build(analysis, "chart")
    document, packs = contents(analysis, chart)
    bokeh = _bokeh()
    own = "\n".join(
        ('"use strict";', "(() => {", *(asset(f"{name}.js") for name in _SCRIPTS), "})();")
    )
    scripts = [
        f"<script>{bokeh}</script>",
        block("document", "application/json", script_json(chart.item)),
        block("facts", "application/json", script_json(document)),
        f"<script>{own}</script>",
        *(block(f"pack-{number}", "text/plain", text) for number, text in enumerate(packs)),
    ]
    return filled(
        asset("page.html"),
        {
            "policy": policy(bokeh, own),
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
            "beside": anatomy.beside(analysis),
            "anatomy": anatomy.sections(analysis),
            "gpus": devices.card(analysis),
            "processes": processes.table(analysis) + lines.card(analysis),
            "remarks": remarks.remarks(analysis),
            "help": remarks.help_text(),
            "run": remarks.run(analysis),
            "style": style(),
            "scripts": "\n".join(scripts),
        },
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
