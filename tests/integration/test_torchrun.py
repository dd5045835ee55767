"""Real torchrun with real ranks: recorded side by side, and as without timeline for everyone."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from running import run

pytestmark = pytest.mark.torch

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node"]

PROGRAM = r"""
import os, sys, time
import torch.distributed as dist, torch
dist.init_process_group("gloo")
rank = dist.get_rank()
from timeline import phase
for step in range(10):
    with phase("work"):
        time.sleep(0.03 if rank == 1 else 0.005)
    with phase("meet"):
        dist.all_reduce(torch.zeros(1))
os.write(1, f"rank {rank} {sys.argv[1:]}\n".encode())
dist.destroy_process_group()
"""


def torchrun(tmp_path, *words, ranks=2, **options):
    return run([*TORCHRUN, str(ranks), *map(str, words)], cwd=tmp_path, **options)


def only(tmp_path, pattern="*.timeline") -> Path:
    (found,) = tmp_path.glob(pattern)
    return found


def document(run_timeline_python, directory) -> dict:
    ended = run_timeline_python("-m", "timeline", "report", directory, "--json")
    assert ended.code == 0, ended.stderr
    return json.loads(ended.stdout)


def test_every_rank_is_recorded_into_one_directory(tmp_path, write_script, run_python):
    script = write_script(PROGRAM, "train.py")
    ended = torchrun(tmp_path, "-m", "timeline", "--no-charts", script, "a", "b")
    assert ended.code == 0, ended.stderr
    assert sorted(ended.stdout.split("\n")) == ["", "rank 0 ['a', 'b']", "rank 1 ['a', 'b']"]
    group = only(tmp_path)
    assert group.name.startswith("train-")
    assert group.name.endswith("-r0.timeline")
    assert sorted(os.listdir(group)) == ["rank-0000", "rank-0001", "ranks.json"]
    # Rank 0 alone speaks, and of both.
    assert ended.stderr.count("timeline: ") == 1
    assert f"timeline: recorded in {group}" in ended.stderr
    assert "train.py: 2 ranks on 1 host" in ended.stderr

    said = document(run_python, group)
    assert said["ranks"]["world"] == 2
    assert said["run"]["ending"] == "all exited with code 0"
    work = {each["path"]: each for each in said["phases"]}["meet"]
    assert work["ranks"] == 2
    assert work["count"] == 20
    assert work["slowest"]["rank"] == 1
    # One rank opens on its own.
    assert document(run_python, group / "rank-0001")["run"]["exit_code"] == 0
