"""Which rank a process is, and how ranks come to one directory without a word between them."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import pytest

from timeline.errors import RecordingExistsError
from timeline.recorder.directory import make_directory
from timeline.recorder.ranks import rank_of

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "GROUP_RANK": "1",
    "TORCHELASTIC_RUN_ID": "job7",
    "TORCHELASTIC_RESTART_COUNT": "2",
    "MASTER_ADDR": "node0",
    "MASTER_PORT": "29500",
}


def torchrun(rank=0, world=2, **more):
    names = {"run": "TORCHELASTIC_RUN_ID", "restart": "TORCHELASTIC_RESTART_COUNT"}
    own = {"RANK": str(rank), "WORLD_SIZE": str(world), "TORCHELASTIC_RESTART_COUNT": "0"}
    return rank_of({**TORCHRUN, **own, **{names[key]: str(each) for key, each in more.items()}})


def join(tmp_path, rank, wanted="", force=False):
    path = str(tmp_path / wanted) if wanted else ""
    return Path(make_directory(path, "train", numbered=not wanted, force=force, rank=rank))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_torchrun_says_who_a_rank_is():
    rank = rank_of(TORCHRUN)
    assert (rank.rank, rank.world, rank.local, rank.node) == (3, 8, 1, 1)
    assert (rank.run, rank.restart, rank.master) == ("job7", 2, "node0:29500")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (
            {
                "SLURM_PROCID": "5",
                "SLURM_STEP_NUM_TASKS": "16",
                "SLURM_LOCALID": "1",
                "SLURM_NODEID": "1",
                "SLURM_JOB_ID": "99",
                "SLURM_STEP_ID": "0",
                "SLURM_RESTART_COUNT": "1",
            },
            (5, 16, 1, 1, "99.0", 1),
        ),
        (
            {
                "OMPI_COMM_WORLD_RANK": "1",
                "OMPI_COMM_WORLD_SIZE": "4",
                "OMPI_COMM_WORLD_LOCAL_RANK": "1",
                "PMIX_NAMESPACE": "prterun-vm-1@1",
            },
            (1, 4, 1, None, "prterun-vm-1@1", 0),
        ),
        ({"PMI_RANK": "0", "PMI_SIZE": "2"}, (0, 2, None, None, "", 0)),
        ({"RANK": "1", "WORLD_SIZE": "2", "SLURM_JOB_ID": "7"}, (1, 2, None, None, "7", 0)),
    ],
)
def test_other_launchers_come_out_the_same(environ, expected):
    rank = rank_of(environ)
    found = (rank.rank, rank.world, rank.local, rank.node, rank.run, rank.restart)
    assert found == expected


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"RANK": "0", "WORLD_SIZE": "1"},
        {"RANK": "2", "WORLD_SIZE": "2"},
        {"RANK": "-1", "WORLD_SIZE": "2"},
        {"RANK": "zero", "WORLD_SIZE": "2"},
        {"RANK": "0"},
        # A batch script of eight tasks is itself one process.
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "7"},
    ],
)
def test_a_process_on_its_own_is_no_rank(environ):
    assert rank_of(environ) is None


def test_all_ranks_come_to_one_directory_named_by_run_and_restart(here):
    made = [join(here, torchrun(rank)) for rank in range(2)]
    assert made == [here / "train-job7-r0.timeline" / f"rank-000{rank}" for rank in range(2)]
    claim = json.loads((here / "train-job7-r0.timeline" / "ranks.json").read_text())
    assert claim == {
        "timeline": 1,
        "world": 2,
        "run": "job7",
        "restart": 0,
        "master": "node0:29500",
    }


def test_a_restart_is_kept_apart(here):
    join(here, torchrun(0))
    assert join(here, torchrun(0, restart=1)).parent.name == "train-job7-r1.timeline"
    assert join(here, torchrun(0), "out.timeline").parent.name == "out.timeline"
    again = join(here, torchrun(0, restart=1), "out.timeline")
    assert again.parent.name == "out-r1.timeline"


def test_the_same_restart_with_other_nodes_is_kept_apart(here):
    for wanted in ("", "out.timeline"):
        first = join(here, torchrun(0, 2), wanted)
        second = join(here, torchrun(0, 3), wanted)
        third = join(here, torchrun(0, 2), wanted)
        assert len({first.parent, second.parent, third.parent}) == 3
        assert join(here, torchrun(1, 3), wanted).parent == second.parent


def test_sixty_ranks_at_once_come_to_one_directory(here):
    # Two runs of the same name and restart at the same time, and without an id of their own.
    made: dict[tuple[int, int], Path] = {}
    start = threading.Barrier(60)

    def one(run: int, rank: int) -> None:
        environ = {"RANK": str(rank), "WORLD_SIZE": "30", "MASTER_PORT": str(run)}
        own = rank_of(environ)
        start.wait()
        made[run, rank] = join(here, own)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=one, args=(r, n)) for r in (1, 2) for n in range(30)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    sys.setswitchinterval(interval)
    places = [{made[run, rank].parent for rank in range(30)} for run in (1, 2)]
    assert [len(each) for each in places] == [1, 1]
    assert places[0] != places[1]
    assert len(set(made.values())) == 60


def test_another_runs_directory_is_not_touched_unasked(here):
    join(here, torchrun(0), "out")
    other = torchrun(0, run="job8")
    with pytest.raises(RecordingExistsError, match="holds another recording: choose another"):
        join(here, other, "out")
    (here / "mine").mkdir()
    (here / "mine" / "thesis.txt").write_text("dear")
    for force in (False, True):
        with pytest.raises(RecordingExistsError, match="is not a recording of ranks"):
            join(here, torchrun(0), "mine", force=force)


def test_force_overwrites_another_run_in_any_order_of_ranks(here):
    for rank in range(4):
        own = join(here, torchrun(rank, 4), "out")
        (own / "meta.json").write_text(json.dumps({"timeline": 1, "rank": {"run": "job7"}}))
        (own / "summary.json").write_text("{}")
    (here / "out" / "report.png").write_text("a picture")
    made = [join(here, torchrun(r, 2, run="job8"), "out", force=True) for r in (1, 0)]
    assert [each.name for each in made] == ["rank-0001", "rank-0000"]
    assert not any((each / "meta.json").exists() for each in made)
    assert sorted(p.name for p in (here / "out").glob("rank-*")) == ["rank-0000", "rank-0001"]
    assert json.loads((here / "out" / "ranks.json").read_text())["run"] == "job8"


def test_a_uuid_of_a_run_is_told_by_its_beginning(here):
    made = join(here, torchrun(0, run="98ce64ac-ea2b-4d91-bb6d-ee891f9f443a"))
    assert made.parent.name == "train-98ce64ac-r0.timeline"
