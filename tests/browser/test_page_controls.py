"""A reader gets at everything: by wheel, drag, pointer, click and keyboard."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import recording

from tests.browser import recordings
from timeline.units import format_duration
from timeline.views.palette import PALETTES

pytestmark = pytest.mark.browser

COLORS = (
    "[getComputedStyle(document.documentElement).backgroundColor,"
    " Bokeh.documents.at(-1).get_model_by_name('channel 0').line_color.value]"
)


def test_the_wheel_zooms_around_the_pointer(open_page):
    page = open_page(recording(50_000, 100))
    whole = page.view
    x, y = page.spot(200.0, 100)
    page.wheel(x, y, 6)
    start, end = page.view
    assert end - start < (whole[1] - whole[0]) / 3
    assert start < 200 < end
    assert page.spot(200.0, 100)[0] == pytest.approx(x, abs=2)
    page.wheel(x, y, -40)
    assert page.view == pytest.approx(whole)


def test_dragging_moves_and_after_the_button_zooms(open_page):
    page = open_page(recording(5_000, 10))
    page.js("timeline.show(20, 30)")
    x, y = page.spot(27.0, 100)
    page.drag(x, y, page.spot(25.0, 100)[0])
    assert page.view == pytest.approx((22, 32), abs=0.1)
    page.find("#box").click()
    page.drag(page.spot(24.0, 100)[0], y, page.spot(26.0, 100)[0])
    assert page.view == pytest.approx((24, 26), abs=0.1)
    page.find("#whole").click()
    assert page.view[0] <= 0
    assert page.view[1] >= 50


def test_pointing_at_the_curve_tells_time_phase_and_bytes(open_page):
    page = open_page(recordings.training())
    begin, end = page.phase("step/backward", 6)
    page.js("timeline.show(arguments[0], arguments[1])", begin, end)
    moment = (begin + end) / 2
    text = page.hover(*page.spot(moment, 100))
    curve = page.host
    nearest = int(np.argmin(abs(curve.t_ns - moment * 1e9)))
    assert f"{curve.value[nearest]:,} bytes" in text
    assert f"{curve.high[nearest]:,} bytes" in text
    assert "step/backward" in text
    assert "epoch" in text
    assert "children.rss" in text
    told = float(text.split("\n")[0].removesuffix(" s"))
    assert told == pytest.approx(curve.t_ns[nearest] / 1e9, abs=0.001)


def test_pointing_at_a_gap_tells_that_there_is_no_sample(open_page):
    page = open_page(recording(1000, 0, gap=True))
    before, after = page.host.gaps_ns[0] / 1e9
    text = page.hover(*page.spot((before + after) / 2, 100))
    assert f"no sample for {format_duration(after - before)}" in text
    assert "never above" in text


def test_pointing_at_a_lane_tells_of_the_phase(open_page):
    page = open_page(recordings.training())
    begin, end = page.phase("load", 0)
    text = page.hover(*page.spot((begin + end) / 2, 355))
    assert text.startswith("load\nResNet")
    row = page.analysis.phases[0].peak["host.rss"]
    assert f"{row.bytes:,} bytes" in text


def test_a_click_on_a_row_goes_to_the_highest_instance_and_then_to_the_next(open_page):
    page = open_page(recordings.training())
    of = page.analysis.instances
    places = np.flatnonzero(of.path == of.paths.index("step/forward"))
    highest = int(np.argmax(of.peak[places]))
    for step in range(3):
        page.row("step/forward").click()
        begin, end = page.phase("step/forward", (highest + step) % len(places))
        start, stop = page.view
        assert start < begin < end < stop
        assert stop - start < 3 * (end - begin)
        assert (
            f"{(highest + step) % len(places) + 1} of {len(places)}" in page.find("#walk-bar").text
        )
    page.find("#walk-previous").click()
    begin, end = page.phase("step/forward", (highest + 1) % len(places))
    assert page.view[0] < begin < end < page.view[1]
    page.find("#walk-close").click()
    assert not page.find("#walk-bar").is_displayed()


def test_a_click_on_a_lane_goes_there(open_page):
    page = open_page(recordings.training())
    begin, end = page.phase("inference", 0)
    x, y = page.spot((begin + end) / 2, 355)
    page.hover(x, y)
    page.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
    page.mouse("mouseReleased", x, y, button="left", buttons=0, clickCount=1)
    page.settle()
    assert page.view[0] < begin < end < page.view[1]
    assert page.row("inference").get_attribute("class") == "here"


def test_the_page_works_by_the_keyboard_alone(open_page):
    from selenium.webdriver.common.keys import Keys

    page = open_page(recordings.training())
    page.row("load").find_element("css selector", "button").send_keys(Keys.ENTER)
    begin, end = page.phase("load", 0)
    assert page.view[0] < begin < end < page.view[1]
    frame = page.find("#frame")
    frame.send_keys("0")
    whole = page.view
    frame.send_keys("+")
    start, end = page.view
    assert end - start == pytest.approx((whole[1] - whole[0]) / 2)
    frame.send_keys(Keys.ARROW_RIGHT)
    assert page.view[0] > start
    page.find("th button").send_keys(Keys.ENTER)
    assert page.find("th").get_attribute("aria-sort") == "descending"


def test_the_table_sorts_by_any_column_and_back(open_page):
    page = open_page(recordings.training())
    first = [row.text for row in page.all("#phases tbody tr")]
    peaks = page.all("#phases th")[4].find_element("css selector", "button")

    def values():
        return page.js(
            "[...document.querySelectorAll('#phases tbody tr')]"
            ".map((row) => Number(row.cells[4].dataset.value))"
        )

    peaks.click()
    assert values() == sorted(values(), reverse=True)
    peaks.click()
    assert values() == sorted(values())
    peaks.click()
    assert [row.text for row in page.all("#phases tbody tr")] == first


def test_a_channel_can_be_switched_off(open_page):
    page = open_page(recordings.training())
    boxes = page.all("#channels input")
    assert len(boxes) == len(page.analysis.curves) == 3
    boxes[1].click()
    assert page.source("line 1")["x"] == []
    boxes[0].click()
    assert page.source("line 0")["x"] == []
    assert page.source("bands")["x"] == []
    boxes[1].click()
    assert page.source("line 1")["x"] != []


def test_fit_height_brings_what_is_in_view_to_full_height(open_page):
    page = open_page(recording(5_000, 0))
    page.js("timeline.show(40, 41)")
    page.find("#fit").click()
    curve = page.host
    start, end = page.view
    inside = (curve.t_ns >= start * 1e9) & (curve.t_ns <= end * 1e9)
    low, high = page.js(
        "[Bokeh.documents.at(-1).get_model_by_name('sizes')].map((r) => [r.start, r.end])[0]"
    )
    least, most = curve.value[inside].min(), curve.high[inside].max()
    assert low < least
    assert high > most
    assert high - low < 1.5 * (most - least) + 65536


def test_light_and_dark_are_put_on_everything(open_page, browser):
    scheme = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
    try:
        page = open_page(recordings.training())
        dark = page.js(COLORS)
        page.find("#theme").click()
        light = page.js(COLORS)
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert dark[0] != light[0]
    assert dark[1] == PALETTES["dark"].curve
    assert light[1] == PALETTES["light"].curve


def test_a_narrow_window_has_everything_in_its_width(open_page, browser):
    size = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page = open_page(recordings.training())
        assert page.js("document.documentElement.scrollWidth") <= 400
        wide = page.js("document.getElementById('frame').clientWidth")
        assert 300 < wide <= 400
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
