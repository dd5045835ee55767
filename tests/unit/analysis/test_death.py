"""What a run died of, concluded from counts, limits and the last readings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulated import World
from synthetic import MS, recording, with_children

from timeline import analyze
from timeline.recording.types import Channel, Kills, Kind, Limit, Raised, Series
from timeline.views import text as table
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
    """Of (path, kills, strikes, peak), the target's own cgroup first."""
    return tuple(
        Kills(path, n, strikes, peak=peak, own=not at and bool(path))
        for at, (path, n, strikes, peak) in enumerate(places)
    )


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


def test_a_kill_in_a_neighbours_cgroup_is_not_ours_though_the_one_around_counts_it_too():
    told = death(run(kills=kills((f"{CGROUP}/x", 0, 0, -1), (CGROUP, 1, 0, -1), ("", 1, 0, -1))))
    assert told.cause == "signal"


def test_a_run_that_stops_at_its_limit_did_not_die_of_it_where_the_count_stands_still():
    told = death(run("cut-off", used=[500, 1999], kills=kills((CGROUP, 0, 3, -1))))
    assert told.cause == "cut-off"
    assert told.evidence == (
        "the recorder was killed or had no room to write: the machine has not stopped; the OOM "
        "killer of its cgroup has not struck"
    )


def test_where_its_own_cgroup_is_gone_the_counts_around_it_clear_nobody():
    around = (Kills(CGROUP, 0, 0),)
    assert death(run("cut-off", used=[500, 1999], kills=around)).cause == "oom-probable"
    counted = (Kills(CGROUP, 2, 1, peak=2000 * MiB),)
    assert death(run(kills=counted)).cause == "oom-cgroup"


def test_a_child_that_was_taken_is_a_note_where_the_program_went_on():
    counted = kills((CGROUP, 2, 1, 2000 * MiB), ("", 9, 0, -1))
    good = analyze(run("exited", code=0, kills=counted))
    assert good.death is None
    (said,) = (note for note in good.notes if "OOM" in note)
    assert said.startswith(f"the OOM killer took 2 processes of {CGROUP} during the run, and not")
    crashed = analyze(run(signal="SIGSEGV", kills=counted))
    assert said in crashed.notes
    killed = analyze(run(kills=counted))
    assert not [note for note in killed.notes if "OOM" in note]
    assert killed.death.evidence == f"the OOM killer took 2 processes of {CGROUP} during the run"


def test_a_child_that_was_killed_is_named_beside_the_killer():
    made = with_children(run("exited", code=0), ("train.py",), 5)
    made = replace(
        made,
        kills=kills((CGROUP, 1, 1, 2000 * MiB)),
        processes=tuple(
            replace(each, name="pt_data_worker", signal="SIGKILL" if each.pid == 5001 else "")
            for each in made.processes
        ),
    )
    analysis = analyze(made)
    who = "; its child pt_data_worker (5001) ended by SIGKILL"
    assert [note for note in analysis.notes if note.endswith(f"and not this program{who}")]
    assert [each.signal for each in analysis.processes][:3] == ["", "SIGKILL", ""]
    failed = death(replace(made, run=replace(made.run, exit_code=1)))
    assert failed.evidence.endswith(who)


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


@pytest.mark.parametrize(("text", "dies"), [("", False), ("0", False), ("3", True)])
def test_a_good_exit_inside_of_what_is_recorded_is_no_death(text, dies):
    raised = Raised(0, "SystemExit", text, "train.py:3")
    assert (death(run("exited", raised=raised)) is not None) == dies


def test_a_program_that_left_in_the_middle_is_placed_where_it_was():
    made = run("exited", code=7)
    kept = made.marks.kind.copy()
    last = np.flatnonzero(kept == Kind.END)[-1]
    kept[last] = Kind.READING
    marks = replace(made.marks, kind=kept)
    made = replace(made, marks=marks, run=replace(made.run, seen_to_end=False))
    told = death(made)
    path = marks.names[int(marks.name[np.flatnonzero(kept == Kind.BEGIN)[-1]])]
    assert (told.cause, told.phase) == ("left", path)
    assert told.sentence.startswith("exited with code 7 at ")
    for more in ({"seen_to_end": True}, {"exit_code": 0}):
        assert death(replace(made, run=replace(made.run, **more))) is None


def test_where_the_marks_were_lost_no_place_is_told_and_open_phases_end_with_them():
    made = run(signal="SIGKILL")
    kind = made.marks.kind.copy()
    late = np.flatnonzero(kind == Kind.END)[20:]
    until = int(made.marks.t_ns[late[0]])
    rows = made.marks.t_ns < until
    cut = {
        key: getattr(made.marks, key)[rows]
        for key in ("kind", "begun_ns", "t_ns", "phase", "parent", "thread", "name", "rss", "high",
                    "unseen")
    }  # fmt: skip
    lost = replace(made, marks=replace(made.marks, **cut))
    assert death(lost).phase is not None
    lost = replace(lost, run=replace(lost.run, marks_until_ns=until))
    analysis = analyze(lost)
    assert (analysis.death.phase, analysis.death.step) == (None, 0)
    assert any("marks end after" in note for note in analysis.notes)
    assert "Never ended" not in table.render(analysis)
    open_ = analysis.instances.open
    assert open_.any()
    assert set(analysis.instances.end_ns[open_].tolist()) == {until - made.run.started_ns}


def test_an_exception_without_a_text_needs_no_second_sentence():
    raised = Raised(0, "ValueError", "", "train.py:3")
    made = run("exited", code=1, limits=())
    assert words(replace(made, raised=replace(raised, t_ns=made.run.ended_ns))) == ""


@pytest.mark.parametrize(
    ("begun", "place", "step"),
    [
        ((), "after step 2", 2),
        (("step/forward",), "in step 3, after its forward", 3),
        (("step/forward", "step/loss"), "in step 3, after its loss", 3),
        (("step/forward", "data"), "in step 3, after its forward", 3),
        (("inference",), "after step 2", 2),
    ],
)
def test_an_end_between_two_phases_is_in_the_step_that_had_begun(begun, place, step):
    world = World()
    for path in (*("step/forward", "step/backward", "step/optimizer") * 2, *begun):
        world.begin(path, exact=True)
        world.end(exact=True)
    world.sample()
    told = death(world.recording(how="killed", signal="SIGKILL"))
    assert told.sentence.endswith(f", {place}")
    assert (told.phase, told.step) == (None, step)
