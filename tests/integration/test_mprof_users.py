"""memory_profiler's users come home: real files of the real mprof, read and written."""

import re

import pytest
from synthetic import recording

import timeline
from timeline.interchange import mprof_writer

pytest.importorskip("memory_profiler")

PROFILED = """\
import time
@profile
def inner(size):
    block = b"x" * (size << 20)
    time.sleep(0.1)
    return block
@profile
def outer():
    return inner(60), inner(30)
@profile
def recursive(n):
    time.sleep(0.02)
    return n and recursive(n - 1)
if __name__ == "__main__":
    outer()
    recursive(2)
    with profile.timestamp("a named block"):
        time.sleep(0.05)
"""

CHILDREN = """\
import multiprocessing, time
def child(size):
    block = b"x" * (size << 20)
    time.sleep(0.7)
if __name__ == "__main__":
    children = [multiprocessing.Process(target=child, args=(n,)) for n in (30, 60)]
    for each in children:
        each.start()
    for each in children:
        each.join()
"""


@pytest.fixture
def mprof(run_python, tmp_path):
    def call(*words):
        ended = run_python("-m", "mprof", *words, env={"MPLBACKEND": "Agg"})
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended

    return call


def test_a_profiled_script_comes_with_its_functions(mprof, write_script, tmp_path):
    write_script(PROFILED, "profiled.py")
    mprof("run", "-T", "0.02", "-o", "run.dat", "profiled.py", "an argument")
    found = timeline.load(tmp_path / "run.dat")
    assert found.run.argv == ("profiled.py", "an argument")
    assert found.damage == ()
    analysis = timeline.analyze(found)
    counts = {each.path: each.count for each in analysis.phases}
    assert counts == {
        "__main__.outer": 1,
        "__main__.inner": 2,
        "__main__.recursive": 3,
        "a named block": 1,
    }
    depths = [int(lane) for lane in analysis.instances.lane]
    assert max(depths) == 2
    outer = next(each for each in analysis.phases if each.path == "__main__.outer")
    assert 85 << 20 < outer.peak["host.rss"].delta < 95 << 20


def test_the_peak_is_the_one_that_mprof_prints(mprof, write_script, tmp_path):
    write_script(CHILDREN, "children.py")
    mprof("run", "-M", "-T", "0.05", "-o", "run.dat", "children.py")
    printed = mprof("peak", "run.dat").stdout
    analysis = timeline.analyze(timeline.load(tmp_path / "run.dat"))
    ours = {each.channel.name: each.peak for each in analysis.channels}
    theirs = [float(each) for each in re.findall(r"([0-9.]+) MiB", printed)]
    assert ours.pop("host.rss") / (1 << 20) == pytest.approx(theirs[0], abs=0.001)
    assert len(ours) == 2
    assert sorted(each / (1 << 20) for each in ours.values()) == pytest.approx(
        sorted(theirs[1:]), abs=0.001
    )


def test_children_added_up_and_other_backends_are_read(mprof, write_script, tmp_path):
    write_script(CHILDREN, "children.py")
    mprof("run", "-C", "-T", "0.05", "-o", "sum.dat", "children.py")
    mprof("run", "--backend", "psutil_pss", "-T", "0.1", "-o", "pss.dat", "children.py")
    summed, pss = (timeline.load(tmp_path / name) for name in ("sum.dat", "pss.dat"))
    assert summed.series["host.rss"].value.max() > 90 << 20
    assert len(pss.series["host.rss"]) > 2


def png(path):
    return path.read_bytes().startswith(b"\x89PNG")


def test_mprof_draws_what_we_export(mprof, tmp_path):
    ours = recording(
        300, 40, paths=("load", "two words", "$cash$ & $\\frac$", "_hidden", "a.b.", "")
    )
    mprof_writer.write(ours, tmp_path / "ours.dat")
    peak = timeline.analyze(ours).channels[0].peak / (1 << 20)
    assert f"{peak:.3f} MiB" in mprof("peak", "ours.dat").stdout
    for name, options in (("brackets.png", ()), ("flame.png", ("--flame",))):
        ended = mprof("plot", *options, "-o", name, "ours.dat")
        assert ended.code == 0, ended.stderr
        assert png(tmp_path / name)


def test_mprof_draws_what_it_could_not_draw_itself(mprof, write_script, run_python, tmp_path):
    # mprof fails on its own file where a block's name has a space in it.
    write_script(PROFILED, "profiled.py")
    mprof("run", "-T", "0.05", "-o", "run.dat", "profiled.py")
    run_python("-m", "timeline", "export", "run.dat", "--to", "mprof", "-o", "better.dat")
    assert mprof("plot", "-o", "x.png", "better.dat").code == 0
    assert png(tmp_path / "x.png")


def test_a_recording_of_ours_goes_to_mprof_with_its_exact_peak(
    mprof, write_script, run_timeline, run_python, tmp_path
):
    script = write_script(
        "import timeline\n"
        "with timeline.phase('a spike'):\n    block = b'x' * (150 << 20)\n    del block\n"
    )
    ended = run_timeline(script)
    exported = run_python("-m", "timeline", "export", ended.recording, "--to", "mprof")
    assert exported.code == 0, exported.stderr
    [path] = tmp_path.glob("mprofile_" + "?" * 14 + ".dat")
    analysis = timeline.analyze(timeline.load(ended.recording))
    assert f"{analysis.channels[0].peak / (1 << 20):.3f} MiB" in mprof("peak").stdout
    assert mprof("plot", "-o", "x.png").code == 0
    back = timeline.analyze(timeline.load(path))
    assert [each.path for each in back.phases] == ["a spike"]
    assert back.channels[0].peak == analysis.channels[0].peak


def test_profile_left_in_a_script_does_no_harm(write_script, run_timeline, run_python):
    script = write_script("from memory_profiler import profile\n" + PROFILED.split("if __name__")[0]
                          + "outer()\nprint('done')\n")  # fmt: skip
    ended = run_timeline(script)
    assert ended.code == 0, ended.stderr
    assert ended.stdout.endswith("done\n")
    assert "Peak" in ended.stderr


def test_profile_without_an_import_makes_phases_as_under_mprof(write_script, run_timeline):
    script = write_script(
        "@profile\ndef inner():\n    pass\n@profile\ndef outer():\n    inner()\nouter()\n"
    )
    ended = run_timeline(script)
    assert ended.code == 0, ended.stderr
    analysis = timeline.analyze(timeline.load(ended.recording))
    assert [each.path for each in analysis.phases] == ["outer", "inner"]


def test_importing_timeline_does_not_import_memory_profiler(run_python):
    ended = run_python("-c", "import sys, timeline; timeline.load; print(*sys.modules)")
    assert "memory_profiler" not in ended.stdout.split()
