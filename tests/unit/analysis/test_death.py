"""What a run died of, concluded from counts, limits and the last readings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import MS, recording

from timeline import analyze
from timeline.recording.types import Channel, Kills, Limit, Raised, Series
from timeline.views.ending import death_sentences, headroom_sentence

MiB = 1 << 20
CGROUP = "/sys/fs/cgroup/job"
LIMIT = Limit("cgroup", 2000 * MiB, "cgroup.used", f"{CGROUP}/memory.max")
AROUND = Limit("cgroup", 3000 * MiB, "cgroup.used", "/sys/fs/cgroup/memory.max")
MACHINE = Limit("machine", 8000 * MiB, "machine.used", "MemTotal")


def run(end="killed", *, signal="SIGKILL", code=None, used=None, channel="cgroup.used", **more):
    made = recording(samples=300, phases=50, end=end)
    how = {"signal": signal} if end == "killed" else {"exit_code": code, "signal": None}
    made = replace(made, run=replace(made.run, **how), limits=(LIMIT, AROUND, MACHINE))
    if used is not None:
        host = made.series["host.rss"]
        value = np.array(used, np.int64) * MiB
        t = host.t_ns[-len(used) :]
        none = np.full(len(used), -1, np.int64)
        known = Channel(channel, "byte", "cgroup v2", False)
        series = Series(known, t, t, value, none, np.zeros(len(used), np.int64))
        made = replace(made, series={**made.series, channel: series})
    return replace(made, **more)


def death(made):
    return analyze(made).death


def kills(*places):
    """Of (path, kills, strikes, peak)."""
    return tuple(Kills(path, n, strikes, peak=peak) for path, n, strikes, peak in places)


def test_the_cgroup_whose_limit_was_reached_is_named_not_the_victims():
    told = death(
        run(kills=kills((f"{CGROUP}/x", 1, 0, -1), (CGROUP, 1, 1, 2000 * MiB), ("", 1, 0, -1)))
    )
    assert (told.cause, told.limited, told.limit) == ("oom-cgroup", CGROUP, 2000 * MiB)
    assert "killed by the cgroup's OOM killer at 1.95 GiB of 1.95 GiB" in told.sentence


def test_without_a_limit_that_was_reached_it_was_the_machines():
    counted = kills((CGROUP, 1, 0, 500 * MiB), ("", 1, 0, -1))
    told = death(run(kills=counted, used=[7000, 7990], channel="machine.used"))
    assert (told.cause, told.limit) == ("oom-machine", 8000 * MiB)
    assert "for want of memory in the whole machine at 7.80 GiB of 7.81 GiB" in told.sentence


def test_without_a_count_of_its_own_cgroup_a_machines_kill_may_have_been_anybody():
    told = death(run(kills=kills(("", 1, 0, -1))))
    assert (told.cause, told.certain) == ("oom-machine", False)
    assert told.sentence.startswith("very probably killed by the kernel's OOM killer")


def test_a_kill_elsewhere_on_the_machine_is_not_ours():
    told = death(run(kills=kills((CGROUP, 0, 3, 2000 * MiB), ("", 4, 0, -1))))
    assert told.cause == "signal"
    assert told.evidence.startswith("not the kernel's OOM killer")


def test_a_signal_of_its_own_is_not_the_oom_killers_even_if_a_child_was_taken():
    told = death(run(signal="SIGSEGV", kills=kills((CGROUP, 1, 1, 2000 * MiB))))
    assert told.sentence.startswith("killed by SIGSEGV")


@pytest.mark.parametrize(
    ("last", "cause"), [(1899, "cut-off"), (1901, "oom-probable"), (2000, "oom-probable")]
)
def test_a_run_that_stops_at_its_limit_without_a_word_very_probably_died_of_it(last, cause):
    told = death(run("cut-off", used=[500, last]))
    assert (told.cause, told.certain) == (cause, False)


def test_soft_limits_kill_nobody():
    soft = replace(LIMIT, name="cgroup.high")
    told = death(run("cut-off", used=[500, 1990], limits=(soft,)))
    assert told.cause == "cut-off"


def test_a_program_that_failed_after_a_child_was_taken_says_both():
    raised = Raised(0, "RuntimeError", "DataLoader worker (pid 7) is killed", "train.py:3")
    made = run("exited", code=1, raised=raised, kills=kills((CGROUP, 1, 1, 2000 * MiB)))
    told = death(replace(made, raised=replace(raised, t_ns=made.run.ended_ns)))
    assert told.cause == "oom-other"
    assert told.sentence.startswith(
        "exited with code 1: RuntimeError (train.py:3) after the cgroup's OOM killer took a process"
    )


def test_a_good_end_is_no_death_and_leaves_the_headroom_of_the_tightest_limit():
    analysis = analyze(run("exited", code=0, used=[500, 1500, 900]))
    assert analysis.death is None
    assert analysis.ending == "exited with code 0"
    nearest = analysis.headroom[0]
    assert (nearest.limit, nearest.peak, nearest.room) == (LIMIT, 1500 * MiB, 500 * MiB)
    # Of nested cgroups one alone counts.
    assert [each.limit.name for each in analysis.headroom] == ["cgroup"]


def test_the_last_seconds_end_where_the_exception_left_its_phase():
    made = run("exited", code=1)
    phase = 30
    raised = Raised(made.run.ended_ns, "MemoryError", "", "train.py:3", phase)
    told = death(replace(made, raised=raised))
    host = made.series["host.rss"]
    end = made.marks.t_ns[(made.marks.phase == phase) & (made.marks.kind == 1)][0]
    last = host.value[host.t_ns <= end][-1]
    assert abs(told.bytes - last) < 40 * MiB
    assert told.phase == made.marks.names[phase % 5]
    assert len(told.grew) <= 3
    assert 9 * MS < end - made.run.started_ns < made.run.ended_ns - made.run.started_ns


def words(made):
    analysis = analyze(made)
    return " ".join([*death_sentences(analysis), headroom_sentence(analysis)])


def test_the_page_cache_in_a_peak_is_told_since_it_is_taken_back():
    made = run("exited", code=0, used=[500, 1500])
    series = made.series["cgroup.used"]
    cache = replace(
        series,
        channel=replace(series.channel, name="cgroup.cache"),
        value=series.value // 3,
    )
    made = replace(made, series={**made.series, "cgroup.cache": cache})
    assert "Headroom 500.0 MiB" in words(made)
    assert "of which 500.0 MiB was page cache, which the kernel takes back" in words(made)


def test_the_machines_room_is_told_only_where_little_is_left():
    far, near = ([1000, 6000], [1000, 7000])
    assert words(run("exited", code=0, used=far, channel="machine.used", limits=(MACHINE,))) == ""
    said = words(run("exited", code=0, used=near, channel="machine.used", limits=(MACHINE,)))
    assert said.startswith("Headroom 1000 MiB")


def test_an_exception_without_a_text_needs_no_second_sentence():
    raised = Raised(0, "ValueError", "", "train.py:3")
    made = run("exited", code=1, limits=())
    assert words(replace(made, raised=replace(raised, t_ns=made.run.ended_ns))) == ""
