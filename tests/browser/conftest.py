"""A real browser, and pages opened in it from disk."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from timeline.analysis.analyze import analyze
from timeline.views import html

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,1000",
)
WAIT_S = 60


def _unavailable(reason: str) -> None:
    if os.environ.get("TIMELINE_REQUIRE_BROWSER") == "1":
        pytest.fail(f"TIMELINE_REQUIRE_BROWSER is set, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Headless Chromium with a profile of its own; one for all tests."""
    try:
        from selenium import webdriver
    except ImportError:
        _unavailable("selenium is not installed")
    chromium = CHROMIUM if Path(CHROMIUM).exists() else shutil.which("chromium")
    driver_path = DRIVER if Path(DRIVER).exists() else shutil.which("chromedriver")
    if not chromium or not driver_path:
        _unavailable("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
    driver.set_script_timeout(WAIT_S)
    yield driver
    driver.quit()


class Page:
    """A page that is open, and what a reader would do with it."""

    def __init__(self, driver, path, analysis):
        self.driver = driver
        self.path = path
        self.analysis = analysis

    def js(self, expression, *arguments):
        """The value of an expression of JavaScript."""
        return self.driver.execute_script(f"return {expression}", *arguments)

    def wait(self, expression, *arguments):
        """Wait until an expression is true, and return its value."""
        end = time.monotonic() + WAIT_S
        while not (value := self.js(expression, *arguments)):
            assert time.monotonic() < end, f"still not true: {expression}"
            time.sleep(0.05)
        return value

    def settle(self):
        """Wait until two more frames were painted."""
        self.driver.execute_async_script(
            "const done = arguments[0];"
            "requestAnimationFrame(() => requestAnimationFrame(() => done()))"
        )

    def find(self, selector):
        """The first element of a CSS selector."""
        return self.driver.find_element("css selector", selector)

    def all(self, selector):
        """All elements of a CSS selector."""
        return self.driver.find_elements("css selector", selector)

    def row(self, name):
        """The row of the table whose phase has that name."""
        return next(r for r in self.all("#phases tbody tr") if r.text.split("\n")[0] == name)

    @property
    def view(self):
        """The seconds in view."""
        return tuple(self.js("timeline.view()"))

    @property
    def host(self):
        """The curve of host memory that the page was made of."""
        return self.analysis.curves["host.rss"]

    def phase(self, path, place):
        """Begin and end in seconds of the place-th instance of a path."""
        of = self.analysis.instances
        row = np.flatnonzero(of.path == of.paths.index(path))[place]
        return of.begin_ns[row] / 1e9, of.end_ns[row] / 1e9

    def shown(self, name="host.rss"):
        """The readings in view."""
        return self.js("timeline.shown(arguments[0])", name)

    def source(self, name):
        """The columns of a source of the chart, with null for NaN."""
        return self.js(
            "Object.fromEntries(Object.entries(Bokeh.documents.at(-1)"
            ".get_model_by_name(arguments[0]).data).map(([k, v]) => [k, Array.from(v)]))",
            name,
        )

    def spot(self, seconds, down):
        """Pixels of a moment in the chart, so far below its top."""
        left, right, box = self.js(
            "[Number(JSON.parse(document.getElementById('facts').textContent).left),"
            " Number(JSON.parse(document.getElementById('facts').textContent).right),"
            " document.getElementById('frame').getBoundingClientRect().toJSON()]"
        )
        start, end = self.view
        inner = box["width"] - left - right
        return box["left"] + left + inner * (seconds - start) / (end - start), box["top"] + down

    def mouse(self, kind, x, y, **more):
        """One event of the mouse, as the window system would send it."""
        event = {"type": kind, "x": x, "y": y, **more}
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)

    def wheel(self, x, y, notches):
        """Turn the wheel, away from the reader (zooming in) for a positive number of notches."""
        for _ in range(abs(notches)):
            self.mouse("mouseWheel", x, y, deltaX=0, deltaY=-120 if notches > 0 else 120)
            self.settle()

    def drag(self, x, y, to_x):
        """Press, move and let go."""
        self.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
        for i in range(1, 6):
            self.mouse("mouseMoved", x + (to_x - x) * i / 5, y, button="left", buttons=1)
            self.settle()
        self.mouse("mouseReleased", to_x, y, button="left", buttons=0, clickCount=1)
        self.settle()

    def hover(self, x, y):
        """Move the mouse there, and return what the page says of it."""
        self.mouse("mouseMoved", x, y)
        self.settle()
        self.settle()
        return self.find("#tip").text

    def complaints(self):
        """What the browser wrote to its console that is worse than news."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] in ("SEVERE", "WARNING")
        ]

    def requests(self):
        """The addresses that the page asked for, besides itself."""
        asked = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
                given = message["params"]
                asked.append(given.get("request", given)["url"])
        # chrome:// is the browser's own first page, which may still be loading its parts.
        own = ("data:", "chrome://")
        return [url for url in asked if url != self.path.as_uri() and not url.startswith(own)]


@pytest.fixture
def open_page(browser, tmp_path):
    """``open_page(recording)`` writes its page, opens it and waits until every reading is there.

    After the test: the page asked for nothing from outside, and nothing went wrong in it.
    """
    opened = []

    def open_it(recording, *, ready=True):
        path = tmp_path / f"page{len(opened)}.html"
        analysis = analyze(recording)
        html.write(analysis, path)
        for name in ("browser", "performance"):
            browser.get_log(name)
        browser.get(path.as_uri())
        page = Page(browser, path, analysis)
        opened.append(page)
        page.wait("window.timeline && (timeline.ready || timeline.failure)")
        if ready:
            assert page.js("timeline.failure") is None
            page.settle()
            page.settle()
        return page

    yield open_it
    for page in opened:
        assert page.requests() == []
        if not page.js("timeline.failure"):
            assert page.complaints() == []
    browser.get("about:blank")
