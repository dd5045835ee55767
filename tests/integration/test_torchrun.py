"""Real torchrun with real ranks: recorded side by side, and as without timeline for everyone."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from running import begin, run

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


TRAINS = """
import torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
dist.init_process_group("gloo")
model = DistributedDataParallel(torch.nn.Linear(512, 512))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
def held(step):
    # More on rank 1, for as long as a step of it takes.
    return torch.ones((40 if dist.get_rank() == 1 else 8) << 18) if step == 4 else None
for step in range(8):
    more = held(step)
    loss = model(torch.randn(16, 512)).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
dist.destroy_process_group()
"""


def test_a_real_distributed_training_has_the_phases_of_every_rank(
    tmp_path, write_script, run_python
):
    write_script("", "pkg/__init__.py")
    write_script(TRAINS, "pkg/train.py")
    words = ["-m", "timeline", "--no-charts", "--anatomy", "off", "-m", "pkg.train"]
    ended = torchrun(tmp_path, *words, env={"OMP_NUM_THREADS": "1"})
    assert ended.code == 0, ended.stderr
    group = only(tmp_path)
    assert group.name.startswith("pkg.train-")
    said = document(run_python, group)
    phases = {each["path"]: each for each in said["phases"]}
    for path in ("step/forward", "step/backward", "step/optimizer"):
        assert phases[path]["ranks"] == 2, path
        assert phases[path]["count"] == 16, path
        assert phases[path]["peak"]["host.rss"]["exact"]
    forward = phases["step/forward"]["peak"]["host.rss"]["of_ranks"]
    assert forward["most_rank"] == 1
    assert forward["most"] - forward["least"] == pytest.approx(32 << 20, abs=16 << 20)


RESTARTED = """
import os, sys, time
from timeline import phase
rank, restart = os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]
for step in range(40):
    with phase("work"):
        time.sleep(0.02)
        if step == 10 and rank == "1" and restart == "0":
            os.kill(os.getpid(), 9)
"""


def test_a_rank_that_dies_is_shown_and_its_restart_is_kept_apart(
    tmp_path, write_script, run_python
):
    write_script("", "pkg/__init__.py")
    write_script(RESTARTED, "pkg/train.py")
    words = ["--max-restarts", "1", "-m", "timeline", "--no-charts", "-o", "out"]
    ended = torchrun(tmp_path, *words, "-m", "pkg.train")
    assert ended.code == 0, ended.stderr
    assert sorted(p.name for p in tmp_path.glob("out*")) == ["out", "out-r1"]
    first = document(run_python, tmp_path / "out")
    # torchrun ends the other rank, as it does without a recorder.
    assert [each["signal"] for each in first["ranks"]["ranks"]] == ["SIGTERM", "SIGKILL"]
    assert first["run"]["ending"].startswith("rank 1 killed by SIGKILL")
    assert first["ranks"]["ranks"][1]["in_phase"] == "work"
    second = document(run_python, tmp_path / "out-r1")
    assert second["run"]["restart"] == 1
    assert second["run"]["ending"] == "all exited with code 0"


FAILS = """
import os
from torch.distributed.elastic.multiprocessing.errors import record
@record
def main():
    raise ValueError(f"bad data on {os.environ['RANK']}")
main()
"""


def test_the_error_file_and_the_logs_are_torchruns_own(tmp_path, write_script):
    script = write_script(FAILS, "train.py")
    words = ["--log-dir", "logs", "--redirects", "3", "-m", "timeline", "--no-charts", script]
    ended = torchrun(tmp_path, *words, ranks=1)
    assert ended.code == 1
    assert "exitcode  : 1 " in ended.stderr
    assert "ValueError: bad data on 0" in ended.stderr.partition("Root Cause")[2]
    (said,) = tmp_path.glob("logs/*/attempt_0/0/stderr.log")
    assert "ValueError: bad data on 0" in said.read_text()
    assert "timeline: recorded in" in said.read_text()


STAYS = """
import os, signal, sys, time
def got(number, frame):
    os.write(1, f"rank {os.environ['RANK']} got {number}\\n".encode())
    sys.exit(3)
signal.signal(signal.SIGTERM, got)
os.write(1, b"up\\n")
time.sleep(60)
"""


def test_sigterm_of_the_launcher_comes_to_each_rank_once(tmp_path, write_script, run_python):
    script = write_script(STAYS, "train.py")
    process = begin(
        [*TORCHRUN, "2", "-m", "timeline", "--no-charts", "-o", "out", str(script)], cwd=tmp_path
    )
    heard = [process.stdout.readline() for _ in range(2)]
    assert heard == ["up\n", "up\n"]
    process.terminate()
    out, _ = process.communicate(timeout=60)
    assert sorted(out.splitlines()) == ["rank 0 got 15", "rank 1 got 15"]
    said = document(run_python, tmp_path / "out")
    assert [each["exit_code"] for each in said["ranks"]["ranks"]] == [3, 3]


IN_CODE = """
import os, time
import timeline
@timeline.record
def train():
    time.sleep(0.2)
train()
"""


def test_a_recorder_in_code_joins_the_other_ranks(tmp_path, write_script, run_python):
    script = write_script(IN_CODE, "train.py")
    ended = torchrun(tmp_path, script)
    assert ended.code == 0, ended.stderr
    group = only(tmp_path)
    assert {"rank-0000", "rank-0001", "report.png", "report.html"} <= set(os.listdir(group))
    assert ended.stderr.count("timeline: peak") == 1
    assert document(run_python, group)["ranks"]["world"] == 2
