"""What the page shows is what was recorded, to the byte and at every zoom."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import recording

from tests.browser import recordings
from timeline.units import format_bytes, format_duration

pytestmark = pytest.mark.browser


def test_every_channel_arrives_to_the_byte(open_page):
    page = open_page(recordings.training())
    for name, curve in page.analysis.curves.items():
        assert page.js("timeline.channels[arguments[0]].maximum", name) == curve.high.max()
        shown = page.shown(name)
        assert shown["every"]
        assert shown["t_ns"] == curve.t_ns.tolist()
        assert shown["value"] == curve.value.tolist()
        assert shown["high"] == curve.high.tolist()
    assert page.js("timeline.samples") == page.analysis.channels[0].samples
    assert page.js("timeline.maximum") == page.analysis.channels[0].peak


def test_a_large_run_shows_each_pixel_s_extremes_and_zoomed_in_each_reading(open_page):
    page = open_page(recording(200_000, 500))
    curve = page.host
    assert page.js("timeline.maximum") == curve.high.max()
    assert not page.shown()["every"]
    drawn = page.source("body 0")
    assert (min(drawn["low"]), max(drawn["high"])) == (curve.value.min(), curve.value.max())
    assert max(page.source("bands")["high"]) == curve.high.max()
    assert len(drawn["x"]) < 3_000

    for start in (0.0, 333.3, 1998.5):
        page.js("timeline.show(arguments[0], arguments[0] + 3)", start)
        start, end = page.view
        inside = (curve.t_ns >= start * 1e9) & (curve.t_ns <= end * 1e9)
        shown = page.shown()
        assert shown["every"]
        assert shown["t_ns"] == curve.t_ns[inside].tolist()
        assert shown["value"] == curve.value[inside].tolist()
        assert shown["high"] == curve.high[inside].tolist()
        # The line goes through each of them, and through the next one beyond either edge.
        rows = np.flatnonzero(inside)
        line = curve.value[max(rows[0] - 1, 0) : rows[-1] + 2]
        assert page.source("line 0")["y"] == line.tolist()


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_any_stretch_of_a_large_run_keeps_its_maximum(open_page, share):
    page = open_page(recording(60_000, 0, gap=True))
    curve = page.host
    start, end = page.view
    page.js("timeline.show(arguments[0], arguments[1])", end * share, end * share + end / 5)
    start, end = page.view
    inside = np.flatnonzero((curve.t_ns >= start * 1e9) & (curve.t_ns <= end * 1e9))
    # The line leaves the picture towards the next reading, so one more counts on either side.
    inside = slice(max(inside[0] - 1, 0), inside[-1] + 2)
    assert max(y for y in page.source("bands")["high"] if y is not None) == curve.high[inside].max()
    drawn = page.source("body 0")
    least = min(y for y in drawn["low"] if y is not None)
    largest = max(y for y in drawn["high"] if y is not None)
    # A column is never drawn thinner than a line, 1.5 pixels: 9 MiB here.
    assert least == pytest.approx(curve.value[inside].min(), abs=5 << 20)
    assert largest == pytest.approx(curve.value[inside].max(), abs=5 << 20)


def test_sizes_and_times_of_any_magnitude_arrive_exactly(open_page):
    base = recording(50, 0)
    series = base.series["host.rss"]
    rng = np.random.default_rng(7)
    value = rng.integers(0, 1 << 50, 50)
    value[:4] = 0, (1 << 53) - 2, 1, (1 << 32) + 1
    t = base.run.started_ns + np.cumsum(rng.integers(0, 1 << 47, 50))
    huge = replace(series, t_ns=t, begun_ns=t, value=value, high=value + 1)
    run = replace(base.run, ended_ns=int(t[-1]))
    page = open_page(replace(base, run=run, series={"host.rss": huge}))
    shown = page.shown()
    assert shown["t_ns"] == (t - base.run.started_ns).tolist()
    assert shown["value"] == value.tolist()
    assert shown["high"] == (value + 1).tolist()


def test_text_of_numbers_is_that_of_the_terminal(open_page):
    page = open_page(recording(5, 0))
    rng = np.random.default_rng(3)
    sizes = [0, 1, 1023, 1024, 1152, 1048064, -5, *(2**k for k in range(50))]
    sizes += [int(x) for x in 2 ** rng.uniform(0, 48, 500)]
    assert page.js("arguments[0].map((n) => timeline.formatBytes(n))", sizes) == [
        format_bytes(n) for n in sizes
    ]
    assert page.js("arguments[0].map((n) => timeline.formatBytes(n, true))", sizes) == [
        format_bytes(n, signed=True) for n in sizes
    ]
    spans = [0, 1e-9, 0.9995, 59.94, 59.96, 60.5, 61.5, 3599.6, 86399.7, 90061]
    spans += [float(x) for x in 10 ** rng.uniform(-9, 7, 500)]
    assert page.js("arguments[0].map((n) => timeline.formatDuration(n))", spans) == [
        format_duration(n) for n in spans
    ]


def test_three_thousand_phases_share_pixels_until_one_zooms_in(open_page):
    page = open_page(recording(30_000, 3_000))
    of = page.analysis.instances
    wide = page.js("timeline.boxes()")
    assert 100 < len(wide) < 2_000
    page.js("timeline.show(100, 101)")
    start, end = page.view
    inside = (of.end_ns >= start * 1e9) & (of.begin_ns <= end * 1e9)
    near = page.js("timeline.boxes()")
    assert [box[1] for box in near] == of.begin_ns[inside].tolist()
    assert [box[2] for box in near] == of.end_ns[inside].tolist()
    assert all(alone for *_, alone in near)
    assert "step/backward" in page.source("names")["text"]
