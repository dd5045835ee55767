"""Cgroups of both versions, nested, as the kernel's files have them."""

from __future__ import annotations

import os
import sys

import pytest
from memory_cgroup import memory_cgroup

from timeline.recorder.surroundings import Surroundings
from timeline.recording.cgroups import Cgroup, cgroups_of

MiB = 1 << 20

MEMINFO = "MemTotal: 8388608 kB\nMemFree: 1 kB\nMemAvailable: 4194304 kB\nSwapTotal: 0 kB\n"
LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max data size             unlimited            unlimited            bytes
Max address space         1073741824           unlimited            bytes
"""


@pytest.fixture
def machine(tmp_path):
    """A procfs and cgroup file systems of files; returns what writes one."""

    def write(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    write("proc/meminfo", MEMINFO)
    write("proc/vmstat", "nr_free_pages 7\noom_kill 5\n")
    write("proc/77/limits", LIMITS)
    return write


def version_2(machine, tmp_path, own="/jobs/train", root="/"):
    mount = f"31 23 0:27 {root} {tmp_path}/cg rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
    machine("proc/self/mountinfo", f"22 1 8:1 / / rw - ext4 /dev/sda rw\n{mount}")
    machine("proc/77/cgroup", f"0::{own}\n")
    machine("cg/cgroup.procs", "")  # the root has no memory.* of its own
    for path, most, high in (("jobs", "629145600", "max"), ("jobs/train", "max", "536870912")):
        machine(f"cg/{path}/memory.stat", "anon 100\nfile 70\nshmem 30\nkernel 9\nslab 5\n")
        machine(f"cg/{path}/memory.max", f"{most}\n")
        machine(f"cg/{path}/memory.high", f"{high}\n")
        machine(f"cg/{path}/memory.swap.max", "0\n")
        machine(f"cg/{path}/memory.current", "209715200\n")
        machine(f"cg/{path}/memory.peak", "419430400\n")
        machine(f"cg/{path}/memory.events", "low 0\nhigh 2\nmax 9\noom 4\noom_kill 3\n")
        machine(f"cg/{path}/memory.events.local", "low 0\nhigh 2\nmax 9\noom 1\noom_kill 0\n")
        machine(f"cg/{path}/memory.oom.group", "1\n" if path == "jobs" else "0\n")


def test_version_2_is_read_from_the_own_cgroup_outwards(machine, tmp_path):
    version_2(machine, tmp_path)
    found = cgroups_of(77, str(tmp_path / "proc"))
    assert [(each.path, each.version) for each in found] == [
        (f"{tmp_path}/cg/jobs/train", 2),
        (f"{tmp_path}/cg/jobs", 2),
    ]
    own, around = found
    assert (own.size("max"), own.size("high"), own.size("used")) == (None, 512 * MiB, 200 * MiB)
    # Victims with those of cgroups inside, the limit that was reached of this one alone.
    assert own.counts() == {"oom_kill": 3, "oom": 1}
    assert own.parts() == {"anon": 100, "cache": 40, "shared": 30, "kernel": 9}
    assert (own.kills_all(), around.kills_all()) == (False, True)
    assert own.identity() == os.stat(own.path).st_ino


def test_all_limits_around_a_process_are_found_and_the_tightest_counts(machine, tmp_path):
    version_2(machine, tmp_path)
    around = Surroundings(77, str(tmp_path / "proc"))
    found = {(each["name"], each["bytes"]): each["channel"] for each in around.limits}
    assert found == {
        ("cgroup.high", 512 * MiB): "cgroup.used",
        ("cgroup.swap", 0): "cgroup.swap",
        ("cgroup", 600 * MiB): "cgroup.used",
        ("RLIMIT_AS", 1 << 30): "host.virtual",
        ("machine", 8 << 30): "machine.used",
    }
    assert around.tightest.path == f"{tmp_path}/cg/jobs"
    counted = around.counted()
    assert counted["machine"] == {"available": 4 << 30, "swap_free": 0, "oom_kill": 5} or (
        counted["machine"] == {"available": 4 << 30, "oom_kill": 5}
    )
    assert [each["oom_kill"] for each in counted["cgroups"]] == [3, 3]
    assert counted["cgroups"][1]["group"] is True


def test_a_limit_over_the_machines_memory_is_none_that_counts(machine, tmp_path):
    version_2(machine, tmp_path)
    machine("cg/jobs/memory.max", str(1 << 40))
    assert Surroundings(77, str(tmp_path / "proc")).tightest is None


def test_a_container_sees_its_own_cgroup_at_the_root_of_the_mount(machine, tmp_path):
    version_2(machine, tmp_path, own="/", root="/")
    machine("cg/memory.stat", "anon 1\n")
    machine("cg/memory.max", "1048576\n")
    assert [each.path for each in cgroups_of(77, str(tmp_path / "proc"))] == [f"{tmp_path}/cg"]
    # Or by the path on its host, where the mount begins at that very cgroup.
    version_2(machine, tmp_path, own="/docker/abc", root="/docker/abc")
    assert cgroups_of(77, str(tmp_path / "proc"))[0].size("max") == MiB


def test_version_1_counts_where_both_are_mounted(machine, tmp_path):
    mounts = (
        f"35 31 0:32 / {tmp_path}/v1 rw - cgroup cgroup rw,memory\n"
        f"34 31 0:33 / {tmp_path}/cpu rw - cgroup cgroup rw,cpu\n"
        f"41 31 0:38 / {tmp_path}/cg rw - cgroup2 cgroup2 rw\n"
    )
    machine("proc/self/mountinfo", mounts)
    machine("proc/77/cgroup", "4:memory:/a b\n3:cpu:/\n0::/\n")
    machine("v1/a b/memory.stat", "cache 1\ntotal_cache 50\ntotal_rss 70\ntotal_shmem 20\n")
    machine("v1/a b/memory.limit_in_bytes", "314572800\n")
    machine("v1/a b/memory.memsw.limit_in_bytes", "9223372036854771712\n")
    machine("v1/a b/memory.kmem.usage_in_bytes", "4096\n")
    machine("v1/a b/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    machine("v1/a b/memory.failcnt", "11\n")
    (found,) = cgroups_of(77, str(tmp_path / "proc"))
    assert (found.version, found.size("max"), found.size("both")) == (1, 300 * MiB, None)
    assert found.counts() == {"oom_kill": 2, "oom": 11}
    assert found.parts() == {"anon": 70, "cache": 30, "shared": 20, "kernel": 4096}


def test_what_is_not_there_or_no_number_is_nothing(machine, tmp_path):
    assert cgroups_of(78, str(tmp_path / "proc")) == []
    machine("x/memory.max", "a lot\n")
    gone = Cgroup(str(tmp_path / "x"), 2)
    assert (gone.size("max"), gone.counts(), gone.parts(), gone.kills_all()) == (
        None,
        {},
        {},
        False,
    )
    assert Cgroup(str(tmp_path / "y"), 2).identity() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="cgroups are Linux's")
def test_the_kernels_own_cgroup_is_found_with_its_limit():
    with memory_cgroup(64 * MiB) as made:
        assert made.size("max") == 64 * MiB
        assert "oom_kill" in made.counts()
        assert made.size("used") is not None
