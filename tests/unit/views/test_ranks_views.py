"""What is shown of all ranks: in every format, with two ranks and with hundreds."""

from __future__ import annotations

import json
import zlib
from base64 import b64decode

import pytest
from ranks_on_disk import MS, write_rank

from timeline.analysis.ranks import analyze_ranks
from timeline.recording.group import find_group
from timeline.views import png, ranks_html, ranks_json, ranks_text
from timeline.views.terminal import columns

MiB = 1 << 20
HOSTILE = "<img src=x onerror=window.broken=1>\x1b[2J\u202e"


def group(path, ranks, *, dead=(), name="work", absent=()):
    for rank in range(ranks):
        if rank in absent:
            continue
        size = (100 + rank % 7 + (500 if rank == 3 else 0)) * MiB
        phases = [(name, i * 20 * MS + (9 * MS if rank == 1 else 0), i * 20 * MS + 15 * MS)
                  for i in range(8)]  # fmt: skip
        rows = [(i * 10 * MS + 1, size, size + MiB) for i in range(16)]
        ended = {"end": "killed", "signal": "SIGKILL"} if rank in dead else None
        if rank in dead:
            phases[-1] = (*phases[-1][:2], None)
        write_rank(path, rank, rows, world=ranks, node=rank // 8, phases=phases, ended=ended)
    found = find_group(path)
    assert found is not None
    return analyze_ranks(found)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return group(tmp_path_factory.mktemp("few"), 4, dead=(2,), absent=(0,))


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return group(tmp_path_factory.mktemp("many"), 48, dead=(20, 30), absent=(40, 41))


def test_the_table_names_peak_imbalance_slowest_dead_and_absent(few):
    text = ranks_text.render(few, width=110)
    assert "train.py: 4 ranks on 1 host, 155 ms, rank 2 killed by SIGKILL" in text
    assert "rank 0 not here" in text
    assert "Peak 604.0 MiB on rank 3 (node0)" in text
    assert "Imbalance 5.86: median 103.0 MiB, least 102.0 MiB on rank 1" in text
    (dead,) = (line for line in text.splitlines() if line.startswith("     2 "))
    assert "SIGKILL at" in dead
    assert "in work" in dead
    (work,) = (line for line in text.splitlines() if line.strip().startswith("work"))
    assert "rank 1 in 8 of 8, 9.00 ms behind" in work
    assert "rank 0 has no recording here" in text


def test_many_ranks_are_told_by_their_extremes(many):
    text = ranks_text.render(many, width=120)
    ranks = [line.split()[0] for line in text.replace("▶", " ").splitlines() if " node" in line]
    numbers = [int(each) for each in ranks if each.isdigit()]
    assert {3, 20, 30, 1} <= set(numbers)
    assert len(numbers) < 20
    assert "half up to 104.0 MiB" in text
    assert "ranks 40-41 have no recordings here" in text
    assert "44 exited with code 0" in text


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("ascii", [False, True])
def test_no_line_is_longer_than_the_terminal(few, many, width, ascii):
    for analysis in (few, many):
        text = ranks_text.render(analysis, width=width, ascii=ascii)
        assert max(map(columns, text.splitlines())) <= width
        assert text.isascii() or not ascii


def test_the_document_keeps_the_keys_of_a_run_and_adds_ranks(few):
    said = json.loads(ranks_json.render(few))
    run = said["run"]
    assert said["timeline"] == 1
    assert (run["end"], run["exit_code"], run["signal"]) == ("killed", None, "SIGKILL")
    host = said["channels"]["host.rss"]
    assert (host["peak"], host["peak_rank"], host["samples"]) == (604 * MiB, 3, 48)
    (work,) = said["phases"]
    assert (work["path"], work["count"]) == ("work", 24)
    assert work["total_s"] > 0
    assert work["peak"]["host.rss"]["of_ranks"]["least_rank"] == 1
    assert work["slowest"]["rank"] == 1
    assert said["breakdown"] is None
    assert said["comparison"] == []
    ranks = said["ranks"]
    assert (ranks["world"], ranks["absent"]) == (4, [0])
    assert [each["rank"] for each in ranks["ranks"]] == [1, 2, 3]
    assert ranks["ranks"][1]["failed"] is True
    assert ranks["ranks"][1]["in_phase"] == "work"
    assert ranks["ranks"][0]["path"] == "rank-0001"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture_is_made_of_few_and_many(few, many, theme):
    for analysis in (few, many):
        assert png.render(analysis, theme=theme, dpi=60).startswith(b"\x89PNG")


def test_nothing_of_a_name_acts_in_any_view(tmp_path):
    analysis = group(tmp_path, 2, name=HOSTILE)
    text = ranks_text.render(analysis, width=200)
    assert "\x1b" not in text
    assert "\u202e" not in text
    page = ranks_html.render(analysis)
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=window.broken=1&gt;" in page
    assert png.render(analysis, dpi=60)


def test_the_page_holds_the_exact_extremes_and_stays_small(many, monkeypatch):
    page = ranks_html.render(many)
    assert len(page) < 200_000
    monkeypatch.setattr(ranks_html, "MOST_SIZES", 800)
    coarse = ranks_html.render(many)
    facts = json.loads(coarse.partition('id="facts">')[2].partition("</script>")[0])
    assert facts["buckets"] * len(facts["ranks"]) * 2 <= 800
    column = facts["columns"]["envelopeHigh"]
    packed = coarse.partition(f'id="pack-{column["pack"]}">')[2].partition("</script>")[0]
    raw = zlib.decompress(b64decode(packed), -15)
    planes = [raw[i * column["n"] : (i + 1) * column["n"]] for i in range(column["planes"])]
    folded = [sum(plane[i] << 8 * p for p, plane in enumerate(planes)) for i in range(column["n"])]
    total, values = 0, []
    for each in folded:
        total += (each >> 1) ^ -(each & 1)
        values.append(total)
    assert max(values) == many.peak.most


def test_a_rank_without_a_reading_breaks_no_view(tmp_path):
    for rank in range(2):
        write_rank(tmp_path, rank, [])
    analysis = analyze_ranks(find_group(tmp_path))
    assert "Peak unknown" in ranks_text.render(analysis)
    assert json.loads(ranks_json.render(analysis))["channels"] == {}
    assert png.render(analysis, dpi=60)
    assert "Not a single reading" in ranks_html.render(analysis)
