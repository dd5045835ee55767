"""What the peaks are made of: the bar on the curve's axis, a phase's own on a click, the layers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.browser import recordings
from timeline.recording.anatomy import Anatomy, Moment, WeighedLayer, WeighedPhase
from timeline.recording.weighed.facts import CATEGORIES

pytestmark = pytest.mark.browser

MiB = 1 << 20


def weighed(base, layers):
    """The recording with a weighed step of these layers."""

    def moment(rss):
        return Moment(base.run.started_ns, rss, 10 * MiB, 50 * MiB, 5 * MiB)

    def phase(path, **more):
        sizes = {**dict.fromkeys(CATEGORIES, 0), "parameter": 20 * MiB, **more}
        return WeighedPhase(path, "", moment(150 * MiB), 160 * MiB, 0, 0, sizes, ())

    anatomy = Anatomy(
        step=2,
        began_ns=0,
        ended_ns=1,
        spent_ns=1,
        before=moment(30 * MiB),
        held=0,
        phases=(
            phase("step/forward", activation=7 * MiB),
            phase("step/backward", gradient=9 * MiB),
        ),
        categories=dict.fromkeys(CATEGORIES, 0),
        layers=tuple(layers),
        parameters=1,
        sizes=((5 * MiB, 4),),
        trained=(),
        devices=("cpu",),
        not_counted=("tensors of <b onmouseover=window.broken=4>",),
    )
    return replace(base, anatomy=anatomy)


def layer(name, parameters, activation):
    size = 4 * parameters
    return WeighedLayer(
        name, "Linear", parameters, size, 0, size, activation, (2, 3), "float32", 24, 1
    )


def names_of(page):
    return page.js(
        "[...document.querySelectorAll('#layers tbody tr')].map(r => r.cells[0].innerText)"
    )


def test_the_bar_stands_on_the_curves_axis_and_follows_the_phase(open_page):
    page = open_page(weighed(recordings.training(), [layer("a", 1, 2)]))
    blocks = "[...document.querySelectorAll('#parts .parts')]"
    shown = f"{blocks}.filter(p => !p.hidden).map(p => p.innerText)"
    page.row("step/forward").click()
    (text,) = page.js(shown)
    assert "step/forward" in text
    assert "7.00 MiB" in text
    page.row("step/backward").click()
    (text,) = page.js(shown)
    assert "9.00 MiB" in text
    assert "7.00 MiB" not in text
    page.settle()
    low, high, top, bottom, start, end, height = page.js(
        "(() => { const i = document.querySelectorAll('#parts .parts:not([hidden]) .stack i')[1];"
        " const s = Bokeh.documents.at(-1).get_model_by_name('sizes');"
        " const box = i.getBoundingClientRect();"
        " const from = document.getElementById('frame').getBoundingClientRect().top;"
        " return [+i.dataset.low, +i.dataset.high, box.top - from, box.bottom - from,"
        " s.start, s.end,"
        " Bokeh.documents.at(-1).get_model_by_name('curve figure').inner_height]; })()"
    )
    for size, y in ((low, bottom), (high, top)):
        assert y == pytest.approx(6 + height * (1 - (size - start) / (end - start)), abs=1.5)


def test_labels_and_sizes_of_the_bar_stay_within_it(open_page):
    base = weighed(recordings.training(), [layer("a", 1, 2)])
    since = tuple(
        replace(each, at=replace(each.at, file=each.at.file + 789 * MiB // 10, rss=900 * MiB))
        for each in base.anatomy.phases
    )
    page = open_page(replace(base, anatomy=replace(base.anatomy, phases=since)))
    page.row("step/backward").click()
    labels, beyond = page.js(
        "(() => { const all = [...document.querySelectorAll('#parts .parts:not([hidden]) li')];"
        " const right = document.querySelector('#parts').getBoundingClientRect().right;"
        " return [all.map(l => l.innerText), all.filter(l => l.scrollWidth > l.clientWidth"
        " || l.lastChild.getBoundingClientRect().right > right).length]; })()"
    )
    assert any("library code and files" in each for each in labels)
    assert beyond == 0


def test_two_thousand_layers_sort_and_hostile_names_stay_text(open_page):
    many = [layer(f"blocks.{i}", i, 2000 - i) for i in range(1, 2001)]
    hostile = [layer(name, 5000 + i, 1) for i, name in enumerate(recordings.HOSTILE)]
    page = open_page(weighed(recordings.training(), [*many, *hostile]))
    assert len(names_of(page)) == 2000 + len(hostile)
    heads = {each.text: each for each in page.all("#layers th button")}
    page.driver.execute_script("arguments[0].click()", heads["Saved"])
    assert names_of(page)[0] == "blocks.1"
    page.driver.execute_script("arguments[0].click()", heads["Parameters"])
    assert names_of(page)[len(hostile)] == "blocks.2000"
    assert page.js("window.broken === undefined")
    assert "onmouseover" in page.find("#anatomy").text


def test_on_a_phone_what_was_measured_of_each_part_is_within_the_page(open_page, browser):
    page = open_page(weighed(recordings.training(), [layer("a", 1, 2)]))
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.row("step/backward").click()
        heads = page.js(
            "[...document.querySelectorAll('.parts:not([hidden]) .composition thead th')]"
            ".map(h => [h.innerText, h.getBoundingClientRect().left,"
            " h.getBoundingClientRect().right])"
        )
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert [name for name, *_ in heads] == ["Part", "Estimated", "Measured", "Residual"]
    assert heads == [[name, left, right] for name, left, right in heads if left < right <= 390]
