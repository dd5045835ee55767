import json
from dataclasses import replace

import numpy as np
import pytest
from synthetic import recording

from timeline.analysis.analyze import analyze
from timeline.recording.types import Marks
from timeline.views.json import document, render


def made(**options):
    analysis = analyze(recording(200, 20, **options))
    return analysis, json.loads(render(analysis))


def test_the_promised_keys_are_there():
    _, found = made()
    assert found["timeline"] == 1
    assert {"argv", "end", "exit_code", "signal", "missing"} <= found["run"].keys()
    assert {
        "unit", "samples", "peak", "peak_t_s", "peak_phase", "exact", "longest_gap_s"
    } <= found["channels"]["host.rss"].keys()  # fmt: skip
    assert {"path", "count", "total_s", "peak"} <= found["phases"][0].keys()
    assert {"bytes", "delta", "exact"} <= found["phases"][0]["peak"]["host.rss"].keys()
    assert found["breakdown"] is None
    assert found["comparison"] == []


def test_the_figures_are_those_of_the_analysis():
    analysis, found = made()
    assert found["duration_s"] == 2.0
    assert found["run"]["argv"] == ["train.py", "--epochs", "1"]
    assert (found["run"]["end"], found["run"]["exit_code"]) == ("exited", 0)
    host = analysis.channels[0]
    shown = found["channels"]["host.rss"]
    assert (shown["peak"], shown["samples"], shown["exact"]) == (host.peak, 200, True)
    assert shown["peak_t_s"] == host.peak_ns / 1e9
    assert [each["path"] for each in found["phases"]] == [each.path for each in analysis.phases]
    assert (
        found["phases"][0]["peak"]["host.rss"]["kept"] == analysis.phases[0].peak["host.rss"].kept
    )


def test_sizes_and_counts_are_whole_numbers():
    _, found = made()
    sizes = found["phases"][0]["peak"]["host.rss"]
    assert all(type(sizes[key]) is int for key in ("bytes", "delta", "kept"))
    assert type(found["phases"][0]["count"]) is int


def test_a_gap_and_an_inexact_peak_are_told():
    _, found = made(exact=False, gap=True)
    host = found["channels"]["host.rss"]
    assert host["exact"] is False
    assert "high-water mark" in host["reason"]
    assert len(host["gaps"]) == 1
    begin, end = host["gaps"][0]
    assert end - begin == pytest.approx(host["longest_gap_s"])


def test_without_a_reading_there_is_no_peak_and_no_zero():
    empty = recording(1, 0)
    series = empty.series["host.rss"]
    none = np.empty(0, np.int64)
    series = replace(series, begun_ns=none, t_ns=none, value=none, high=none, unseen=none)
    analysis = analyze(replace(empty, series={"host.rss": series}, marks=Marks.none()))
    host = document(analysis)["channels"]["host.rss"]
    assert (host["peak"], host["peak_t_s"], host["baseline"]) == (None, None, None)


def test_hostile_names_stay_data():
    names = ("</script>", 'quote " and \\', "\x1b[2J", "half \ud800", "数据")
    analysis = analyze(recording(50, 5, paths=names))
    printed = render(analysis)
    assert printed.isascii()
    assert [each["path"] for each in json.loads(printed)["phases"]] == list(names)
