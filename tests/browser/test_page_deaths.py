"""A run that died: its sentence, its limit as a line, and the channels that explain it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import recording

from timeline.recording.types import Channel, Kills, Limit, Series

pytestmark = pytest.mark.browser

MiB = 1 << 20
CGROUP = "/sys/fs/cgroup/<b>job</b>"


def killed():
    made = recording(samples=300, phases=51, end="killed")
    t = made.series["host.rss"].t_ns[::5]
    series = dict(made.series)
    for name, size in (("cgroup.used", 1790), ("cgroup.cache", 90), ("machine.used", 6000)):
        value = np.linspace(size / 2, size, len(t)).astype(np.int64) * MiB
        none = np.full(len(t), -1, np.int64)
        channel = Channel(name, "byte", "linux", False, "it was only sampled")
        series[name] = Series(channel, t, t, value, none, np.zeros(len(t), np.int64))
    limits = (
        Limit("cgroup", 1800 * MiB, "cgroup.used", f"{CGROUP}/memory.max"),
        Limit("machine", 8000 * MiB, "machine.used", "MemTotal"),
    )
    kills = (Kills(CGROUP, 1, 1, peak=1800 * MiB),)
    return replace(made, series=series, limits=limits, kills=kills)


def test_the_death_opens_the_page_and_its_limit_is_a_line(open_page):
    page = open_page(killed())
    assert "killed by the cgroup's OOM killer at 1.76 GiB of 1.76 GiB" in page.find(".pill").text
    said = page.find(".death").text
    assert f"The OOM killer took 1 process of {CGROUP} during the run" in said
    assert "Headroom 0 B" in said
    model = "Bokeh.documents.at(-1).get_model_by_name"
    assert page.js(f"Array.from({model}('limits').data.y)") == [1800 * MiB]
    (text,) = page.js(f"Array.from({model}('limit labels').data.text)")
    assert text == "limit of the cgroup, 1.76 GiB"
    # The line is on the picture, and the machine's 8 GiB press nothing down.
    assert 1800 * MiB < page.js(f"{model}('sizes').end") < 2500 * MiB


def test_channels_that_explain_are_shown_when_they_are_asked_for(open_page):
    page = open_page(killed())
    model = "Bokeh.documents.at(-1).get_model_by_name"
    names = page.js("Array.from(document.querySelectorAll('#channels bdi'), (e) => e.textContent)")
    boxes = page.all("#channels input")
    ticked = {name for name, box in zip(names, boxes, strict=True) if box.is_selected()}
    assert ticked == {"host.rss", "cgroup.used"}
    at = names.index("machine.used")

    def drawn():
        return page.js(f"{model}('line {at}').data.x.length + {model}('body {at}').data.x.length")

    assert drawn() == 0
    boxes[at].click()
    page.settle()
    assert drawn() > 0
    assert page.js(f"{model}('sizes').end") > 6000 * MiB
    boxes[at].click()
    page.settle()
    assert drawn() == 0
    assert page.js(f"{model}('sizes').end") < 2500 * MiB
