"""Ranks on hosts whose clocks differ, as far as one machine can be two: clocks that started at
another time (a time namespace), and a wall clock that is wrong (a library that shifts it). Files
are dated by the kernel's clock all the while, as by the server of a shared file system.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from running import begin

WRONG_S = 5
AHEAD_S = 86_400
MOST_ATTEMPTS = 6

# Every step both wait for each other, as ranks do that reduce their gradients.
PROGRAM = """
import os, sys, time
from timeline import phase
rank, other = int(os.environ["RANK"]), 1 - int(os.environ["RANK"])
os.environ.pop("LD_PRELOAD", None)
for step in range(12):
    time.sleep(0.04 if rank == 1 else 0.01)
    with phase("meet"):
        open(f"{step}.{rank}", "w").close()
        while not os.path.exists(f"{step}.{other}"):
            time.sleep(0.0005)
    with open(f"left.{rank}", "a") as left:
        print(time.monotonic_ns(), file=left)
"""

SHIFT = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
int clock_gettime(clockid_t which, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(which, t);
    if (which == CLOCK_REALTIME) t->tv_sec += %d;
    return done;
}
"""


@pytest.fixture(scope="module")
def two_hosts(tmp_path_factory) -> Path:
    """A directory of two ranks, the second of which runs where all clocks are others."""
    folder = tmp_path_factory.mktemp("hosts")
    namespace = ["unshare", "-T", "--monotonic", str(AHEAD_S)]
    if shutil.which("unshare") is None or subprocess.run([*namespace, "true"]).returncode:
        pytest.skip("no time namespace can be made here")
    if shutil.which("gcc") is None:
        pytest.skip("there is no compiler for the library that shifts the clock")
    library = folder / "shift.so"
    (folder / "shift.c").write_text(SHIFT % WRONG_S)
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-o", library, folder / "shift.c", "-ldl"], check=True
    )
    (folder / "train.py").write_text(PROGRAM)
    words = [sys.executable, "-m", "timeline", "--no-charts", "-o", "run", "../train.py"]
    for attempt in range(MOST_ATTEMPTS):
        here = folder / str(attempt)
        here.mkdir()
        running = []
        for rank in range(2):
            own = {"RANK": str(rank), "WORLD_SIZE": "2", "JOB_ID": "7"}
            preload = {"LD_PRELOAD": str(library)} if rank else {}
            command = [*namespace, *words] if rank else words
            running.append(begin(command, cwd=here, env={**own, **preload}))
        for each in running:
            _, err = each.communicate(timeout=60)
            assert each.returncode == 0, err
        if left_together(here):
            return here / "run"
    pytest.skip("this machine is too busy for two processes to meet at one moment")


def left_together(folder: Path) -> bool:
    """Whether the two left nearly all of their meetings within a moment of each other.

    On a busy machine one goes on long after the other, which nothing that they write down tells
    from a clock that runs unevenly.
    """
    ours, theirs = (
        list(map(int, (folder / f"left.{rank}").read_text().split())) for rank in (0, 1)
    )
    apart = sorted(theirs[i] - ours[i] for i in range(len(ours)))
    middle = apart[len(apart) // 2]
    return sum(abs(each - middle) < 1_000_000 for each in apart) >= len(apart) * 3 // 4


def report(run_python, directory) -> dict:
    ended = run_python("-m", "timeline", "report", directory, "--json")
    assert ended.code == 0, ended.stderr
    return json.loads(ended.stdout)


def edited(directory: Path, change) -> None:
    """Let `change` edit what each rank wrote down of itself, given its number."""
    for path in directory.glob("rank-*/*.json"):
        document = json.loads(path.read_text())
        change(document, int(path.parent.name[-4:]))
        path.write_text(json.dumps(document))


def slowest(document: dict) -> dict:
    (meet,) = (each for each in document["phases"] if each["path"] == "meet")
    return meet["slowest"]


def test_a_wrong_wall_clock_is_found_out_by_the_file_servers(two_hosts, run_python):
    document = report(run_python, two_hosts)
    first, second = document["ranks"]["clocks"]
    assert (first["method"], first["added_s"]) == ("same clock", 0)
    assert second["method"] == "file server"
    assert second["added_s"] == pytest.approx(-WRONG_S, abs=0.1)
    assert f"its wall clock is {WRONG_S}" in second["sentence"]
    assert "ahead" in second["sentence"]
    assert "common ends of meet" in second["sentence"]
    assert 0 < second["error_s"] < 0.1
    begun = [each["begin_s"] for each in document["ranks"]["ranks"]]
    # They were started within a moment, and not a day or five seconds apart.
    assert abs(begun[0] - begun[1]) < 4
    assert slowest(document)["rank"] == 1
    assert slowest(document)["behind_s"] == pytest.approx(0.03, abs=0.025)


def test_a_copy_that_lost_its_dates_is_the_same(two_hosts, run_python, tmp_path):
    for rank in ("rank-0001", "rank-0000"):
        # By hand, one after the other, without ranks.json.
        shutil.copytree(two_hosts / rank, tmp_path / "all" / rank, copy_function=shutil.copy)
    document = report(run_python, tmp_path / "all")
    assert document["ranks"]["world"] == 2
    assert document["ranks"]["clocks"] == report(run_python, two_hosts)["ranks"]["clocks"]


def test_without_a_common_file_system_the_phases_tell(two_hosts, run_python, tmp_path):
    shutil.copytree(two_hosts, tmp_path / "run")

    def on_its_own_disk(document, rank):
        document.get("rank", {})["place"] = str(rank)

    edited(tmp_path / "run", on_its_own_disk)
    document = report(run_python, tmp_path / "run")
    clock = document["ranks"]["clocks"][1]
    assert clock["method"] == "phases"
    assert clock["added_s"] == pytest.approx(-WRONG_S, abs=0.1)
    assert "a lag that is the same at each" in clock["sentence"]
    assert slowest(document)["rank"] == 1


def test_without_any_evidence_it_is_said_and_nobody_is_called_slow(two_hosts, run_python, tmp_path):
    shutil.copytree(two_hosts, tmp_path / "run")

    def without_files(document, rank):
        for key in ("started", "ended"):
            document.get(key, {}).pop("file_ns", None)

    edited(tmp_path / "run", without_files)
    for path in (tmp_path / "run").glob("rank-0001/events.*"):
        path.write_text(path.read_text().replace('"meet"', '"dance"'))
    document = report(run_python, tmp_path / "run")
    clock = document["ranks"]["clocks"][1]
    assert (clock["method"], clock["added_s"], clock["error_s"]) == ("wall clock", 0, None)
    assert "nothing tells whether it is right" in clock["sentence"]
    # Five seconds wrong, and nobody knows.
    begun = [each["begin_s"] for each in document["ranks"]["ranks"]]
    assert begun[1] - begun[0] == pytest.approx(WRONG_S, abs=4)
    assert not any(each["slowest"] for each in document["phases"])


def test_a_clock_alone_is_not_corrected_where_walls_agree(two_hosts, run_python, tmp_path):
    shutil.copytree(two_hosts, tmp_path / "run")

    def set_right(document, rank):
        for key in ("started", "ended"):
            if rank == 1 and key in document:
                document[key]["time_ns"] -= WRONG_S * 10**9

    edited(tmp_path / "run", set_right)
    document = report(run_python, tmp_path / "run")
    assert "its wall clock is right" in document["ranks"]["clocks"][1]["sentence"]
    assert slowest(document)["rank"] == 1
