"""What the views say of a target's children: with one, with two hundred, with hostile names."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from synthetic import MiB, recording, with_children

from timeline.analysis.analyze import analyze
from timeline.views import html, png, text
from timeline.views import json as document
from timeline.views.chart.page import draw
from timeline.views.family import band_channel, matters, rows, sums
from timeline.views.palette import PALETTES
from timeline.views.terminal import columns

WORKERS = ("python train.py --epochs 3", "git status", "/usr/bin/python3 -m http.server")
HOSTILE = ("<script>alert(1)</script>", "\x1b[31mred\x1b[0m", "a\u202eb", "$x$", "x" * 3000, "🔥")


def made(names=WORKERS, count=30, **more):
    return analyze(with_children(recording(), names, count, **more))


def words_of(figure):
    return [each.get_text() for each in figure.texts]


def test_the_sums_are_of_one_moment_and_the_first_counts_shared_pages_once():
    once, each = sums(made())
    assert (once.channel, each.channel) == ("total.once", "total.rss")
    assert once.target + once.children == once.total
    assert each.target + each.children == each.total
    assert 0 < once.children < each.children


@pytest.mark.parametrize(("count", "lines"), [(1, 1), (12, 12), (200, 3)])
def test_a_table_stays_short_and_counts_everyone(count, lines):
    table = rows(made(count=count), 12)
    assert len(table) == lines
    assert sum(row.count for row in table) == count
    assert max(row.peak for row in table) == count * MiB


def test_more_names_than_lines_leave_the_rest_in_one():
    names = tuple(f"program{i}" for i in range(50))
    table = rows(made(names, 50), 6)
    assert [row.count for row in table] == [1, 1, 1, 1, 1, 45]
    assert table[-1].name == "45 × other processes"


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("count", [1, 200])
def test_the_terminal_has_sums_and_a_table_in_its_width(width, count):
    shown = text.render(made(count=count), width=width)
    assert max(map(columns, shown.splitlines())) <= width
    plain = " ".join(shown.split())
    assert "With children ~" in plain
    assert "each page counted once" in plain
    assert "which counts shared pages in each process" in plain
    assert "peak RSS" in plain


def test_hostile_names_do_no_harm_to_terminal_page_or_picture():
    analysis = made(HOSTILE, 6)
    shown = text.render(analysis)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert text.render(analysis, ascii=True).isascii()
    page = html.render(analysis)
    assert "<script>alert" not in page
    assert page.count('<tr data-begin="') == 6
    assert png.render(analysis).startswith(b"\x89PNG")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture_stacks_the_children_and_names_them(theme):
    palette = PALETTES[theme]
    figure = draw(made(), palette, 10.0, 100)
    FigureCanvasAgg(figure).draw()
    words = words_of(figure)
    assert "children: each page counted once" in words
    assert "total.once" in words
    assert not {"children.rss", "total.rss", "host.pss", "children.own", "total.pss"} & set(words)
    assert "10 × git status" in words


def test_a_recording_of_before_stacks_what_it_has():
    analysis = made(own=False)
    assert band_channel(analysis) == "total.pss"
    words = words_of(draw(analysis, PALETTES["light"], 10.0, 100))
    assert "children: shared pages counted once (PSS)" in words


def test_beside_other_jobs_with_the_same_pages_the_children_stay_on_top():
    """Ranks of one host share torch's libraries, and PSS gives each its part of them."""
    recorded = with_children(recording(), WORKERS, 30)
    diluted = {
        name: replace(recorded.series[name], value=recorded.series[name].value // 4)
        for name in ("total.pss", "host.pss", "children.pss")
    }
    analysis = analyze(replace(recorded, series={**recorded.series, **diluted}))
    assert band_channel(analysis) == "total.once"
    band, host, own = (analysis.curves[name] for name in ("total.once", "host.rss", "children.own"))
    target = host.value[np.searchsorted(host.t_ns, band.t_ns)]
    last = np.searchsorted(own.t_ns, band.t_ns, side="right") - 1
    assert len(band.t_ns) > 200
    assert ((band.value - target) == own.value[last]).all()
    top, by_rss = sums(analysis)
    assert not top.remark
    assert top.target + top.children == top.total == band.value.max() < by_rss.total


def test_without_pss_the_stack_says_that_it_counts_shared_pages_in_each():
    analysis = made(pss=False)
    assert band_channel(analysis) == "total.rss"
    words = words_of(draw(analysis, PALETTES["light"], 10.0, 100))
    assert "children: shared pages counted in each process (RSS)" in words
    assert "its children on top, shared pages counted in each process (RSS)" in html.render(
        analysis
    )


def test_a_child_that_was_killed_has_its_signal_and_one_that_was_asked_to_end_has_not():
    recorded = with_children(recording(), WORKERS, 30)
    signals = {5001: "SIGKILL", 5003: "SIGTERM", 5004: "SIGSEGV"}
    processes = tuple(
        replace(each, signal=signals.get(each.pid, "")) for each in recorded.processes
    )
    few = analyze(replace(recorded, processes=processes[:6]))
    lived = {row.pid: row.figures[1] for row in rows(few, 12)}
    assert lived[5001].endswith(" s, SIGKILL")
    assert lived[5004].endswith(" s, SIGSEGV")
    assert not [pid for pid, said in lived.items() if "SIG" in said and pid not in (5001, 5004)]
    assert ", SIGKILL" in text.render(few, width=120)
    assert ", SIGKILL</td>" in html.render(few)
    many = analyze(replace(recorded, processes=processes))
    said = {row.label: row.figures[1] for row in rows(many, 12)}
    assert said["git status"].endswith(", 1 by SIGKILL, 1 by SIGSEGV")
    found = {each["pid"]: each["signal"] for each in document.document(many)["processes"]}
    assert {pid: found[pid] for pid in signals} == signals
    assert found[5000] is None


def test_without_children_no_view_speaks_of_them():
    analysis = analyze(recording())
    assert "children" not in text.render(analysis)
    assert 'id="processes"' not in html.render(analysis)
    assert not [word for word in words_of(draw(analysis, PALETTES["light"], 10.0, 100))
                if "children" in word]  # fmt: skip
    assert document.document(analysis)["processes"] == []


def test_the_document_has_every_process():
    found = json.loads(document.render(made(count=200)))["processes"]
    assert len(found) == 200
    first = found[0]
    assert (first["pid"], first["parent"], first["label"]) == (5000, 4711, "train.py --epochs 3")
    assert first["peak"]["rss"] == MiB
    assert first["peak"]["exact"] is False  # its last moments were not seen
    assert found[6]["peak"]["exact"] is True  # it lived to the end


def test_the_page_has_a_row_for_each_of_two_hundred():
    page = html.render(made(count=200))
    assert page.count('<tr data-begin="') == 200
    assert "200 processes" in page


def test_small_children_are_in_page_and_document_alone():
    """Importing torch starts programs of some hundred KiB; nobody wants to read of them first."""
    recorded = with_children(recording(), ("ldconfig -p",), 1)
    sums = ("children.rss", "children.pss", "children.own")
    least = {name: replace(recorded.series[name], value=recorded.series[name].value // 50)
             for name in sums}  # fmt: skip
    analysis = analyze(replace(recorded, series={**recorded.series, **least}))
    assert not matters(analysis)
    shown = text.render(analysis)
    picture = words_of(draw(analysis, PALETTES["light"], 10.0, 100))
    for said in (shown, " ".join(picture)):
        assert "child" not in said
        assert "total." not in said
        assert "largest samples" not in said
    assert "ldconfig -p" in html.render(analysis)
    assert len(document.document(analysis)["processes"]) == 1


def test_of_the_sums_a_picture_explains_the_one_that_it_draws():
    words = " ".join(words_of(draw(made(), PALETTES["light"], 10.0, 100)))
    assert "not exact: total.once: " in words
    assert "children.rss" not in words


def test_a_sum_below_the_targets_own_memory_says_why():
    """Ranks of one host share torch's libraries, and PSS gives each its part of them."""
    recorded = with_children(recording(), WORKERS, 30, own=False)
    shared = {
        name: replace(recorded.series[name], value=recorded.series[name].value // 4)
        for name in ("total.pss", "children.pss")
    }
    once, each = sums(analyze(replace(recorded, series={**recorded.series, **shared})))
    assert "less than the target's RSS" in once.remark
    assert not each.remark
    assert not sums(made())[0].remark


@pytest.mark.parametrize("size", ["uss", "pss"])
def test_of_a_curve_of_uss_or_pss_no_sum_is_made_with_what_the_children_have_of_their_own(size):
    recorded = with_children(recording(), WORKERS, 3)
    host = recorded.series["host.rss"]
    channel = replace(host.channel, source=f"memory_profiler:psutil_{size}", exact=False)
    other = analyze(
        replace(recorded, series={**recorded.series, "host.rss": replace(host, channel=channel)})
    )
    assert [each.channel for each in sums(other)] == ["total.pss", "total.rss"]
