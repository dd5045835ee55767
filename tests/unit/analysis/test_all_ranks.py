"""All ranks of a run as one: checked against a plain look at every reading of every rank."""

from __future__ import annotations

import random

import pytest
from ranks_on_disk import MS, write_rank

from timeline.analysis import ranks as merging
from timeline.analysis.rank_words import ranks_named
from timeline.analysis.ranks import analyze_ranks
from timeline.errors import NoRecordingError
from timeline.recording.group import find_group
from timeline.recording.types import UNKNOWN

MiB = 1 << 20


def analyzed(path):
    group = find_group(path)
    assert group is not None
    return analyze_ranks(group)


def steps(rank, count=10, late=0, step=100 * MS):
    """Phases of a training whose ends all ranks leave together."""
    out = []
    for i in range(count):
        out.append(("forward", i * step + late, i * step + 60 * MS))
        out.append(("backward", i * step + 60 * MS + late, i * step + 90 * MS))
    return out


def rows(count, size=lambda i: MiB, pace=10 * MS, high=0):
    return [(i * pace + 1, size(i), size(i) + high) for i in range(count)]


def test_the_rank_with_the_peak_and_the_imbalance_are_named(tmp_path):
    for rank in range(5):
        write_rank(tmp_path, rank, rows(20, lambda i, r=rank: (10 + r) * MiB), world=5)
    write_rank(tmp_path, 5, rows(20, lambda i: (99 if i == 7 else 10) * MiB), world=6)
    analysis = analyzed(tmp_path)
    peak = analysis.peak
    assert (peak.most_rank, peak.most) == (5, 99 * MiB)
    assert (peak.least_rank, peak.least) == (0, 10 * MiB)
    assert peak.median == 12 * MiB
    assert peak.imbalance == pytest.approx(99 / 12)
    top = analysis.rank(5).peaks["host.rss"]
    assert (top.bytes, top.exact) == (99 * MiB, True)
    assert top.t_ns == 7 * 10 * MS + 1


@pytest.mark.parametrize("seed", range(5))
def test_buckets_keep_the_exact_extremes_of_every_rank(tmp_path, seed):
    chance = random.Random(seed)
    truth = {}
    for rank in range(3):
        t, own = 0, []
        for _ in range(chance.randrange(1, 6000)):
            t += chance.randrange(1, 20 * MS)
            size = chance.randrange(1, 1 << 40)
            own.append((t, size, size + chance.randrange(1 << 20)))
        truth[rank] = own
        write_rank(tmp_path, rank, own, world=3)
    curves = analyzed(tmp_path).curves
    assert curves.ranks == (0, 1, 2)
    for rank, own in truth.items():
        low, high = {}, {}
        for t, size, most in own:
            at = t // curves.width_ns
            low[at], high[at] = min(low.get(at, size), size), max(high.get(at, most), most)
        row = curves.row(rank)
        for at in range(len(curves.begin_ns)):
            assert curves.low[row, at] == low.get(at, UNKNOWN)
            assert curves.high[row, at] == high.get(at, UNKNOWN)
    _, _, most = curves.envelope()
    assert most.max() == max(high for own in truth.values() for _, _, high in own)


def test_the_slowest_into_each_phase_is_who_came_last(tmp_path):
    for rank in range(4):
        late = 20 * MS if rank == 2 else rank * 1000
        write_rank(tmp_path, rank, rows(100), world=4, phases=steps(rank, late=late))
    phases = {each.path: each for each in analyzed(tmp_path).phases}
    for path in ("forward", "backward"):
        slowest = phases[path].slowest
        assert (slowest.rank, slowest.times, slowest.of) == (2, 10, 10)
        assert slowest.behind_ns == 20 * MS
        assert slowest.told
        assert slowest.one
    assert phases["forward"].count == 40


def test_who_is_last_by_chance_is_not_called_slow(tmp_path):
    chance = random.Random(1)
    for rank in range(8):
        late = [(p, b + chance.randrange(5 * MS), e) for p, b, e in steps(rank, count=60)]
        write_rank(tmp_path, rank, rows(600), world=8, phases=late)
    assert not any(each.slowest.one for each in analyzed(tmp_path).phases)


def test_hosts_with_wrong_walls_and_other_boots_come_onto_one_clock(tmp_path):
    wrong = 3_217 * MS
    for rank in range(4):
        node = rank // 2
        write_rank(
            tmp_path,
            rank,
            rows(100),
            world=4,
            node=node,
            boot_ns=10**12 + node * 10**15,
            wrong_ns=node * wrong,
            phases=steps(rank, late=7 * MS if rank == 3 else 0),
        )
    analysis = analyzed(tmp_path)
    clock = analysis.clocks[1]
    assert (clock.method, clock.ranks) == ("phases", (2, 3))
    assert clock.shift_ns == pytest.approx(-wrong, abs=2 * MS)
    assert 0 < clock.error_ns < 10 * MS
    assert {each.begin_ns for each in analysis.ranks} <= set(range(-2 * MS, 2 * MS))
    assert analysis.phases[0].slowest.rank == 3


def test_ranks_that_do_not_wait_for_each_other_correct_no_clock(tmp_path):
    # The k-th step of one is not the k-th of the other: what their ends say is nothing.
    write_rank(tmp_path, 0, rows(100), phases=steps(0))
    slow = [(path, 2 * begin, 2 * end) for path, begin, end in steps(1)]
    write_rank(tmp_path, 1, rows(200), node=1, boot_ns=10**15, phases=slow)
    clock = analyzed(tmp_path).clocks[1]
    assert (clock.method, clock.shift_ns, clock.error_ns) == ("wall clock", 0, UNKNOWN)


def test_where_the_file_server_says_so_a_lag_is_a_lag(tmp_path):
    # As in a pipeline: the second host does everything 40 ms after the first.
    write_rank(tmp_path, 0, rows(100), phases=steps(0), place="12")
    late = [(p, b + 40 * MS, e + 40 * MS) for p, b, e in steps(1)]
    write_rank(
        tmp_path, 1, rows(100), node=1, boot_ns=10**15, wrong_ns=2000 * MS, phases=late, place="12"
    )
    clock = analyzed(tmp_path).clocks[1]
    assert (clock.method, clock.shift_ns) == ("file server", -2000 * MS)
    assert "common" not in clock.sentence


def test_deaths_absences_and_strangers_are_told(tmp_path):
    world = {"world": 8}
    for rank in (0, 1, 2, 4):
        write_rank(tmp_path, rank, rows(10), **world)
    killed = {"end": "killed", "signal": "SIGKILL"}
    open_phase = [("backward", 5 * MS, None)]
    write_rank(tmp_path, 3, rows(5), ended=killed, phases=open_phase, **world)
    write_rank(tmp_path, 6, rows(6), ended={}, **world)
    write_rank(tmp_path, 7, rows(7), ended={"end": "exited", "exit_code": 3}, **world)
    (tmp_path / "rank-0004" / "meta.json").unlink()
    analysis = analyzed(tmp_path)
    assert analysis.world == 8
    assert analysis.absent == (5,)
    dead = analysis.rank(3)
    assert (dead.failed, dead.signal, dead.in_phase) == (True, "SIGKILL", "backward")
    assert [each.rank for each in analysis.ranks if each.failed] == [3, 6, 7]
    # Its meta.json is gone, and summary.json has a moment on all clocks, too.
    assert abs(analysis.rank(4).begin_ns) < MS
    assert analysis.notes == ("parts of the recording are lost of rank 4",)
    assert analysis.duration_ns < 10**9
    assert "rank 3 killed by SIGKILL" in analysis.ending
    assert "rank 7 exited with code 3" in analysis.ending
    assert "4 exited with code 0" in analysis.ending
    assert "rank 5 not here" in analysis.ending


def test_a_clock_that_is_years_ahead_does_not_stretch_the_picture(tmp_path):
    write_rank(tmp_path, 0, rows(10))
    write_rank(tmp_path, 1, rows(10), node=1, boot_ns=10**15, wrong_ns=3 * 365 * 86_400 * 10**9)
    analysis = analyzed(tmp_path)
    assert "1095 d ahead, which cannot be" in analysis.clocks[1].sentence
    assert analysis.duration_ns < 10**9


def test_a_rank_that_cannot_be_read_costs_itself(tmp_path):
    write_rank(tmp_path, 0, rows(10))
    bad = write_rank(tmp_path, 1, rows(10))
    for path in bad.iterdir():
        path.write_bytes(b"\0")
    analysis = analyzed(tmp_path)
    assert list(analysis.unread) == [1]
    assert "rank 1 unreadable" in analysis.ending
    for path in (tmp_path / "rank-0000").iterdir():
        path.unlink()
    with pytest.raises(NoRecordingError, match="no rank that can be read"):
        analyzed(tmp_path)


def test_a_rank_of_another_run_among_them_is_named(tmp_path):
    for rank in range(3):
        write_rank(tmp_path, rank, rows(10), world=3, run="job8" if rank == 1 else "job7")
    (note,) = analyzed(tmp_path).notes
    assert note == "rank 1 of another run than the others: job8, restart 0"


def test_several_processes_find_what_one_does(tmp_path, monkeypatch):
    for rank in range(6):
        write_rank(tmp_path, rank, rows(50, lambda i, r=rank: r * i + 1), phases=steps(rank, 3))
    alone = analyzed(tmp_path)
    monkeypatch.setattr(merging, "ALONE", 2)
    together = analyzed(tmp_path)
    assert together.ranks == alone.ranks
    assert together.phases == alone.phases
    assert (together.curves.high == alone.curves.high).all()


def test_the_device_of_each_rank_is_one_channel(tmp_path):
    for rank in range(3):
        # The second has two, of which the fuller one counts.
        devices = {rank: (10 + rank) * MiB, 7: 50 * MiB} if rank == 1 else {rank: (10 + rank) * MiB}
        write_rank(tmp_path, rank, rows(5), world=3, devices=devices)
    (channel,) = analyzed(tmp_path).others
    assert channel.name == "gpu*.used"
    peak = channel.peak
    assert (peak.most, peak.most_rank, peak.least_rank) == (50 * MiB, 1, 0)
    assert peak.median == 12 * MiB
    assert not channel.exact


def test_ranks_in_words():
    assert ranks_named([3]) == "rank 3"
    assert ranks_named([3, 1, 2, 7]) == "ranks 1-3 and 7"
    assert ranks_named(range(0, 40, 2)) == "ranks 0, 2, 4, 6, 8, 10 and 14 more"
