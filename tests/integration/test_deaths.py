"""What killed a run, and where: programs that really die, and what the report then opens with."""

from __future__ import annotations

import json
import sys

import pytest
from memory_cgroup import inside, memory_cgroup
from running import run

MiB = 1 << 20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's files are Linux's")

GROWS = """
import time
from timeline import phase
kept = []
for step in range(1000):
    with phase("step/forward"):
        kept.append(bytearray(6 << 20))
        time.sleep(0.004)
    with phase("step/backward"):
        kept.append(bytearray(4 << 20))
        time.sleep(0.004)
    with phase("step/optimizer"):
        time.sleep(0.002)
"""


def report(recording, tmp_path) -> tuple[dict, str]:
    """The document and the table of a recording, as somebody makes them later."""
    command = [sys.executable, "-m", "timeline", "report", str(recording)]
    table = run(command, cwd=tmp_path, env={"COLUMNS": "200"})
    assert table.code == 0, table.stderr
    return json.loads(run([*command, "--json"], cwd=tmp_path).stdout), table.stdout


def test_an_oom_kill_in_a_cgroup_is_named_with_its_limit(write_script, tmp_path):
    out = tmp_path / "run.timeline"
    command = [sys.executable, "-m", "timeline", "-o", str(out), "--no-charts"]
    with memory_cgroup(300 * MiB) as cgroup:
        ended = run(inside(cgroup, [*command, str(write_script(GROWS))]), cwd=tmp_path)
        document, table = report(out, tmp_path)
    assert ended.code == -9  # the launcher ends as the program did
    death = document["run"]["death"]
    assert (death["cause"], death["certain"]) == ("oom-cgroup", True)
    assert death["limit"] == 300 * MiB
    assert 290 * MiB < death["bytes"] <= 300 * MiB
    assert death["limited"] == cgroup.path
    first = table.splitlines()[0]
    assert "killed by the cgroup's OOM killer at " in first
    assert f"of 300.0 MiB, in step {death['step']}, " in first
    # 10 MiB a step: the launcher and this Python have some 30 of the 300.
    assert 20 <= death["step"] <= 31
    assert [each["path"] for each in death["grew"]] == ["step/forward", "step/backward"]
    assert document["run"]["headroom"][0]["room"] < MiB
