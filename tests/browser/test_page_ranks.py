"""The page of all ranks in a real browser."""

from __future__ import annotations

import time

import pytest
from ranks_on_disk import MS, write_rank

from timeline.analysis.ranks import analyze_ranks
from timeline.recording.group import find_group
from timeline.views import ranks_html

pytestmark = pytest.mark.browser

MiB = 1 << 20


@pytest.fixture
def page(browser, tmp_path):
    for rank in range(40):
        size = (100 + rank + (400 if rank == 7 else 0)) * MiB
        rows = [(i * 10 * MS + 1, size, size) for i in range(30)]
        write_rank(tmp_path, rank, rows, world=41, phases=[("work", MS, 200 * MS)])
    path = tmp_path / "ranks.html"
    ranks_html.write(analyze_ranks(find_group(tmp_path)), path)
    browser.get_log("browser")  # what a page of another test said
    browser.get(path.as_uri())
    end = time.monotonic() + 60
    while not browser.execute_script("return window.timeline?.ready || window.timeline?.failure"):
        assert time.monotonic() < end, "the page is not ready"
        time.sleep(0.05)
    assert browser.execute_script("return timeline.failure") is None
    yield browser
    wrong = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not wrong, wrong
    browser.get("about:blank")


def test_a_click_on_a_rank_shows_it(page):
    assert page.execute_script("return timeline.chosen") == 7
    from selenium.webdriver.common.by import By

    row = page.find_element(By.CSS_SELECTOR, '#ranks tr[data-rank="12"]')
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", row)
    row.click()
    assert page.execute_script("return timeline.chosen") == 12
    assert page.find_element(By.ID, "chosen").text == "rank 12"
    page.find_element(By.ID, "next").click()
    assert page.execute_script("return timeline.chosen") == 13
    highest = page.execute_script(
        "const v = timeline.view; return Math.max(...v.high.subarray(13 * v.buckets))"
    )
    assert highest == (100 + 39) * MiB


def test_the_columns_are_the_readings_and_the_table_sorts(page):
    assert page.execute_script("return Math.max(...timeline.view.envelopeHigh)") == 507 * MiB
    first = "return document.querySelector('#ranks tbody tr').dataset.rank"
    page.execute_script("document.querySelectorAll('#ranks th button')[2].click()")
    assert page.execute_script(first) == "7"
    page.execute_script("document.querySelectorAll('#ranks th button')[2].click()")
    assert page.execute_script(first) == "0"


def test_a_stretch_can_be_chosen_and_left(page):
    page.execute_script("timeline.view.show(0.05, 0.2)")
    assert page.execute_script("return timeline.view.range") == [0.05, 0.2]
    page.execute_script("document.getElementById('whole').click()")
    assert page.execute_script("return timeline.view.range[0]") == 0
    for _ in range(2):
        page.execute_script("document.getElementById('theme').click()")
