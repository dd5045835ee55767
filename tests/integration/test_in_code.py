"""Recording from inside: `Recorder` and `@record` in real programs and with the real sampler."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from gpus import apart_from_gpus

from timeline import analyze, load
from timeline.recording.types import Kind

MiB = 1 << 20


@pytest.fixture
def run_code(write_script, run_python):
    """``run_code(text)`` runs a program that must end well; returns what it printed."""

    def run(text, *args, code=0, **options):
        ended = run_python(write_script(text), *args, **options)
        assert ended.code == code, ended.stderr
        return ended

    return run


def begun(recording):
    return [m.name for m in recording.marks if m.kind is Kind.BEGIN]


def only(directory):
    """The one recording in a directory."""
    (found,) = directory.glob("*.timeline")
    return load(found)


def test_a_recorded_function_is_a_recording_with_charts(run_code, tmp_path):
    ended = run_code(
        "import timeline\n"
        "@timeline.record\n"
        "def train():\n"
        "    with timeline.phase('load'):\n"
        "        x = bytearray(200 << 20); del x\n"
        "    timeline.mark('loaded')\n"
        "    return 'result'\n"
        "print(train())\n"
    )
    assert ended.stdout == "result\n"
    (directory,) = tmp_path.glob("train-*.timeline")
    assert {"report.png", "report.html"} <= set(os.listdir(directory))
    (line,) = ended.stderr.splitlines()
    assert line.startswith("timeline: peak 2")
    assert " in load; charts in " in line
    assert str(directory) in line
    analysis = analyze(load(directory))
    assert [p.path for p in analysis.phases] == ["train", "load"]
    load_phase = analysis.phases[1].peak["host.rss"]
    assert load_phase.exact
    assert 199 * MiB <= load_phase.delta <= 206 * MiB
    assert (apart_from_gpus(analysis.missing), analysis.notes) == ((), ())
    assert analysis.run.argv == (str(tmp_path / "script.py"),)


def test_calls_inside_a_recorded_call_are_phases_and_a_second_call_is_a_second_recording(
    run_code, tmp_path
):
    run_code(
        "import threading, timeline\n"
        "@timeline.record(charts=False)\n"
        "def inner(): pass\n"
        "@timeline.record(charts=False, name='fit')\n"
        "def outer(n):\n"
        "    inner()\n"
        "    t = threading.Thread(target=inner); t.start(); t.join()\n"
        "    if n: outer(n - 1)\n"
        "outer(1)\n"
        "outer(0)\n"
    )
    runs = sorted(tmp_path.glob("fit-*.timeline"), key=lambda path: path.stat().st_ino)
    assert len(list(tmp_path.glob("*.timeline"))) == len(runs) == 2
    phases = sorted((begun(load(path)) for path in runs), key=len)
    assert phases == [["fit", "inner", "inner"], ["fit", "inner", "inner", "fit", "inner", "inner"]]


def test_the_sampler_is_no_child_of_the_program(run_code, tmp_path):
    ended = run_code(
        "import os, timeline\n"
        "with timeline.Recorder('run', charts=False):\n"
        "    try:\n"
        "        print(os.wait())\n"
        "    except ChildProcessError:\n"
        "        print('no child')\n"
    )
    assert ended.stdout == "no child\n"
    assert load(tmp_path / "run").run.end == "exited"


def test_samples_are_taken_while_c_code_holds_the_gil(run_code, tmp_path):
    run_code(
        "import timeline\n"
        "with timeline.Recorder('run', charts=False):\n"
        "    sorted(range(3_000_000, 0, -1), key=float); x = 7 ** 2_000_000 % 10 ** 500_000\n"
    )
    series = load(tmp_path / "run").series["host.rss"]
    assert len(series) > 20


def test_a_spike_while_the_sampler_is_still_starting_is_seen(run_code, tmp_path):
    run_code(
        "import mmap, time, timeline\n"
        "with timeline.Recorder('run', charts=False), timeline.phase('early'):\n"
        "    with mmap.mmap(-1, 50 << 20) as m: m.write(bytes(50 << 20))\n"
        "    time.sleep(0.3)\n"
    )
    (early,) = analyze(load(tmp_path / "run")).phases
    assert early.peak["host.rss"].delta >= 49 * MiB
    assert early.peak["host.rss"].exact


def test_getrusage_tells_the_true_peak_while_and_after_it_records(run_code):
    ended = run_code(
        "import resource, time, timeline\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10\n"
        "x = bytearray(150 << 20); del x\n"
        "for _ in range(3):\n"
        "    before = peak()\n"
        "    with timeline.Recorder(charts=False):\n"
        "        with timeline.phase('a'): pass\n"
        "        time.sleep(0.2)\n"
        "        print(peak() >= before >= 150)\n"
        "    print(peak() >= before)\n"
        "x = bytearray(300 << 20); del x\n"
        "print(peak() >= 300)\n"
    )
    assert ended.stdout.split() == ["True"] * 7


def test_a_recording_by_the_launcher_absorbs_those_in_code(run_timeline, write_script, tmp_path):
    script = write_script(
        "import timeline\n"
        "@timeline.record\n"
        "def train(): pass\n"
        "with timeline.Recorder(name='whole') as r:\n"
        "    train()\n"
        "print(r.directory)\n"
    )
    ended = run_timeline(script)
    assert ended.code == 0, ended.stderr
    assert ended.stdout == f"{tmp_path / 'run.timeline'}\n"
    assert begun(load(ended.recording)) == ["whole", "train"]
    assert list(tmp_path.glob("*.timeline")) == [ended.recording]


def test_two_threads_that_call_at_once_share_one_recording(run_code, tmp_path):
    run_code(
        "import threading, timeline\n"
        "gate = threading.Barrier(8)\n"
        "done = threading.Barrier(8)\n"
        "@timeline.record(charts=False)\n"
        "def work():\n"
        "    done.wait()\n"
        "def go():\n"
        "    gate.wait()\n"
        "    work()\n"
        "threads = [threading.Thread(target=go) for _ in range(8)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
    )
    recording = only(tmp_path)
    assert begun(recording) == ["work"] * 8
    assert recording.run.end == "exited"


def test_a_generator_that_is_left_early_ended_well(run_code, tmp_path):
    run_code(
        "import timeline\n"
        "@timeline.record(charts=False, directory='left')\n"
        "def batches():\n"
        "    for i in range(3):\n"
        "        yield i\n"
        "for i in batches():\n"
        "    break\n"
    )
    recording = load(tmp_path / "left")
    assert recording.raised is None
    assert begun(recording) == ["batches"]


def test_async_functions_and_generators_record_too(run_code, tmp_path):
    run_code(
        "import asyncio, timeline\n"
        "@timeline.record(charts=False, directory='async')\n"
        "async def main():\n"
        "    await asyncio.gather(*(part(n) for n in range(3)))\n"
        "async def part(n):\n"
        "    with timeline.phase(f'part {n}'):\n"
        "        await asyncio.sleep(0.05)\n"
        "@timeline.record(charts=False, directory='generator')\n"
        "def batches():\n"
        "    yield from range(3)\n"
        "asyncio.run(main())\n"
        "for _ in batches():\n"
        "    with timeline.phase('use'): pass\n"
    )
    assert begun(load(tmp_path / "async")) == ["main", "part 0", "part 1", "part 2"]
    assert begun(load(tmp_path / "generator")) == ["batches", "use", "use", "use"]


def test_children_of_a_recorded_program_work_and_stay_silent(run_code, tmp_path):
    ended = run_code(
        "import multiprocessing as mp, os, sys, timeline\n"
        "@timeline.record(charts=False)\n"
        "def double(x): return 2 * x\n"
        "@timeline.record(charts=False, directory='run')\n"
        "def main():\n"
        "    for method in ('fork', 'spawn'):\n"
        "        with mp.get_context(method).Pool(2) as pool:\n"
        "            print(pool.map(plain if method == 'spawn' else double, range(4)))\n"
        "    double(1)\n"
        "def plain(x): return 2 * x\n"
        "if __name__ == '__main__': main()\n"
    )
    assert ended.stdout == "[0, 2, 4, 6]\n" * 2
    assert ended.stderr == ""
    assert begun(load(tmp_path / "run")) == ["main", "double"]
    assert os.listdir(tmp_path).count("run") == 1
    assert not list(tmp_path.glob("*.timeline"))


WORKERS = """
import multiprocessing as mp, os, sys, timeline
@timeline.record(charts=False)
def double(x): return 2 * x
def with_a_recorder(x):
    with timeline.Recorder(f'child-{x}', charts=False): return 2 * x
def loaded(): double(21)
if __name__ == '__mp_main__': loaded()
if __name__ == '__main__':
    for method in ('fork', 'spawn', 'forkserver'):
        with mp.get_context(method).Pool(2) as pool:
            print(pool.map(double, range(4), chunksize=1))
    with mp.get_context('spawn').Pool(1) as pool:
        print(pool.map(with_a_recorder, range(2)))
    if not os.fork():
        double(1)
        os._exit(0)
    os.wait()
    double(1)
"""


def test_calls_in_workers_that_nothing_records_leave_no_directory_and_one_line(run_code, tmp_path):
    ended = run_code(WORKERS)
    assert ended.stdout == "[0, 2, 4, 6]\n" * 3 + "[0, 2]\n"
    said = [
        line for line in ended.stderr.splitlines() if "double is not recorded in a child" in line
    ]
    # Two of each pool, but that one of two may have got no item; and those that ran the module.
    assert 4 <= len(said) <= 9
    assert len(said) == len(ended.stderr.splitlines()) - ended.stderr.count("records into")
    assert sorted(path.name for path in tmp_path.glob("child-*")) == ["child-0", "child-1"]
    assert begun(only(tmp_path)) == ["double"]  # the last call, of the program itself


@pytest.mark.torch
@pytest.mark.slow
def test_a_decorated_dataset_is_as_silent_in_its_workers_as_it_is_small(run_code, tmp_path):
    ended = run_code(
        "import timeline\n"
        "from torch.utils.data import DataLoader\n"
        "class Numbers:\n"
        "    def __len__(self): return 16\n"
        "    @timeline.record(charts=False)\n"
        "    def __getitem__(self, i): return i\n"
        "if __name__ == '__main__':\n"
        "    for method in ('fork', 'spawn'):\n"
        "        loader = DataLoader(Numbers(), 4, num_workers=2, multiprocessing_context=method)\n"
        "        print(sum(int(batch.sum()) for batch in loader))\n"
    )
    assert ended.stdout == "120\n" * 2
    assert "timeline" not in ended.stderr
    assert not list(tmp_path.glob("*.timeline"))


def test_a_file_beside_the_script_does_not_take_the_place_of_a_module(run_code, tmp_path):
    for name in ("json", "argparse", "platform", "numpy", "struct", "base64"):
        (tmp_path / f"{name}.py").write_text("import os\nos.abort()\n")
    run_code(
        "import sys\n"
        "here = sys.path.pop(0)\n"
        "import json, subprocess, struct, base64, platform, argparse\n"
        "sys.path.insert(0, here)\n"
        "import timeline\n"
        "with timeline.Recorder('run', charts=False): pass\n"
    )
    assert len(load(tmp_path / "run").series["host.rss"]) > 0


def test_timeline_is_found_by_the_programs_own_path_alone(write_script, run_python, tmp_path):
    root = Path(__file__).parent.parent.parent
    script = write_script(
        "import sys\n"
        f"sys.path.insert(0, {str(root)!r})\n"
        "import timeline\n"
        "with timeline.Recorder('run'): pass\n"
    )
    ended = run_python(script, env={"PYTHONPATH": ""})
    assert ended.code == 0
    assert "charts in" in ended.stderr
    assert len(load(tmp_path / "run").series["host.rss"]) > 0


def test_where_no_process_can_be_started_a_thread_samples_and_the_recording_says_so(
    run_code, tmp_path
):
    ended = run_code(
        "import sys, time, timeline\n"
        "sys.executable = '/bin/false'\n"
        "with timeline.Recorder('run', charts=False):\n"
        "    time.sleep(0.1)\n"
    )
    assert ended.stderr.count("timeline:") == 1
    recording = load(tmp_path / "run")
    assert any("sampling from a thread" in each for each in recording.missing)
    assert len(recording.series["host.rss"]) > 0
    assert recording.run.end == "exited"


def test_a_program_without_stderr_is_recorded(run_code, tmp_path):
    run_code(
        "import sys, timeline\n"
        "sys.executable = '/bin/false'\n"
        "sys.stderr = None\n"
        "with timeline.Recorder('run'): pass\n"
    )
    assert load(tmp_path / "run").run.end == "exited"


def test_warnings_as_errors_and_a_frozen_clock_change_nothing(run_python, write_script, tmp_path):
    script = write_script(
        "import time, timeline\n"
        "real, time.monotonic_ns = time.monotonic_ns, lambda: 0\n"
        "with timeline.Recorder('run', charts=False), timeline.phase('a'): pass\n"
        "print(real())\n"
    )
    ended = run_python("-W", "error", "-X", "dev", script)
    assert (ended.code, ended.stderr) == (0, "")
    run = load(tmp_path / "run").run
    assert 0 < run.started_ns < run.ended_ns < int(ended.stdout)


def test_a_program_without_standard_streams_is_recorded(run_code, tmp_path):
    run_code(
        "import os, time\n"
        "[os.close(fd) for fd in (0, 1, 2)]\n"
        "import timeline\n"
        "with timeline.Recorder('run', charts=False):\n"
        "    file = open('mine', 'w'); time.sleep(0.1)\n"
    )
    recording = load(tmp_path / "run")
    assert recording.run.end == "exited"
    assert apart_from_gpus(recording.missing) == ()
    assert len(recording.series["host.rss"]) > 0
    assert (tmp_path / "mine").read_text() == ""


def test_a_directory_that_vanishes_meanwhile_costs_one_line(run_code, tmp_path):
    ended = run_code(
        "import shutil, time, timeline\n"
        "with timeline.Recorder('run', charts=False):\n"
        "    time.sleep(0.3); shutil.rmtree('run'); timeline.mark('a')\n"
        "print('over')\n"
    )
    assert ended.stdout == "over\n"
    assert ended.stderr.count("timeline:") == 1


def test_a_function_that_cannot_be_recorded_runs_and_one_line_says_why(run_code, tmp_path):
    ended = run_code(
        "import os, timeline\n"
        "@timeline.record(directory='/proc/nowhere/run')\n"
        "def f(): return 5\n"
        "print(f())\n"
    )
    assert ended.stdout == "5\n"
    (line,) = ended.stderr.splitlines()
    assert line.startswith("timeline: f is not recorded: ")


def test_switched_off_by_the_environment_nothing_is_made(run_code, tmp_path):
    ended = run_code(
        "import timeline\n"
        "@timeline.record\n"
        "def f(): return 5\n"
        "with timeline.Recorder('run'): print(f())\n",
        env={"TIMELINE_OFF": "1"},
    )
    assert (ended.stdout, ended.stderr) == ("5\n", "")
    assert os.listdir(tmp_path) == ["script.py"]


def test_odd_names_pass_through_the_whole_way_to_the_page(run_code, tmp_path):
    names = ["</script><b>x", "quote ' \" \\", "two\nlines", "日本語 😀", "nul \0", "x" * 10_240]
    ended = run_code(
        "import json, sys, timeline\n"
        f"with timeline.Recorder('run', name='odd/../name\\n'):\n"
        f"    for name in json.loads({json.dumps(json.dumps(names))}):\n"
        "        with timeline.phase(name): timeline.mark(name)\n"
        "    with timeline.phase('half \\ud83d'): pass\n"
    )
    assert "charts in" in ended.stderr
    assert begun(load(tmp_path / "run")) == [*names, "half \ufffd"]
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000
