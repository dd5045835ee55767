"""However a recording made from inside ends: exits, exceptions, signals, kills of either side."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from gpus import apart_from_gpus
from running import ROOT, begin, tells_how_others_ended

from timeline import analyze, load
from timeline.recording.types import Kind


@pytest.fixture
def started(write_script, tmp_path):
    """``started(text)`` starts a program and returns once it has printed ``ready``."""
    running = []

    def start(text, **options):
        process = begin([sys.executable, str(write_script(text))], cwd=tmp_path, **options)
        running.append(process)
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


PROGRAM = """
import sys, time, timeline
with timeline.Recorder("run", charts=False):
    with timeline.phase("open"):
        while not __import__("os").path.exists("run/meta.json"): time.sleep(0.01)
        time.sleep(0.1)
        print("ready", flush=True)
        sys.stdin.readline()
print("over", flush=True)
"""


def sampler_of(directory):
    return json.loads((directory / "meta.json").read_text())["sampler_pid"]


def gone(pid):
    """Whether the process ends within some seconds."""
    for _ in range(500):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def left_open(recording):
    ended = {m.phase for m in recording.marks if m.kind is Kind.END}
    return [m.name for m in recording.marks if m.kind is Kind.BEGIN and m.phase not in ended]


def test_a_killed_program_leaves_a_whole_recording_and_no_sampler(started, tmp_path):
    process = started(PROGRAM)
    sampler = sampler_of(tmp_path / "run")
    process.kill()
    process.wait()
    assert gone(sampler)
    recording = load(tmp_path / "run")
    assert recording.run.end == "killed"
    assert recording.run.signal == "SIGKILL" or not tells_how_others_ended()
    assert left_open(recording) == ["open"]
    assert recording.damage == ()
    series = recording.series["host.rss"]
    assert len(series) > 5
    assert recording.run.ended_ns - int(series.t_ns[-1]) < 90_000_000


def test_a_killed_program_ends_its_recording_though_a_child_of_it_lives_on(started, tmp_path):
    fork = (
        "        pid = __import__('os').fork()\n"
        "        if not pid: time.sleep(60)\n"
        "        open('child', 'w').write(str(pid))\n"
    )
    program = PROGRAM.replace("        print(", f"{fork}        print(")
    process = started(program)
    child = int((tmp_path / "child").read_text())
    try:
        process.kill()
        process.wait()
        assert gone(sampler_of(tmp_path / "run"))
        recording = load(tmp_path / "run")
        assert recording.run.end == "killed"
        assert recording.run.signal == "SIGKILL" or not tells_how_others_ended()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_killed_sampler_costs_the_program_nothing_and_the_recording_says_so(started, tmp_path):
    process = started(PROGRAM)
    sampler = sampler_of(tmp_path / "run")
    os.kill(sampler, signal.SIGKILL)
    assert gone(sampler)
    out, err = process.communicate("go on\n")
    assert (out, process.returncode) == ("over\n", 0)
    assert err.count("timeline:") == 1
    recording = load(tmp_path / "run")
    assert recording.run.end == "exited"
    assert any("samples end early" in sentence for sentence in recording.missing)
    assert left_open(recording) == []
    assert len(recording.series["host.rss"]) > 5


def test_a_sampler_that_hangs_is_ended_within_a_bound(started, tmp_path):
    process = started(PROGRAM)
    sampler = sampler_of(tmp_path / "run")
    os.kill(sampler, signal.SIGSTOP)
    begun = time.monotonic()
    out, err = process.communicate("go on\n")
    assert time.monotonic() - begun < 4.5
    assert (out, process.returncode) == ("over\n", 0)
    assert err.count("timeline:") == 1
    assert "was killed" in err
    assert gone(sampler)
    assert len(load(tmp_path / "run").series["host.rss"]) > 5


def test_ctrl_c_is_for_the_program_alone(started, tmp_path):
    process = started(PROGRAM)
    sampler = sampler_of(tmp_path / "run")
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in err
    assert gone(sampler)
    recording = load(tmp_path / "run")
    assert recording.run.end == "exited"
    assert recording.run.facts["exception"] == "KeyboardInterrupt"
    assert left_open(recording) == []


def test_signals_to_the_whole_job_leave_the_sampler_to_its_end(started, tmp_path):
    process = started(PROGRAM)
    sampler = sampler_of(tmp_path / "run")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(sampler, number)
    out, err = process.communicate("go on\n")
    assert (out, err, process.returncode) == ("over\n", "", 0)
    assert load(tmp_path / "run").run.end == "exited"


def test_a_program_that_closes_every_descriptor_goes_on(started, tmp_path):
    program = PROGRAM.replace(
        "        sys.stdin.readline()",
        "        sys.stdin.readline()\n        import os; os.closerange(3, 4096)\n"
        "        files = [open(f'own {n}', 'w') for n in range(5)]\n"
        "        [timeline.mark('lost') for _ in range(5)]",
    )
    process = started(program)
    out, err = process.communicate("go on\n")
    assert (out, process.returncode) == ("over\n", 0), err
    assert "did not end well" not in err
    assert all((tmp_path / f"own {n}").read_text() == "" for n in range(5))
    assert gone(sampler_of(tmp_path / "run"))
    assert load(tmp_path / "run").run.end in ("killed", "exited")


@pytest.mark.parametrize(
    ("ending", "code", "printed"),
    [
        ("raise ValueError('mine')", 1, "ValueError: mine"),
        ("sys.exit('a text')", 1, "a text"),
        ("sys.exit(3)", 3, ""),
    ],
)
def test_an_exit_inside_a_recorded_function_is_as_without(
    write_script, run_python, tmp_path, ending, code, printed
):
    script = write_script(
        "import sys, timeline\n"
        "@timeline.record(directory='run', charts=False)\n"
        "def f():\n"
        f"    {ending}\n"
        "f()\n"
    )
    ended = run_python(script)
    assert ended.code == code
    assert ended.stderr.strip().endswith(printed)
    assert "timeline:" not in ended.stderr
    recording = load(tmp_path / "run")
    assert recording.run.end == "exited"
    assert left_open(recording) == []


def test_a_recorder_left_open_is_ended_with_the_interpreter(write_script, run_python, tmp_path):
    script = write_script(
        "import atexit, timeline\n"
        "atexit.register(print, 'mine')\n"
        "timeline.Recorder('run').start()\n"
        "timeline.phase('open').__enter__()\n"
    )
    ended = run_python(script)
    assert (ended.code, ended.stdout) == (0, "mine\n")
    assert "charts in" in ended.stderr
    recording = load(tmp_path / "run")
    assert recording.run.end == "exited"
    assert left_open(recording) == ["open"]


def test_a_program_that_leaves_without_a_word_has_its_code_or_counts_as_killed(started, tmp_path):
    process = started(PROGRAM.replace("sys.stdin.readline()", "__import__('os')._exit(5)"))
    assert process.wait() == 5
    assert gone(sampler_of(tmp_path / "run"))
    run = load(tmp_path / "run").run
    if tells_how_others_ended():
        assert (run.end, run.exit_code) == ("exited", 5)
    else:
        assert (run.end, run.exit_code) in (("exited", 5), ("killed", None))


def test_a_crash_of_a_program_that_records_itself_is_named(started, tmp_path):
    crash = "import signal; signal.raise_signal(signal.SIGSEGV)"
    process = started(PROGRAM.replace("sys.stdin.readline()", crash))
    assert process.wait() == -signal.SIGSEGV
    assert gone(sampler_of(tmp_path / "run"))
    said = analyze(load(tmp_path / "run")).ending
    if tells_how_others_ended():
        assert said.startswith("killed by SIGSEGV (a segmentation fault) at ")
    assert said.endswith(", in open")


def test_a_sampler_whose_backend_is_slow_to_import_is_waited_for(
    write_script, run_python, tmp_path
):
    # The sampler alone is slow: it runs by -c. Both get the real module in the end.
    write_script(
        "import sys, time\n"
        "if sys.argv[0] == '-c': time.sleep(3)\n"
        "sys.path.remove(__file__.rpartition('/')[0])\n"
        "del sys.modules['memory_profiler']\n"
        "import memory_profiler\n",
        "slow/memory_profiler.py",
    )
    script = write_script(
        "import sys, timeline\n"
        "place = [path for path in sys.path]\n"
        "r = timeline.Recorder('run', charts=False, backend='memory_profiler')\n"
        "sys.path[:] = place\n"
        "with r: __import__('time').sleep(0.3)\n"
    )
    ended = run_python(script, env={"PYTHONPATH": f"{tmp_path / 'slow'}:{ROOT}"})
    assert ended.stderr == ""
    assert (tmp_path / "run" / "meta.json").exists()
    recording = load(tmp_path / "run")
    assert recording.run.end == "exited"
    assert apart_from_gpus(recording.missing) == ()
    assert len(recording.series["host.rss"]) > 0


def test_a_very_short_recording_is_whole(write_script, run_python, tmp_path):
    script = write_script("import timeline\nwith timeline.Recorder('run', charts=False): pass\n")
    ended = run_python(script)
    assert ended.stderr == ""
    recording = load(tmp_path / "run")
    assert (recording.run.end, recording.damage) == ("exited", ())
    assert apart_from_gpus(recording.missing) == ()
    assert len(recording.series["host.rss"]) > 0
