"""What a recorded run holds: its peaks against the kernel's, its facts, and what went wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from running import clean_environment

from timeline.analysis.analyze import analyze
from timeline.interchange.loading import load
from timeline.recorder.command import LOADED_FIRST

MIB = 1 << 20

SPIKES = """
    import json, os, time
    def rss():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    spikes = []
    for i in range(10):
        time.sleep(0.15)
        base, begun = rss(), time.monotonic_ns()
        block = b"x" * ((200 + 5 * i) << 20)
        time.sleep(0.003)
        del block
        spikes.append((begun, time.monotonic_ns(), base + ((200 + 5 * i) << 20)))
        assert rss() - base < 2 << 20
    time.sleep(0.15)
    import resource
    print(json.dumps({"spikes": spikes, "maxrss": resource.getrusage(0).ru_maxrss << 10}))
"""

PEAK = """
    import resource, time
    block = b"x" * (300 << 20)
    del block
    time.sleep(0.1)
    block = b"x" * (100 << 20)
    del block
    time.sleep(0.1)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10)
"""

PLAIN_RUN = """
import os, subprocess, sys
process = subprocess.Popen([sys.executable, sys.argv[1]], stdout=subprocess.PIPE, text=True)
own = int(process.stdout.read())
_, _, usage = os.wait4(process.pid, 0)
process.returncode = 0
print(own, usage.ru_maxrss)
"""


def host(recording):
    return load(recording).series["host.rss"]


@pytest.mark.parametrize("interval", ["0.01", "0.1"])
def test_every_spike_of_a_few_milliseconds_is_caught_to_the_mib(
    interval, write_script, run_timeline
):
    script = write_script(textwrap.dedent(SPIKES))
    ended = run_timeline(script, options=("--no-charts", "--interval", interval))
    said = json.loads(ended.stdout)
    series = host(ended.recording)
    assert series.channel.exact
    for begun, over, peak in said["spikes"]:
        # The reading that tells of it is the first that ends after it.
        last = int(np.searchsorted(series.t_ns, over))
        seen = series.high[(series.t_ns >= begun)][
            : max(1, last + 1 - int(np.searchsorted(series.t_ns, begun)))
        ]
        assert abs(int(seen.max()) - peak) < MIB
    highest = max(peak for *_, peak in said["spikes"])
    assert abs(said["maxrss"] - highest) < MIB
    assert abs(int(series.high.max()) - highest) < MIB


def test_the_peak_is_that_of_a_plain_run_by_the_kernels_own_account(
    write_script, run_python, run_timeline
):
    script = write_script(textwrap.dedent(PEAK))
    # Started by a small process: a program's ru_maxrss begins with that of what starts it.
    plain = run_python("-c", PLAIN_RUN, script)
    own, usage_kib = map(int, plain.stdout.split())
    ended = run_timeline(script)
    # The recorder's part in the program takes 1 MiB.
    assert abs(int(ended.stdout) - own) < 3 * MIB
    assert abs(int(host(ended.recording).high.max()) - (usage_kib << 10)) < 3 * MIB
    assert abs(int(host(ended.recording).high.max()) - int(ended.stdout)) < MIB


def test_memory_profiler_on_the_same_run_sees_no_more_and_hardly_less(write_script, run_timeline):
    from memory_profiler import memory_usage

    script = write_script(
        "import time\nblock = b'x' * (150 << 20)\ntime.sleep(1.5)\ndel block\ntime.sleep(0.3)\n"
    )
    directory = script.parent / "run.timeline"
    process = subprocess.Popen(
        [sys.executable, "-m", "timeline", "--no-charts", "-o", directory, script],
        env=clean_environment(),
        stderr=subprocess.DEVNULL,
    )
    while not (directory / "meta.json").exists():
        assert process.poll() is None
    pid = json.loads((directory / "meta.json").read_text())["pid"]
    theirs = memory_usage(pid, interval=0.05, timeout=1.2, max_usage=True)
    process.wait()
    ours = int(host(directory).high.max()) / MIB
    assert ours - 2 < theirs <= ours + 0.5


def test_the_last_moments_of_a_killed_program_are_in_its_recording(write_script, run_timeline):
    script = write_script(
        "import os, time\ntime.sleep(0.15)\nblock = b'x' * (300 << 20)\nos.kill(os.getpid(), 9)\n"
    )
    ended = run_timeline(script, options=("--no-charts", "--interval", "30"))
    series = host(ended.recording)
    assert 305 * MIB < int(series.high.max()) < 330 * MIB
    assert load(ended.recording).run.signal == "SIGKILL"


def test_what_a_killed_program_reached_unseen_is_a_mark_and_no_value(write_script, run_timeline):
    script = write_script(
        "import os, time\ntime.sleep(0.15)\nblock = b'x' * (300 << 20)\ndel block\n"
        "os.kill(os.getpid(), 9)\n"
    )
    ended = run_timeline(script, options=("--no-charts", "--interval", "30"))
    series = host(ended.recording)
    assert int(series.high[-1]) > 300 * MIB
    assert int(series.value.max()) < 50 * MIB


@pytest.mark.parametrize("ends", ["as the process ended", "before"])
def test_a_peak_after_the_programs_last_line_is_said_to_be_there(ends, write_script, run_timeline):
    # Libraries such as torch's let go of what they have once Python has run its last line, and
    # touch a hundred megabytes for it; here it is an object that outlives everything else.
    script = write_script(
        "import sys, timeline\n"
        "with timeline.phase('work'):\n"
        "    block = b'x' * (50 << 20)\n"
        "del block\n"
        "class Late:\n"
        "    def __del__(self, hold=lambda: b'x' * (200 << 20)):\n"
        "        hold()\n"
        "sys.late = Late()\n" + ("" if ends == "as the process ended" else "del sys.late\n")
    )
    ended = run_timeline(script, options=())
    analysis = analyze(load(ended.recording))
    [host_memory] = [each for each in analysis.channels if each.channel.name == "host.rss"]
    late = ends == "as the process ended"
    assert host_memory.peak > 200 * MIB
    assert host_memory.peak_at_end is late
    said = " ".join(ended.stderr.split())
    assert ("after the program's end, as its process ended" in said) is late
    assert ("after the program's end" in (ended.recording / "report.html").read_text()) is late
    assert said.count("In a phase at most") == said.count("in work") == late


def test_the_peak_of_a_program_that_becomes_another_stays_where_it_was(write_script, run_timeline):
    script = write_script(
        "import os, time\nblock = b'x' * (300 << 20)\ntime.sleep(0.3)\n"
        "os.execv('/bin/sleep', ['sleep', '0.5'])\n"
    )
    ended = run_timeline(script)
    series = host(ended.recording)
    assert int(series.high[-1]) < 20 * MIB
    channel = analyze(load(ended.recording)).channels[0]
    assert 305 * MIB < channel.peak < 330 * MIB
    assert channel.exact


def test_the_last_moments_of_a_childs_parent_are_not_taken_from_the_child(
    write_script, run_timeline
):
    script = write_script(
        "import os, subprocess, sys, time\n"
        "subprocess.run([sys.executable, '-c', 'x = b\"x\" * (300 << 20)'])\nos._exit(0)\n"
    )
    ended = run_timeline(script)
    assert int(host(ended.recording).high.max()) < 100 * MIB


@pytest.mark.parametrize(
    ("child", "end", "exact"),
    [
        # Of a process with a child the kernel tells no maximum of its own, and none was read.
        ("subprocess.run(['true'])", "del block; os._exit(0)", False),
        ("subprocess.run(['true'])", "os.kill(os.getpid(), 9)", False),
        ("subprocess.run(['true'])", "", True),
        ("", "del block; os._exit(0)", True),
        ("", "time.sleep(1.5); os.kill(os.getpid(), 9)", True),
    ],
)
def test_a_peak_is_exact_only_if_the_last_moments_were_seen(
    child, end, exact, write_script, run_timeline
):
    script = write_script(
        f"import os, subprocess, time\n{child}\ntime.sleep(0.15)\n"
        f"block = b'x' * (300 << 20)\n{end}\n"
    )
    # Where the last reading would tell nothing, there is to be none: on a busy machine all of this
    # takes over a second.
    interval = "1" if "sleep" in end else "30"
    ended = run_timeline(script, options=("--no-charts", "--interval", interval))
    channel = analyze(load(ended.recording)).channels[0]
    assert (channel.exact, "were not seen" in channel.reason) == (exact, not exact)
    assert not exact or 305 * MIB < channel.peak < 330 * MIB


def test_what_memory_the_recorder_takes_in_the_program(write_script, run_python, run_timeline):
    script = write_script(
        "print([int(l.split()[1]) for l in open('/proc/self/status') if 'VmRSS' in l][0])"
    )
    plain = sorted(int(run_python(script).stdout) for _ in range(5))[2]
    own = []
    for _ in range(5):
        own.append(int(run_timeline(script, options=("--no-charts", "--force")).stdout))
    assert sorted(own)[2] - plain < 3 * 1024


def test_the_recorder_imports_in_the_program_only_what_it_says(
    write_script, run_python, run_timeline
):
    script = write_script(
        "import sys\n"
        "print(*(n for n, m in sorted(sys.modules.items()) if getattr(m, '__file__', None)))"
    )
    plain = run_python(script).stdout.split()
    more = set(run_timeline(script).stdout.split()) - set(plain)
    # Underscored ones are C modules and __future__: no name that a script would have.
    names = {name.partition(".")[0] for name in more if not name.startswith("_")}
    assert names <= set(LOADED_FIRST)
    assert len(more) < 25


def test_without_exactness_the_programs_mark_is_left_alone(write_script, run_timeline):
    script = write_script(
        "import time\nblock = b'x' * (100 << 20)\ndel block\ntime.sleep(0.2)\n"
        "print([int(l.split()[1]) for l in open('/proc/self/status') if 'VmHWM' in l][0])\n"
        "import resource\nprint(resource.getrusage)\n"
    )
    ended = run_timeline(script, options=("--no-charts", "--no-exact"))
    high, function = ended.stdout.splitlines()
    assert int(high) > 100 * 1024
    assert "built-in" in function
    series = host(ended.recording)
    assert not series.channel.exact
    assert "as asked" in series.channel.reason
    assert set(series.high.tolist()) == {-1}


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("psutil", "psutil"),
        ("memory_profiler", "memory_profiler:psutil"),
        ("memory_profiler:psutil_uss", "memory_profiler:psutil_uss"),
        ("memory_profiler:posix", "memory_profiler:posix"),
    ],
)
def test_another_backend_is_named_and_marks_carry_time_alone(
    name, source, write_script, run_timeline
):
    script = write_script(
        "import time, timeline\nwith timeline.phase('p'):\n    time.sleep(0.3)\nprint('ok')\n"
    )
    ended = run_timeline(script, options=("--no-charts", "--backend", name))
    assert ended.stdout == "ok\n"
    recording = load(ended.recording)
    series = recording.series["host.rss"]
    assert recording.run.backend == series.channel.source == source
    assert not series.channel.exact
    assert len(series) > 1
    assert len(recording.marks) == 2
    assert set(recording.marks.rss.tolist()) == {-1}
    assert "warn" not in ended.stderr.lower()


def test_a_limit_on_files_ends_the_recording_and_not_the_program(write_script, tmp_path):
    script = write_script(
        "import time, timeline\nfor i in range(200):\n"
        "    with timeline.phase('x' * 500): time.sleep(0.002)\nprint('all done')\n"
    )
    command = f'ulimit -f 24; exec "{sys.executable}" -m timeline --no-charts -o r "{script}"'
    ended = subprocess.run(
        ["/bin/bash", "-c", command],
        cwd=tmp_path,
        # Python would cut its compiled modules at the limit too, and every later import fail.
        env=clean_environment() | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert ended.stdout == "all done\n"
    assert ended.returncode == 0
    assert ended.stderr.count("timeline: marks end here: file too large") == 1
    assert "Traceback" not in ended.stderr
    recording = load(tmp_path / "r")
    assert len(recording.marks) > 20
    assert not recording.series["host.rss"].channel.exact
    assert "part of the recording is lost" in ended.stderr.replace("\n", " ")


@pytest.mark.skipif(sys.platform != "linux", reason="reads the files of Linux")
def test_marks_that_are_cut_where_no_file_can_be_opened_leave_the_program_alone(
    write_script, tmp_path
):
    script = write_script(
        "import os, resource, timeline\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "held = []\n"
        "try:\n"
        "    while True: held.append(os.open('/dev/null', os.O_RDONLY))\n"
        "except OSError: pass\n"
        "for i in range(300):\n"
        "    with timeline.phase('x' * 500): pass\n"
        "os.write(1, b'done')\n"
    )
    command = f'ulimit -f 24; exec "{sys.executable}" -m timeline --no-charts -o r "{script}"'
    ended = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (ended.stdout, ended.returncode) == ("done", 0)
    assert "Traceback" not in ended.stderr
    assert "timeline: marks end here: file too large" in ended.stderr


def test_a_directory_that_vanishes_ends_the_recording_and_not_the_program(
    write_script, run_timeline
):
    script = write_script(
        "import shutil, time\ntime.sleep(0.1)\nshutil.rmtree('run.timeline')\ntime.sleep(0.1)\n"
        "print('done')\nraise SystemExit(4)\n"
    )
    ended = run_timeline(script)
    assert (ended.stdout, ended.code) == ("done\n", 4)
    assert "Traceback" not in ended.stderr
    assert "run.timeline is not there any more" in ended.stderr
    assert "recorded in" not in ended.stderr
    assert "NoRecordingError" not in ended.stderr


def test_an_end_that_cannot_be_written_is_told_by_the_launcher(write_script, run_timeline):
    # A directory in the place of a file: it cannot be replaced, by root neither.
    script = write_script("import os\nos.makedirs('run.timeline/summary.json.new/x')\nexit(3)\n")
    ended = run_timeline(script)
    assert ended.code == 3
    assert "exited with code 3" in ended.stderr
    assert "still running" not in ended.stderr
    assert ", exact" not in ended.stderr
    assert "the recording's end could not be written" in ended.stderr


def test_the_charts_are_made_and_their_paths_said(write_script, run_timeline):
    ended = run_timeline(write_script("x = b'x' * (20 << 20)"), options=())
    assert (ended.recording / "report.png").stat().st_size > 5_000
    assert (ended.recording / "report.html").stat().st_size > 5_000
    assert str(ended.recording) in ended.stderr.splitlines()[-1]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("stderr", ["2>/dev/full", "2>&-"])
def test_the_charts_are_made_though_nobody_can_read_the_table(stderr, write_script, tmp_path):
    script = write_script("print('done')\n")
    command = f'exec "{sys.executable}" -m timeline -o r "{script}" {stderr}'
    ended = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (ended.stdout, ended.returncode) == ("done\n", 0)
    assert (tmp_path / "r" / "report.png").exists()
    assert (tmp_path / "r" / "report.html").exists()


def test_each_recording_has_a_directory_of_its_own_by_default(write_script, run_python, tmp_path):
    script = write_script("print(1)", "train me.py")
    for _ in range(3):
        run_python("-m", "timeline", "--no-charts", script)
    made = sorted(tmp_path.glob("*.timeline"))
    assert len(made) == 3
    assert all(each.name.startswith("train-me-") for each in made)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["none.py"], 2, "there is no script none.py"),
        (["."], 2, ". is a directory without a __main__.py"),
        (["secret.py"], 2, "the script secret.py cannot be read: Permission denied"),
        ([], 2, "there is no script to run"),
        (["-m"], 2, "-m names no module"),
        (["-m", "no_such_module_here"], 2, "there is no module 'no_such_module_here'"),
        (["--interval", "0", "ok.py"], 2, "--interval is '0': give seconds over 0"),
        (["--anatomy", "0", "ok.py"], 2, "--anatomy is '0': give the number of a step, from 1 on"),
        (["--anatomy", "x", "ok.py"], 2, "--anatomy is 'x': give the number of a step, from 1 on"),
        (["--interval", "-1", "ok.py"], 2, "--interval is '-1'"),
        (["--interval=nan", "ok.py"], 2, "--interval is 'nan'"),
        (["--interval", "inf", "ok.py"], 2, "--interval is 'inf'"),
        (["--interval", "fast", "ok.py"], 2, "--interval is 'fast'"),
        (["--interval"], 2, "--interval"),
        (["--backend", "none", "ok.py"], 2, "there is no backend 'none': choose one of auto"),
        (["--nonsense", "ok.py"], 2, "--nonsense"),
        (["-o", "ok.py", "ok.py"], 1, "exists and is no directory"),
        (["-o", "full", "ok.py"], 1, "exists and is not a recording"),
        (["-o", "ok.py/below", "ok.py"], 1, "cannot be made"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_is_made(
    words, code, sentence, write_script, tmp_path
):
    write_script("print('ran')", "ok.py")
    write_script("print('ran')", "secret.py").chmod(0)
    write_script("", "full/file.txt")
    if "secret.py" in words and os.access(tmp_path / "secret.py", os.R_OK):
        pytest.skip("root may read everything")
    before = sorted(tmp_path.rglob("*"))
    ended = subprocess.run(
        [sys.executable, "-m", "timeline", *words],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
    )
    assert ended.returncode == code
    assert ended.stdout == ""
    assert sentence in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("timeline: ")
    assert "Traceback" not in ended.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_version_and_help_go_to_standard_output(run_python):
    assert run_python("-m", "timeline", "--version").stdout.startswith("timeline 0.")
    shown = run_python("-m", "timeline", "--help")
    assert shown.code == 0
    for word in ("report", "export", "doctor", "--interval", "--backend", "memory_profiler:posix"):
        assert word in shown.stdout


def test_words_behind_the_script_are_the_scripts(write_script, run_timeline):
    script = write_script("import sys; print(sys.argv[1:])", "report")
    words = ["-o", "x", "--help", "--", "-m", "y", "--interval"]
    assert run_timeline(f"./{script.name}", *words).stdout == f"{words}\n"


def test_the_launcher_imports_nothing_heavy_while_the_program_runs(write_script, run_timeline):
    # In the launcher, from the program: by its memory, which an import of numpy doubles.
    script = write_script(
        "import os, time\ntime.sleep(0.2)\n"
        "print(any('numpy' in l or 'matplotlib' in l for l in open(f'/proc/{os.getppid()}/maps')))"
    )
    assert run_timeline(script).stdout == "False\n"


def test_what_another_recorded_there_is_not_shown_as_ones_own(write_script, run_python, tmp_path):
    there = tmp_path / "run.timeline"
    there.mkdir()
    (there / "samples.host.npy").write_bytes(b"another's")
    script = write_script("print('done')")
    ended = run_python("-c", f"""
from timeline.recorder.launch import run
ended = run([{str(script)!r}], {str(there)!r}, interval_ns=10**7, exact=True, backend="auto")
print(ended.code, ended.recorded)
""")  # fmt: skip
    assert ended.stdout == "done\n0 False\n"
    assert "nothing is recorded" in ended.stderr
    assert (there / "samples.host.npy").read_bytes() == b"another's"


def test_a_library_that_cannot_be_imported_costs_the_table_and_a_line(write_script, tmp_path):
    """Of numpy it is a page, where address space is short: what it was stands at its end."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/numpy.py").write_text(
        "raise ImportError('\\n\\nPLEASE READ THIS\\n' + 'advice\\n' * 20 + 'no room to map it\\n')"
    )
    path = os.pathsep.join([str(tmp_path / "broken"), clean_environment().get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, "-m", "timeline", "-o", "run", write_script("exit(3)")],
        cwd=tmp_path, env={**clean_environment(), "PYTHONPATH": path}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 3
    assert "no table: ImportError: no room to map it" in ended.stderr
    assert "advice" not in ended.stderr
    assert len(ended.stderr.splitlines()) == 2


@pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere table and charts are made in process"
)
@pytest.mark.parametrize(
    ("end", "how"),
    [
        ("import os; os._exit(1)", "exit code 1"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
    ],
    ids=["exit", "kill"],
)
def test_a_library_that_ends_its_process_does_not_take_the_programs_exit_code(
    end, how, write_script, tmp_path
):
    """OpenBLAS does where it gets no room for its threads, under ``ulimit -v``."""
    write_script(end, "broken/numpy.py")
    path = os.pathsep.join([str(tmp_path / "broken"), clean_environment().get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, "-m", "timeline", "-o", "run", write_script("exit(3)")],
        cwd=tmp_path, env={**clean_environment(), "PYTHONPATH": path}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 3
    assert f"the process that makes table and charts ended by {how}\n" in ended.stderr
    assert len(ended.stderr.splitlines()) == 2
    assert load(tmp_path / "run").run.exit_code == 3


def test_a_prompt_at_the_end_is_the_programs_and_not_the_launchers(write_script, tmp_path):
    for code in (0, 3):
        script = write_script(f"exit({code})")
        ended = subprocess.run(
            [sys.executable, "-m", "timeline", "-o", f"run{code}", "--no-charts", script],
            cwd=tmp_path, env={**clean_environment(), "PYTHONINSPECT": "1"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        recorded = load(tmp_path / f"run{code}").run.exit_code
        assert ended.returncode == recorded
        assert "timeline/__main__.py" not in ended.stderr
