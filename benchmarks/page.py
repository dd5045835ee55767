"""The page in headless Chromium: how soon it can be used, how smoothly the wheel zooms.

python benchmarks/page.py FILE.html
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

# In the page, from before its first script: when all readings stood and two frames were painted.
NOTE_READY = """
(() => {
  const look = () => {
    if (!window.timeline?.ready) return requestAnimationFrame(look);
    const painted = () => { window.readyAt = performance.now(); };
    requestAnimationFrame(() => requestAnimationFrame(painted));
  };
  requestAnimationFrame(look);
})();
"""

# The time between two frames, for as long as it is asked for.
NOTE_FRAMES = """
window.frames_ms = [];
let before = performance.now();
const frame = (now) => {
  window.frames_ms.push(now - before);
  before = now;
  if (window.noting) requestAnimationFrame(frame);
};
window.noting = true;
requestAnimationFrame((now) => { before = now; requestAnimationFrame(frame); });
"""

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1400,1000",
)


def measure(path: Path, peak: int, times: int = 3) -> dict[str, Any] | None:
    """Open the page so many times.

    Args:
        path: the HTML file.
        peak: bytes, what the page's maximum should be.

    Returns:
        ``ready_s``, ``worst_frame_ms`` and ``median_frame_ms`` of the wheel zoom, each in the
        median of all times, and ``maximum_off``; None, and a line on stderr, without a browser.
    """
    try:
        rows = [_once(path) for _ in range(times)]
    except Exception as error:
        # The rest of the benchmarks needs no browser.
        print(f"page         not measured: {str(error).splitlines()[0]}", file=sys.stderr)
        return None
    middle = {
        key: statistics.median(row[key] for row in rows)
        for key in ("ready_s", "worst_frame_ms", "median_frame_ms")
    }
    return {**middle, "maximum_off": max(abs(row["maximum"] - peak) for row in rows)}


def _once(path: Path) -> dict[str, float]:
    from selenium import webdriver
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    for flag in FLAGS:
        options.add_argument(flag)
    service = webdriver.ChromeService("/usr/bin/chromedriver")
    driver = webdriver.Chrome(options=options, service=service)
    try:
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": NOTE_READY})
        driver.get(path.resolve().as_uri())
        WebDriverWait(driver, 60, 0.2).until(lambda d: d.execute_script("return window.readyAt"))
        ready_ms = driver.execute_script("return window.readyAt")
        maximum = driver.execute_script("return window.timeline.maximum")
        x, y = driver.execute_script(
            "const box = document.getElementById('chart').getBoundingClientRect();"
            "return [box.left + box.width * 0.6, box.top + Math.min(box.height, 300) / 2];"
        )
        driver.execute_script(NOTE_FRAMES)
        # Twenty notches in and twenty out again, as fast as a hand turns.
        spans = [_span(driver)]
        for direction in (-120, 120):
            wheel = {"type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": direction}
            for _ in range(20):
                driver.execute_cdp_cmd("Input.dispatchMouseEvent", wheel)
                time.sleep(0.03)
            spans.append(_span(driver))
        time.sleep(0.3)
        frames_ms = driver.execute_script("window.noting = false; return window.frames_ms")
        if not spans[1] < spans[0] / 10:
            raise RuntimeError(f"the wheel did not zoom: {spans} s in view")
        return {
            "ready_s": ready_ms / 1000,
            "maximum": maximum,
            "worst_frame_ms": max(frames_ms),
            "median_frame_ms": statistics.median(frames_ms),
        }
    finally:
        driver.quit()


def _span(driver: Any) -> float:
    view = driver.execute_script("return window.timeline.view()")
    low, high = view.values() if isinstance(view, dict) else view
    return abs(float(high) - float(low))


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), 0), indent=1))
