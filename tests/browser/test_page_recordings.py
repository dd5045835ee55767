"""Recordings of every kind open, and names do no harm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import recording, with_children

from tests.browser import recordings
from timeline.recording.types import Marks

pytestmark = pytest.mark.browser


def test_hostile_names_are_shown_and_do_nothing(open_page):
    page = open_page(recordings.hostile())
    assert page.js("window.broken === undefined")
    assert page.all("#phases img, #phases script, header img") == []
    shown = [button.text for button in page.all("#phases tbody tr button")]
    for text in recordings.HOSTILE[:6]:
        assert text in shown
    for row in page.all("#phases tbody tr"):
        row.click()
        page.settle()
    begin, end = page.phase(recordings.HOSTILE[0], 0)
    page.find("#whole").click()
    text = page.hover(*page.spot((begin + end) / 2, 100))
    assert recordings.HOSTILE[0] in text
    page.hover(*page.spot((begin + end) / 2, 355))
    assert page.js("window.broken === undefined")
    assert not page.js("typeof MathJax !== 'undefined'")


def only_marks():
    base = recordings.with_marks(recording(20, 0), [], [(0.2, "one"), (0.9, "two")])
    none = np.empty(0, np.int64)
    series = base.series["host.rss"]
    empty = replace(series, t_ns=none, begun_ns=none, value=none, high=none,
                    unseen=np.empty(0, np.int64))  # fmt: skip
    marks = replace(base.marks, rss=np.full(2, -1), high=np.full(2, -1))
    return replace(base, series={"host.rss": empty}, marks=marks)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("nothing at all", lambda: replace(recording(0, 0), series={})),
        ("no sample", lambda: recording(0, 0)),
        ("one sample", lambda: recording(1, 0)),
        ("one sample and no time", lambda: recording(1, 1, interval_ns=4)),
        ("only marks", only_marks),
        ("only phases", lambda: replace(recording(40, 4), series={})),
        ("not exact", lambda: recording(300, 5, exact=False)),
        ("killed inside a phase", lambda: recordings.with_marks(
            recording(300, 0, end="killed"), recordings.TRAINING, open_=(1, 34))),
        ("still running", lambda: recording(300, 3, end="running")),
    ],
)  # fmt: skip
def test_a_recording_of_any_kind_opens(open_page, name, make):
    page = open_page(make())
    page.wheel(*page.spot(sum(page.view) / 2, 100), 3)
    page.hover(*page.spot(sum(page.view) / 2, 100))
    for row in page.all("#phases tbody tr"):
        row.click()
    for button in ("fit", "zoom-in", "zoom-out", "whole"):
        page.find(f"#{button}").click()
    page.settle()
    curve = page.analysis.curves.get("host.rss")
    if curve is not None and len(curve.t_ns):
        assert page.js("timeline.maximum") == curve.high.max()
    else:
        assert page.js("timeline.maximum") is None


def test_an_mprof_recording_opens_with_its_children(open_page, tmp_path):
    from timeline.interchange.loading import load

    lines = ["CMDLINE python train.py"]
    for i in range(60):
        lines.append(f"MEM {100 + i % 7:.6f} {1700000000 + i / 10:.4f}")
        lines.append(f"CHLD 42 {50 + i % 5:.6f} {1700000000 + i / 10:.4f}")
    lines.append("FUNC __main__.fit 100.5 1700000001.0 105.2 1700000004.0")
    path = tmp_path / "mprofile_1.dat"
    path.write_text("\n".join(lines) + "\n")
    page = open_page(load(path))
    assert len(page.all("#channels input")) == len(page.analysis.curves) >= 2
    assert page.js("timeline.maximum") == page.analysis.channels[0].peak


@pytest.mark.parametrize(("samples", "count"), [(300, 1), (300, 200), (20_000, 30)])
def test_children_are_stacked_on_the_program_and_listed(open_page, samples, count):
    page = open_page(with_children(recording(samples, 3), ("python train.py", "git status"), count))
    total = page.analysis.curves["total.once"]
    stacked = page.source("family area")
    highs = [high for high in stacked["high"] if high]
    if samples == 300:  # there is room for each reading
        assert highs == total.value.tolist()
    assert set(highs) <= set(total.value.tolist())
    assert max(highs) == total.value.max()
    assert set(stacked["low"]) == {0}
    under = page.source("under area")["high"]
    assert page.host.value.min() <= min(filter(None, under))
    assert max(under) <= page.host.value.max()
    assert "its children on top, each page counted once" in page.find("#key").text
    assert len(page.all("#processes tbody tr")) == count
    page.find("#processes thead th:nth-child(5) button").click()
    first = page.find("#processes tbody tr button").text
    page.find("#processes tbody tr").click()
    page.settle()
    begin, end = page.view
    assert first
    assert end - begin < page.analysis.duration_ns / 1e9
    # Without the sum there is nothing to stack.
    index = list(page.analysis.curves).index("total.once")
    page.find(f"#channels input[value='{index}']").click()
    page.settle()
    assert page.source("family area")["high"] == []


def test_many_lanes_and_marks_at_one_moment(open_page):
    phases = [(0.1 + i * 1e-4, 0.9 - i * 1e-4, f"level {i}", i - 1, "") for i in range(300)]
    texts = [(0.5 + i * 1e-9, f"mark {i}") for i in range(500)]
    page = open_page(recordings.with_marks(recording(500, 0), phases, texts))
    assert "500 marks" in page.source("mark labels")["text"]
    text = page.hover(*page.spot(sum(page.view) / 2, 100))
    assert "more phases" in text
    assert {lane for lane, *_ in page.js("timeline.boxes()")} == set(range(12))
    assert "288 more lanes" in page.find("#key").text


@pytest.mark.parametrize("samples", [300, 20_000])
def test_no_band_is_drawn_without_a_high_water_mark(open_page, samples):
    page = open_page(recording(samples, 3, exact=False))
    assert not page.host.known.any()
    band = page.source("bands")
    assert all(low == high for low, high in zip(band["low"], band["high"], strict=True))
    assert "high-water mark" not in page.find("#key").text


def test_no_marks_at_all_is_the_same_as_none(open_page):
    page = open_page(replace(recording(100, 0), marks=Marks.none()))
    assert page.all("#phases") == []


def test_a_browser_without_decompression_says_so_and_keeps_the_first_view(open_page, browser):
    script = {"source": "delete window.DecompressionStream"}
    made = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
    try:
        page = open_page(recording(300, 3), ready=False)
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", made)
    assert "DecompressionStream" in page.find("#notice").text
    assert max(page.source("bands")["high"]) == page.host.high.max()
