from __future__ import annotations

import json

import numpy as np
import pytest
from invariants import check_invariants

from timeline.recording.format import (
    BLIND,
    HEADER_BYTES,
    HIGH_IS_KNOWN,
    HOST_FIELDS,
    LIMIT,
    SIZE_LIMIT,
    UNSEEN_SHIFT,
)
from timeline.recording.reader import load_directory
from timeline.recording.samples import _longest_in_order
from timeline.recording.types import UNKNOWN


def row(i, t=None, rss=4096, hwm=8192, flags=HIGH_IS_KNOWN, read=3):
    return (1000 + 10 * i if t is None else t, read, flags, rss, hwm)


def test_rows_come_back_as_they_were_written(load_rows):
    recording = load_rows([row(i, rss=i, hwm=i + 7) for i in range(50)])
    series = recording.series["host.rss"]
    assert series.t_ns.tolist() == [1000 + 10 * i for i in range(50)]
    assert series.begun_ns.tolist() == [997 + 10 * i for i in range(50)]
    assert series.value.tolist() == list(range(50))
    assert series.high.tolist() == [i + 7 for i in range(50)]
    assert series.channel.exact
    assert not series.unseen[:-1].any()
    # Nobody wrote an end: whoever sampled may have taken one more reading, and not kept it.
    assert series.unseen[-1] == LIMIT
    check_invariants(recording)


def test_a_torn_last_row_is_dropped(load_rows, golden):
    load_rows([row(i) for i in range(5)])
    path = golden / "samples.host.npy"
    path.write_bytes(path.read_bytes()[:-1])
    recording = load_directory(golden)
    assert len(recording.series["host.rss"]) == 4
    assert "samples.host.npy: a torn last row was dropped" in recording.damage
    assert "samples.host.npy is cut: 1 row is not there" in recording.damage


def test_the_header_may_be_behind_the_rows(load_rows):
    recording = load_rows([row(i) for i in range(5)], finish=False)
    assert len(recording.series["host.rss"]) == 5
    assert not any("samples.host" in sentence for sentence in recording.damage)


def test_rows_that_the_summary_promises_and_that_are_not_there_are_told(golden):
    path = golden / "samples.host.npy"
    path.write_bytes(path.read_bytes()[: HEADER_BYTES + 32 * 50])
    assert load_directory(golden).damage == ("samples.host.npy is cut: 10 rows are not there",)


@pytest.mark.parametrize("wrong", [5, 1 << 50, 0, -4, LIMIT + 1, (1 << 63) - 1])
def test_one_impossible_time_costs_its_own_row_alone(load_rows, wrong):
    rows = [row(i) for i in range(20)]
    rows[7] = row(7, t=wrong)
    recording = load_rows(rows)
    assert recording.series["host.rss"].t_ns.tolist() == [
        1000 + 10 * i for i in range(20) if i != 7
    ]
    assert "1 of 20 rows is out of the order of time" in " ".join(recording.damage)
    check_invariants(recording)


def test_zeroes_after_the_rows_are_no_samples(load_rows, golden):
    # What a file system may leave where a machine lost its power.
    load_rows([row(i) for i in range(5)])
    with open(golden / "samples.host.npy", "ab") as file:
        file.write(bytes(32 * 100))
    recording = load_directory(golden)
    assert len(recording.series["host.rss"]) == 5
    check_invariants(recording)


def test_the_most_rows_that_are_in_order_are_kept():
    rng = np.random.default_rng(1)
    for _ in range(200):
        t = rng.integers(0, 12, rng.integers(1, 10))
        kept = _longest_in_order(t)
        assert (np.diff(kept) > 0).all()
        assert (np.diff(t[kept]) >= 0).all()
        assert len(kept) == longest_by_trying(t.tolist())


def longest_by_trying(t):
    best = [1] * len(t)
    for i in range(len(t)):
        best[i] = 1 + max((best[j] for j in range(i) if t[j] <= t[i]), default=0)
    return max(best)


def test_impossible_sizes_are_unknown(load_rows):
    rows = [
        row(0),
        row(1, rss=-7),
        row(2, rss=SIZE_LIMIT + 1, hwm=SIZE_LIMIT + 2),
        row(3, rss=9000),
    ]
    recording = load_rows(rows)
    series = recording.series["host.rss"]
    assert series.value.tolist() == [4096, UNKNOWN, UNKNOWN, 9000]
    assert series.high.tolist() == [8192, 8192, UNKNOWN, UNKNOWN]
    assert not series.channel.exact
    assert series.channel.reason == "2 of 4 samples carry no high-water mark"
    assert len(recording.damage) == 3 + 1  # and that the marks' files are gone is no damage


def test_a_mark_without_its_flag_is_unknown(load_rows):
    unknown, bounded = HIGH_IS_KNOWN | BLIND, HIGH_IS_KNOWN | BLIND | 3 << UNSEEN_SHIFT
    recording = load_rows([row(0), row(1, flags=0), row(2, flags=unknown), row(3, flags=bounded)])
    series = recording.series["host.rss"]
    assert series.high.tolist() == [8192, UNKNOWN, 8192, 8192]
    assert series.unseen.tolist() == [0, 0, LIMIT, 3 * 64 << 10]
    assert not series.channel.exact


def test_a_read_that_began_before_the_one_before_is_told(load_rows):
    recording = load_rows([row(0), row(1, read=500)])
    assert recording.series["host.rss"].begun_ns.tolist() == [997, 1010]
    assert "began before the one before" in " ".join(recording.damage)


def test_fields_of_a_later_day_are_passed_over(load_rows):
    fields = (*HOST_FIELDS[:2], ("later", "<i4"), *HOST_FIELDS[2:], ("more", "|u1"))
    rows = [(*row(i)[:2], 77, *row(i)[2:], 5) for i in range(5)]
    recording = load_rows(rows, fields)
    assert recording.series["host.rss"].value.tolist() == [4096] * 5
    assert list(recording.series) == ["host.rss", "children.rss"]


@pytest.mark.parametrize("place", [0, 7, 9, 20, 45, 100, 250])
@pytest.mark.parametrize("byte", [b"\x00", b"\n", b"9", b"'", b"\xff"])
def test_a_damaged_header_does_not_cost_the_rows_of_the_host(golden, place, byte):
    path = golden / "samples.host.npy"
    content = bytearray(path.read_bytes())
    content[place : place + 1] = byte
    path.write_bytes(content)
    recording = load_directory(golden)
    assert len(recording.series["host.rss"]) == 60
    check_invariants(recording)


def test_a_damaged_header_of_another_stream_costs_that_stream(golden):
    path = golden / "samples.children.npy"
    path.write_bytes(path.read_bytes().replace(b"'<i8'", b"'|O8'"))
    recording = load_directory(golden)
    assert len(recording.series["children.rss"]) == 0
    assert len(recording.series["host.rss"]) == 60
    assert "samples.children.npy cannot be read: its header is damaged" in recording.damage
    check_invariants(recording)


def test_without_meta_a_stream_names_its_channels(golden):
    (golden / "meta.json").unlink()
    recording = load_directory(golden)
    assert sorted(recording.series) == ["children.rss", "host.rss"]
    assert recording.series["host.rss"].channel.exact
    assert not recording.series["children.rss"].channel.exact
    check_invariants(recording)


def test_a_channel_whose_stream_is_misnamed_is_still_found(golden):
    path = golden / "meta.json"
    path.write_text(path.read_text().replace('"stream": "host"', '"stream": "h0st"'))
    recording = load_directory(golden)
    assert len(recording.series["host.rss"]) == 60
    assert "host.rss has no samples: there is no samples.h0st.npy" in recording.damage


def test_a_stream_cannot_lead_out_of_the_directory(golden, tmp_path, edit_json):
    (golden / "samples.host.npy").rename(tmp_path / "samples.x.npy")
    entry = {"stream": "../samples.x.npy/../../x", "value": "rss", "high": "hwm"}
    edit_json(golden / "meta.json", channels={"host.rss": entry})
    assert len(load_directory(golden).series["host.rss"]) == 0


def test_a_field_that_is_not_there_is_told(golden):
    path = golden / "meta.json"
    meta = json.loads(path.read_text())
    meta["channels"]["host.rss"]["value"] = "pss"
    path.write_text(json.dumps(meta))
    recording = load_directory(golden)
    assert (recording.series["host.rss"].value == UNKNOWN).all()
    assert "samples.host.npy has no whole numbers named 'pss'" in recording.damage
    check_invariants(recording)
