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
