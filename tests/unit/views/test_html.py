"""The page as a file: its text, without a browser."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import subprocess
import sys
import zlib
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from synthetic import recording

from tests.browser import recordings
from timeline.analysis.analyze import analyze
from timeline.views import html
from timeline.views.page.chart import build
from timeline.views.page.packing import Packer
from timeline.views.page.words import LONGEST, escaped, script_json, visible


class Elements(HTMLParser):
    """The elements of a page: the text of each script, and every tag with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.words = [], [], []
        self.inside = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "script":
            self.scripts.append([dict(attrs), ""])

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1][1] += data
        elif self.inside != "style":
            self.words.append(data)

    def block(self, name):
        return next(text for attrs, text in self.scripts if attrs.get("id") == name)

    def ids(self):
        """What each script is called, without the packed columns."""
        ids = [attrs.get("id", "") for attrs, _ in self.scripts]
        return [name for name in ids if not name.startswith("pack-")]


def page_of(made):
    return Elements(html.render(analyze(made)))


def unpacked(text, reference):
    """What ``unpack.js`` does, written down a second time."""
    n, planes = reference["n"], reference["planes"]
    data = zlib.decompress(base64.b64decode(text), -15)
    rows = np.zeros((n, 8), np.uint8)
    rows[:, :planes] = np.frombuffer(data, np.uint8).reshape(planes, n).T
    folded = rows.reshape(-1).view("<u8")
    values = (folded >> np.uint64(1)).astype(np.int64) ^ -(folded & np.uint64(1)).astype(np.int64)
    return np.cumsum(values) if reference["sum"] else values


@pytest.mark.parametrize("differences", [True, False])
@pytest.mark.parametrize(
    "column",
    [
        [],
        [0],
        [-1],
        [5, 5, 5],
        [0, 2**53, 0, 2**40, -(2**52)],
        [255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32, -(2**31)],
    ],
)
def test_a_packed_column_comes_back(column, differences):
    packer = Packer()
    given = np.array(column, np.int64)
    reference = packer.pack(given, differences=differences)
    assert unpacked(packer.texts[reference["pack"]], reference).tolist() == column


def test_the_page_holds_every_reading():
    analysis = analyze(recordings.training())
    page = Elements(html.render(analysis))
    facts = json.loads(page.block("facts"))
    for about, curve in zip(facts["channels"], analysis.curves.values(), strict=True):
        columns = {
            name: unpacked(page.block(f"pack-{about[name]['pack']}"), about[name])
            for name in ("t", "value", "excess", "known")
        }
        assert (columns["t"] == curve.t_ns).all()
        assert (columns["value"] == curve.value).all()
        assert (columns["value"] + columns["excess"] == curve.high).all()
        assert (columns["known"] == curve.known).all()


def test_the_first_view_has_the_peak():
    analysis = analyze(recording(20_000, 5))
    item = build(analysis, "chart").item
    band = next(model for model in models(item) if model["attributes"].get("name") == "bands")
    high = dict(band["attributes"]["data"]["entries"])["high"]["array"]["data"]
    data = base64.b64decode(high)
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    assert np.nanmax(np.frombuffer(data, "<f8")) == analysis.channels[0].peak


def models(value):
    """Every model in Bokeh's JSON."""
    if isinstance(value, dict):
        if "attributes" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from models(each)


def test_the_header_tells_the_run():
    text = " ".join(page_of(recordings.training()).words)
    for words in (
        "train.py --epochs 1",
        "exited with code 0",
        "1.74 GiB",
        "exact",
        "inference",
        "12.0 s",
        "every 10.0 ms",
        "959 samples",
        "linux",
        "node7, process 4711",
        "2.14.1",
        "no GPU: this version records host memory only",
        "children.rss: children.rss has no high-water mark",
    ):
        assert words in text


def test_a_run_that_is_not_exact_says_so_and_why():
    text = " ".join(page_of(recording(100, 3, exact=False)).words)
    assert "not exact" in text
    assert "psutil reads no high-water mark" in text
    assert "~" in text


def test_a_run_that_was_killed_says_so():
    made = recordings.with_marks(recording(300, 0, end="killed"), recordings.TRAINING, open_=(1,))
    text = " ".join(page_of(made).words)
    assert "killed by SIGKILL" in text
    assert "1 never ended" in text


def test_names_cannot_leave_their_place():
    good, bad = page_of(recordings.training()), page_of(recordings.hostile())
    assert bad.ids() == good.ids()
    assert {tag for tag, _ in bad.tags} == {tag for tag, _ in good.tags}
    assert not [attr for _, attrs in bad.tags for attr in attrs if attr.startswith("on")]
    for name in ("facts", "document"):
        block = bad.block(name)
        json.loads(block)
        assert not set(block) & set("<>&\u2028\u2029")
        assert block.isascii()
    # A name of TeX makes Bokeh load a renderer, so Bokeh gets no name at all.
    assert "frac" not in bad.block("document")


def test_only_the_scripts_of_the_page_may_run_and_nothing_may_be_fetched():
    page = page_of(recordings.hostile())
    policy = next(
        attrs["content"] for tag, attrs in page.tags if tag == "meta" and "http-equiv" in attrs
    )
    running = [text for attrs, text in page.scripts if "type" not in attrs]
    hashes = [
        "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
        for text in running
    ]
    assert len(running) == 2
    assert policy.startswith(f"default-src 'none'; script-src {' '.join(hashes)};")
    assert "unsafe-eval" not in policy
    assert not [attrs for _, attrs in page.tags if "src" in attrs or "href" in attrs]


def test_any_text_can_be_written_and_read_again(tmp_path):
    path = tmp_path / "\udc80 page.html"
    html.write(analyze(recordings.hostile()), path)
    text = path.read_text(encoding="utf-8")
    assert "\x00" not in text
    assert r"\x00 \x1b[31m \u2028 \u202e reversed" in text


def test_the_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    html.write(analyze(recording(10, 1)), path)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    directory = tmp_path / "report.html"
    directory.mkdir()
    with pytest.raises(OSError):
        html.write(analyze(recording(10, 1)), directory)
    assert list(tmp_path.iterdir()) == [directory]


def test_what_is_made_into_a_page_is_not_changed_by_it():
    analysis = analyze(recordings.training())
    before = analysis.curves["host.rss"].value.copy()
    html.render(analysis)
    assert (analysis.curves["host.rss"].value == before).all()


def test_bokeh_is_imported_only_for_a_page():
    code = "import sys; from timeline.views import html; print('bokeh' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("samples", "phases"), [(0, 0), (1, 0), (1, 1), (2, 0), (300, 0), (300, 300)]
)
def test_recordings_of_any_size_make_a_page(samples, phases):
    page = page_of(recording(samples, phases))
    assert len([1 for tag, _ in page.tags if tag == "tr"]) > 0 or not phases
    made = recording(samples, phases)
    Elements(html.render(analyze(replace(made, series={}))))


def test_a_run_without_a_start_or_a_command_makes_a_page():
    base = recording(10, 0)
    run = replace(base.run, argv=(), started_time_ns=0, host="", interval_ns=0)
    text = " ".join(page_of(replace(base, run=run)).words)
    assert "as recorded" in text
    run = replace(base.run, started_time_ns=2**62)
    page_of(replace(base, run=run))


def test_very_long_texts_lose_their_middle():
    assert len(visible("x" * 100_000)) < LONGEST + 10
    assert escaped("<\"&'>") == "&lt;&quot;&amp;&#x27;&gt;"
    assert json.loads(script_json(["</script>\u2028"])) == ["</script>\u2028"]
    assert "<" not in script_json(["</script>"])
