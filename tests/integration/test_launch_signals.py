"""Signals and violent ends: the program sees what it would have seen, the recording says it."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter

import pytest
from running import begin, clean_environment

from timeline.interchange.loading import load

COUNTS_SIGNALS = """
    import os, signal, sys, time
    got = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda n, f: got.append(signal.Signals(n).name))
    print("ready", os.getpid(), flush=True)
    sys.stdin.readline()
    print(sorted(got), flush=True)
"""

WAITS = """
    import atexit, os, sys, time
    atexit.register(print, "atexit", flush=True)
    try:
        print("ready", os.getpid(), flush=True)
        time.sleep(60)
    finally:
        print("finally", flush=True)
"""


@pytest.fixture
def start(tmp_path, write_script):
    """``start(text, *options)`` starts a recorded script, in a group of its own, to ``ready``."""
    started = []

    def start_it(text, *options, plain=False, **more):
        script = write_script(textwrap.dedent(text))
        words = [] if plain else ["-m", "timeline", "--no-charts", "-o", "run.timeline", *options]
        process = begin([sys.executable, *words, str(script)], cwd=tmp_path, **more)
        started.append(process)
        ready, pid = process.stdout.readline().split()
        assert ready == "ready"
        return process, int(pid)

    yield start_it
    for process in started:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if not process.stdin.closed:
            process.communicate()
        process.wait()


def lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(true, within_s=20):
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def group_of(pid):
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.getpgid(int(name)) == pid and lives(int(name)):
                    found.append(int(name))
            except OSError:
                pass
    return found


def test_a_signal_to_the_launcher_reaches_the_program_once(start):
    process, _ = start(COUNTS_SIGNALS)
    sent = ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGUSR1"]
    for name in sent:
        process.send_signal(getattr(signal, name))
        time.sleep(0.3)
    out, _ = process.communicate("\n")
    assert out.strip() == str(sorted(sent))
    assert process.returncode == 0


def test_a_signal_to_the_group_reaches_the_program_once(start):
    process, _ = start(COUNTS_SIGNALS)
    sent = ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGUSR1"]
    for name in sent:
        os.killpg(process.pid, getattr(signal, name))
        time.sleep(0.3)
    out, _ = process.communicate("\n")
    assert out.strip() == str(sorted(sent))


def test_a_signal_to_the_program_alone_reaches_it_once(start):
    process, pid = start(COUNTS_SIGNALS)
    os.kill(pid, signal.SIGTERM)
    out, _ = process.communicate("\n")
    assert out.strip() == "['SIGTERM']"


def test_a_signal_to_the_witness_alone_does_not_swallow_a_later_one_to_the_launcher(start):
    process, pid = start(COUNTS_SIGNALS)
    (witness,) = set(group_of(process.pid)) - {process.pid, pid}
    os.kill(witness, signal.SIGUSR1)
    time.sleep(1.2)
    os.kill(process.pid, signal.SIGUSR1)
    time.sleep(0.3)
    out, _ = process.communicate("\n")
    assert out.strip() == "['SIGUSR1']"


@pytest.mark.parametrize("to_group", [True, False], ids=["to the group", "to the launcher"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1"])
def test_a_signal_that_ends_the_program_ends_both_the_same_way(name, to_group, start, tmp_path):
    ended = []
    for plain in (True, False):
        process, _ = start(WAITS, plain=plain)
        (os.killpg if to_group else os.kill)(process.pid, getattr(signal, name))
        out, err = process.communicate()
        ended.append((process.returncode, out, err))
    (code, out, err), recorded = ended
    assert recorded[:2] == (code, out)
    # Where it was at that moment differs from run to run, in the lines between.
    lines = err.splitlines()
    assert recorded[2].splitlines()[:1] == lines[:1] or not lines
    assert recorded[2].count("KeyboardInterrupt") == err.count("KeyboardInterrupt")
    assert "recorded in" in recorded[2]
    run = load(tmp_path / "run.timeline").run
    assert (run.end, run.signal) == ("killed", name)
    assert not list(tmp_path.glob("core*"))


def test_ctrl_c_at_a_terminal_interrupts_the_program_once_and_the_table_comes(
    write_script, tmp_path
):
    script = write_script(textwrap.dedent(WAITS).replace("60)", "60)  # a terminal"))
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execve(
            sys.executable,
            [sys.executable, "-m", "timeline", "--no-charts", "-o", "r.timeline", str(script)],
            clean_environment(),
        )
    said = b""
    while b"ready" not in said:
        said += os.read(terminal, 4096)
    os.write(terminal, b"\x03")
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # EIO: the other side was closed
            break
        if not chunk:
            break
        said += chunk
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.WTERMSIG(status) == signal.SIGINT
    assert said.count(b"KeyboardInterrupt") == 1
    assert said.count(b"finally") == 1
    assert b"atexit" in said
    assert b"recorded in" in said


def test_an_ignored_signal_stays_ignored(start):
    def ignore():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    text = """
        import os, signal, sys
        print("ready", os.getpid(), flush=True)
        sys.stdin.readline()
        print([str(signal.getsignal(s)) for s in (2, 1, signal.SIGCHLD, signal.SIGTERM)])
        sys.exit(6)
    """
    ended = []
    for plain in (True, False):
        process, _ = start(text, plain=plain, preexec_fn=ignore)
        os.killpg(process.pid, signal.SIGINT)
        process.send_signal(signal.SIGHUP)
        out, _ = process.communicate("\n")
        ended.append((process.returncode, out))
    assert ended[0] == ended[1]
    assert ended[1][0] == 6


def test_an_exit_code_that_something_else_took_is_not_said_to_be_0(
    write_script, run_python, tmp_path
):
    write_script("import time; time.sleep(0.3); raise SystemExit(7)", "seven.py")
    starts = write_script(
        "import os, signal, sys, time\n"
        "from timeline.cli.main import main\n"
        "def reap(number, frame):\n"
        "    try:\n"
        "        while os.waitpid(-1, os.WNOHANG)[0]: pass\n"
        "    except ChildProcessError: pass\n"
        "signal.signal(signal.SIGCHLD, reap)\n"
        "sys.exit(main(['--no-charts', '-o', 'run.timeline', 'seven.py']))\n",
        "starts.py",
    )
    ended = run_python(starts)
    assert ended.code == 1
    assert ended.stderr.count("the program's exit code is not known") == 1
    run = load(tmp_path / "run.timeline").run
    assert (run.end, run.exit_code) == ("exited", None)


def test_a_program_that_is_stopped_with_its_launcher_goes_on_and_the_gap_stays(start, tmp_path):
    process, pid = start(COUNTS_SIGNALS)
    # What Ctrl-Z sends, SIGTSTP, does nothing to a group without a shell.
    os.killpg(process.pid, signal.SIGSTOP)

    def state(of):
        with open(f"/proc/{of}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]

    wait_until(lambda: state(pid) == state(process.pid) == "T")
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGCONT)
    out, _ = process.communicate("\n")
    assert out.strip() == "[]"
    series = load(tmp_path / "run.timeline").series["host.rss"]
    steps = [int(b - a) for a, b in zip(series.t_ns, series.t_ns[1:], strict=False)]
    assert max(steps) > 250_000_000
    # No burst afterwards: what was missed stays missed.
    after = steps[steps.index(max(steps)) + 1 :]
    assert sum(step < 1_000_000 for step in after) <= 2


def test_a_program_that_is_killed_leaves_a_recording_that_says_so(start, tmp_path):
    process, pid = start(WAITS)
    os.kill(pid, signal.SIGKILL)
    _, err = process.communicate()
    assert process.returncode == -signal.SIGKILL
    run = load(tmp_path / "run.timeline").run
    assert (run.end, run.signal, run.exit_code) == ("killed", "SIGKILL", None)
    assert "SIGKILL" in err
    assert not group_of(process.pid)


def test_a_killed_launcher_leaves_the_program_and_a_readable_recording(start, tmp_path):
    text = """
        import os, sys, time
        print("ready", os.getpid(), flush=True)
        time.sleep(0.3)
        sys.stdin.readline()
        import resource
        print("done", resource.getrusage(0).ru_maxrss > 0, flush=True)
        os.kill(os.getpid(), 0)
        with open("left.txt", "w") as file:
            file.write("all is well")
        sys.exit(3)
    """
    process, pid = start(text)
    time.sleep(0.3)
    process.kill()
    process.wait()
    # The witness goes too; the program does not.
    wait_until(lambda: group_of(process.pid) == [pid])
    process.stdin.write("\n")
    process.stdin.close()
    assert process.stdout.read() == "done True\n"
    wait_until(lambda: not lives(pid))
    assert (tmp_path / "left.txt").read_text() == "all is well"
    recording = load(tmp_path / "run.timeline")
    assert recording.run.end == "cut-off"
    assert len(recording.series["host.rss"]) > 5


def test_nothing_runs_on_after_the_end(start):
    process, _ = start("import os; print('ready', os.getpid(), flush=True)")
    process.communicate()
    assert process.returncode == 0
    assert not group_of(process.pid)


def test_a_program_that_leaves_a_child_is_not_waited_for_longer_than_python_would(start, tmp_path):
    text = """
        import os, subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        print("ready", child.pid, flush=True)
    """
    process, child = start(text)
    process.communicate()
    assert process.returncode == 0
    assert lives(child)
    os.kill(child, signal.SIGKILL)


def test_a_program_whose_output_is_cut_off_gets_its_broken_pipe(write_script, tmp_path):
    script = write_script("import sys\nwhile True: print('x' * 100)\n")
    ended = []
    for words in ([], ["-m", "timeline", "--no-charts", "-o", "r.timeline"]):
        process = subprocess.Popen(
            [sys.executable, *words, str(script)],
            cwd=tmp_path,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
        process.stderr.close()
        ended.append((process.wait(), Counter(err.splitlines())))
    assert ended[0][0] == ended[1][0]
    assert ended[0][1] <= ended[1][1]


def test_nobody_may_read_standard_error(write_script, tmp_path):
    script = write_script("raise SystemExit(7)")
    words = f'"{sys.executable}" -m timeline --no-charts -o r.timeline "{script}"'
    ended = subprocess.run(
        ["/bin/bash", "-c", f"{words} 2>&1 | true; exit ${{PIPESTATUS[0]}}"],
        cwd=tmp_path,
        env=clean_environment(),
    )
    assert ended.returncode == 7


def test_standard_error_may_be_closed(write_script, tmp_path):
    script = write_script("print(1)")
    words = ["-m", "timeline", "--no-charts", "-o", "r.timeline", str(script)]
    command = f'exec "{sys.executable}" {" ".join(words)} 2>&-'
    ended = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert ended.stdout == "1\n"
    assert ended.returncode == 0
    assert load(tmp_path / "r.timeline").run.end == "exited"


@pytest.mark.parametrize("while_seconds", [0.05, 0.2, 0.5])  # imports, the table, the charts
def test_a_ctrl_c_after_the_end_stops_the_charts_and_keeps_the_exit_code(
    write_script, tmp_path, while_seconds
):
    script = write_script("raise SystemExit(7)")
    process = subprocess.Popen(
        [sys.executable, "-m", "timeline", "-o", "r.timeline", str(script)],
        cwd=tmp_path,
        env=clean_environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until((tmp_path / "r.timeline" / "summary.json").exists)
    time.sleep(while_seconds)
    # Its handlers stand again only when the launcher is done: until it ends, ask again.
    while process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.1)
    _, err = process.communicate()
    assert process.returncode == 7
    assert "Traceback" not in err
    assert "stopped; the recording is complete" in err or "recorded in" in err
    assert load(tmp_path / "r.timeline").run.exit_code == 7


def test_a_descriptor_of_the_shell_reaches_the_program_and_none_of_ours_shows(
    write_script, run_python, tmp_path
):
    script = write_script(
        "import os\nprint(os.read(7, 9))\n"
        "print([n for n in sorted(map(int, os.listdir('/proc/self/fd'))) if n < 400])"
    )
    write_script("shell's", "file")
    said = []
    for words in ("", "-m timeline --no-charts -o r.timeline"):
        ended = subprocess.run(
            ["/bin/sh", "-c", f'exec "{sys.executable}" {words} "{script}" 7<file'],
            cwd=tmp_path,
            env=clean_environment(),
            capture_output=True,
            text=True,
        )
        said.append((ended.returncode, ended.stdout))
    assert said[0] == said[1]
    assert said[0][0] == 0
