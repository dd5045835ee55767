"""All that the page's script knows: every reading, phase and mark, packed, and its small facts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from timeline.analysis.types import HOST, Analysis, Curve, DeviceMemory, Instances, TextMark
from timeline.views.device_layers import LAYERS, MOST_DEVICES, names_drawn, stacked
from timeline.views.family import band_channel
from timeline.views.limits import drawn_limits
from timeline.views.page import devices
from timeline.views.page.bounded import MOST_READINGS
from timeline.views.page.chart import LEFT, MOST_LANES, RIGHT, Chart, largest_shown
from timeline.views.page.colors import color_of_channel
from timeline.views.page.packing import Packer
from timeline.views.page.words import visible
from timeline.views.palette import PALETTES, ink_on, phase_colors


def contents(analysis: Analysis, chart: Chart) -> tuple[dict[str, Any], list[str]]:
    """What goes into the page beside its words.

    Returns:
        A document for JSON, and the texts of the packed columns that it refers to by number.
    """
    packer = Packer()
    paths = analysis.instances.paths
    numbers = {path: number for number, path in enumerate(paths)}
    colors = phase_colors(paths)
    document = {
        "host": HOST,
        "span_s": chart.span_s,
        "family": visible(band_channel(analysis)),
        "left": LEFT,
        "right": RIGHT,
        "channels": [
            _channel(analysis, index, curve, packer)
            for index, curve in enumerate(analysis.curves.values())
        ],
        "paths": [visible(path) for path in paths],
        "colors": [colors[path] for path in paths],
        "inks": [ink_on(colors[path]) for path in paths],
        "phases": _instances(analysis.instances, packer),
        "marks": _marks(analysis.marks, packer),
        "limits": [asdict(each) for each in drawn_limits(analysis, largest_shown(analysis))],
        "outside": analysis.outside.peak[HOST].t_ns
        if analysis.outside and HOST in analysis.outside.peak
        else None,
        "reasons": {
            numbers[each.path]: visible(each.reason) for each in analysis.phases if each.reason
        },
        "themes": {name: asdict(palette) for name, palette in PALETTES.items()},
        "paint": chart.paint,
        "layers": list(LAYERS),
        "layerColors": [devices.COLORS[name] for name in LAYERS],
        "devices": [
            _device(number, memory, packer)
            for number, memory in enumerate(analysis.devices[:MOST_DEVICES])
        ],
    }
    return document, packer.texts


def _channel(analysis: Analysis, index: int, curve: Curve, packer: Packer) -> dict[str, Any]:
    summary = analysis.channels[index]
    if len(curve.gaps_ns):
        before = np.searchsorted(curve.t_ns, curve.gaps_ns[:, 0], side="right") - 1
    else:
        before = np.empty(0, np.int64)
    return {
        "name": visible(curve.channel.name),
        "host": curve.channel.name == HOST,
        "color": color_of_channel(index, curve.channel.name),
        "samples": summary.samples,
        "peak": summary.peak,
        "peak_ns": summary.peak_ns,
        "exact": summary.exact,
        "t": packer.pack(curve.t_ns, differences=True),
        "value": packer.pack(curve.value, differences=True),
        "excess": packer.pack(curve.high - curve.value),
        "known": packer.pack(curve.known),
        "gaps": packer.pack(before, differences=True),
    }


def _device(number: int, memory: DeviceMemory, packer: Packer) -> dict[str, Any]:
    t, layers = stacked(memory, MOST_READINGS)
    drawn = names_drawn(memory)
    names = [None, None, *drawn] if len(drawn) == 1 else [*drawn, *[None] * (3 - len(drawn))]
    return {
        "name": devices.name_of(number),
        "label": visible(memory.name),
        "names": names,
        "t": packer.pack(t, differences=True),
        "layers": [packer.pack(layer, differences=True) for layer in layers],
    }


def _instances(instances: Instances, packer: Packer) -> dict[str, Any]:
    """The phases, lane after lane and in each by their beginnings."""
    order = np.lexsort((instances.begin_ns, instances.lane))
    texts = {text: i for i, text in enumerate(dict.fromkeys(instances.detail.values()))}
    detail = np.full(len(instances), -1, np.int64)
    for index, text in instances.detail.items():
        detail[index] = texts[text]
    return {
        "lanes": instances.lanes,
        "drawn": min(instances.lanes, MOST_LANES),
        "details": [visible(text) for text in texts],
        "lane": packer.pack(instances.lane[order], differences=True),
        "begin": packer.pack(instances.begin_ns[order], differences=True),
        "time": packer.pack((instances.end_ns - instances.begin_ns)[order]),
        "path": packer.pack(instances.path[order]),
        "peak": packer.pack(instances.peak[order]),
        "delta": packer.pack(instances.delta[order]),
        "exact": packer.pack(instances.exact[order]),
        "open": packer.pack(instances.open[order]),
        "detail": packer.pack(detail[order]),
    }


def _marks(marks: tuple[TextMark, ...], packer: Packer) -> dict[str, Any]:
    times = np.array([mark.t_ns for mark in marks], np.int64)
    texts = {text: i for i, text in enumerate(dict.fromkeys(mark.text for mark in marks))}
    return {
        "t": packer.pack(times, differences=True),
        "text": packer.pack(np.array([texts[mark.text] for mark in marks], np.int64)),
        "texts": [visible(text) for text in texts],
    }
