"""GPUs on the page: their layers under the curve, at the same times, and never in the way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import recording

from timeline.recording.types import Channel, Device, Series

pytestmark = pytest.mark.browser

GIB = 1 << 30


def with_gpu(base):
    """The recording with what torch and the driver might have told of one GPU beside it."""
    t = base.series["host.rss"].t_ns
    wave = (np.sin(np.arange(len(t)) / 40) * GIB).astype(np.int64)
    values = {
        "torch.cuda0.allocated": 3 * GIB + wave,
        "torch.cuda0.reserved": np.full(len(t), 5 * GIB),
        "gpu0.used": np.full(len(t), 6 * GIB),
    }
    nothing = np.zeros(len(t), np.int64)
    series = {
        name: Series(Channel(name, "byte", "torch", True), t, t, value, value, nothing)
        for name, value in values.items()
    }
    return replace(
        base,
        series={**base.series, **series},
        devices=(Device("gpu0", "<i>A GPU</i>", "GPU-a", 8 * GIB, 0),),
    )


def test_the_layers_of_a_gpu_lie_on_each_other_under_the_curve(open_page):
    page = open_page(with_gpu(recording(5_000, 40)))
    allocated, cached, outside = (
        page.source(f"device 0 {name} edges") for name in ("allocated", "cached", "outside torch")
    )
    truth = page.analysis.curves["torch.cuda0.allocated"].high.max()
    assert max(allocated["high"]) == truth
    assert allocated["high"] == cached["low"]
    assert cached["high"] == outside["low"]
    assert max(cached["high"]) == 5 * GIB
    assert max(outside["high"]) == 6 * GIB
    said = page.find(".gpus").text
    assert "cuda0 (gpu0, <i>A GPU</i>)" in said
    assert "1.00 GiB outside torch" in said
    height = page.find("#chart").size["height"]
    assert height > 340 + 150, "the host's curve keeps its height"


def test_its_channels_are_off_at_first_and_its_times_move_with_the_chart(open_page):
    page = open_page(with_gpu(recording(5_000, 40)))
    boxes = {
        box.find_element("xpath", "..").text.split()[0]: box for box in page.all("#channels input")
    }
    assert boxes["host.rss"].is_selected()
    assert not boxes["torch.cuda0.allocated"].is_selected()
    assert page.source("line 1")["y"] == []
    start, end = page.view
    page.js("timeline.show(arguments[0], arguments[1])", end / 4, end / 2)
    page.settle()
    ranges = page.js(
        "['curve figure', 'device 0 figure'].map("
        "(n) => Bokeh.documents.at(-1).get_model_by_name(n).x_range.start)"
    )
    assert ranges[0] == ranges[1] > start
    boxes["torch.cuda0.allocated"].click()
    page.settle()
    index = list(page.analysis.curves).index("torch.cuda0.allocated")
    assert page.source(f"line {index}")["y"]


def test_zoomed_in_the_layers_show_every_reading(open_page):
    page = open_page(with_gpu(recording(60_000, 40)))
    memory = page.analysis.devices[0]
    assert len(memory.t_ns) == 60_000
    whole = page.source("device 0 allocated edges")
    assert len(whole["x"]) < 6_000
    assert max(whole["high"]) == memory.allocated.max()
    start, end = page.view
    for at in (0.0, end / 3, end * 0.9):
        page.js("timeline.show(arguments[0], arguments[0] + 1.5)", at)
        page.settle()
        start, end_ = page.view
        rows = np.flatnonzero((memory.t_ns >= start * 1e9) & (memory.t_ns <= end_ * 1e9))
        rows = np.arange(max(rows[0] - 1, 0), min(rows[-1] + 2, len(memory.t_ns)))
        assert 100 < len(rows) < 200
        assert page.source("device 0 labels")["x"] == [max(start, 0)], "its name stays in view"
        edges = memory.allocated[rows], (memory.allocated + memory.cached)[rows]
        for layer, edge in zip(("allocated", "cached"), edges, strict=True):
            drawn = page.source(f"device 0 {layer} edges")
            # A step for each: from the reading before to its own.
            assert drawn["high"][::2] == drawn["high"][1::2] == edge.tolist()
            assert drawn["x"][1::2] == (memory.t_ns[rows] / 1e9).tolist()
            assert drawn["x"][2::2] == drawn["x"][1:-1:2]


def test_any_stretch_of_the_layers_keeps_its_largest(open_page):
    page = open_page(with_gpu(recording(60_000, 0)))
    memory = page.analysis.devices[0]
    _, end = page.view
    page.js("timeline.show(arguments[0], arguments[1])", end * 0.2, end * 0.7)
    page.settle()
    start, end = page.view
    rows = np.flatnonzero((memory.t_ns >= start * 1e9) & (memory.t_ns <= end * 1e9))
    drawn = page.source("device 0 allocated edges")
    assert len(drawn["x"]) < 6_000
    inside = memory.allocated[max(rows[0] - 1, 0) : rows[-1] + 2]
    assert max(drawn["high"]) == inside.max()


def test_pointing_at_a_gpu_tells_its_layers_and_at_a_lane_its_phase(open_page):
    page = open_page(with_gpu(recording(3_000, 12)))
    memory = page.analysis.devices[0]
    begin, end = page.phase("load", 0)
    middle = (begin + end) / 2
    said = page.hover(*page.spot(middle, 340 + 75))
    row = int(np.searchsorted(memory.t_ns, middle * 1e9))
    pixel = (page.view[1] - page.view[0]) / 1000 * 1e9
    near = memory.allocated[
        (memory.t_ns > memory.t_ns[row] - pixel) & (memory.t_ns < memory.t_ns[row] + pixel)
    ]
    told = next(line for line in said.splitlines() if "bytes" in line and "(3" in line)
    assert int(told.split("(")[1].split(" ")[0].replace(",", "")) in near.tolist()
    for layer in ("cuda0 allocated", "cuda0 cached", "cuda0 outside torch", "load"):
        assert layer in said
    assert "host.rss" not in said
    said = page.hover(*page.spot(middle, 340 + 150 + 12))
    assert said.splitlines()[0].startswith("load")
    assert "long, from" in said


def test_drag_to_zoom_works_on_a_gpu_too(open_page):
    page = open_page(with_gpu(recording(3_000, 12)))
    page.find("#box").click()
    _, end = page.view
    x, y = page.spot(end * 0.25, 340 + 75)
    to_x, _ = page.spot(end * 0.5, 340 + 75)
    page.drag(x, y, to_x)
    page.settle()
    start, stop = page.view
    assert start == pytest.approx(end * 0.25, rel=0.02)
    assert stop == pytest.approx(end * 0.5, rel=0.02)
