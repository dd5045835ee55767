"""What killed a run, and where: programs that really die, and what the report then opens with."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from memory_cgroup import inside, memory_cgroup
from running import begin, clean_environment, run

import timeline

ROOT = Path(__file__).resolve().parents[2]
MiB = 1 << 20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's files are Linux's")

GROWS = """
import os, sys, time
from timeline import phase
while sys.argv[1:] and not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
kept = []
for step in range(1000):
    with phase("step/forward"):
        kept.append(bytearray(6 << 20))
        time.sleep(0.004)
    with phase("step/backward"):
        kept.append(bytearray(4 << 20))
        time.sleep(0.004)
    with phase("step/optimizer"):
        kept.append(bytearray(2 << 20))
        time.sleep(0.002)
"""
STEPS = """
import os, signal, sys, time
from timeline import phase
for step in range(3):
    with phase("step/forward"):
        kept = bytearray(8 << 20)
        time.sleep(0.02)
    with phase("step/backward"):
        if step == 2:
            END
    with phase("step/optimizer"):
        pass
"""


def launched(out, script) -> list[str]:
    return [sys.executable, "-m", "timeline", "-o", str(out), "--no-charts", str(script)]


def report(recording, tmp_path) -> tuple[dict, str]:
    """The document and the table of a recording, as somebody makes them later."""
    command = [sys.executable, "-m", "timeline", "report", str(recording)]
    table = run(command, cwd=tmp_path, env={"COLUMNS": "200"})
    assert table.code == 0, table.stderr
    return json.loads(run([*command, "--json"], cwd=tmp_path).stdout), table.stdout


def test_an_oom_kill_in_a_cgroup_is_named_with_its_limit(write_script, tmp_path):
    out = tmp_path / "run.timeline"
    with memory_cgroup(300 * MiB) as cgroup:
        ended = run(inside(cgroup, launched(out, write_script(GROWS))), cwd=tmp_path)
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
    # 12 MiB a step: the launcher and this Python have some 30 of the 300.
    assert 17 <= death["step"] <= 25
    _grew_as_it_does(death)
    assert document["run"]["headroom"][0]["room"] < MiB
    used = document["channels"]["cgroup.used"]
    assert 200 * MiB < used["peak"] <= 300 * MiB


def _grew_as_it_does(death):
    """The three phases of a step, in the order of what each takes."""
    grew = {each["path"]: each["bytes"] for each in death["grew"]}
    assert list(grew) == ["step/forward", "step/backward", "step/optimizer"]
    for size, taken in zip((6, 4, 2), grew.values(), strict=True):
        assert size * MiB <= taken < (size + 1) * MiB


@pytest.fixture
def killed_as_a_group(write_script, tmp_path):
    """A run in a cgroup whose OOM killer takes the recorder too; yields the recording and cgroup.

    ``memory.oom.group`` is of version 2. Of version 1 we hold the OOM killer back until the
    recorder is dead, which leaves behind just what a group kill does: no end, and the count.
    """
    out = tmp_path / "run.timeline"
    go = tmp_path / "go"
    command = [*launched(out, write_script(GROWS)), str(go)]
    with memory_cgroup(300 * MiB) as cgroup:
        if cgroup.version == 2:
            go.touch()
            Path(cgroup.path, "memory.oom.group").write_text("1")
            run(inside(cgroup, command), cwd=tmp_path)
        else:
            _killed_by_hand(cgroup.path, inside(cgroup, command), out, go)
        yield out, cgroup


def _killed_by_hand(path: str, command: list[str], out: Path, go: Path) -> None:
    control = Path(path, "memory.oom_control")
    struck = os.eventfd(0)
    with control.open() as file:
        told = f"{struck} {file.fileno()}"
        Path(path, "cgroup.event_control").write_text(told)
        control.write_text("1")
        launcher = subprocess.Popen(
            command, cwd=out.parent, env=clean_environment(), stderr=subprocess.DEVNULL
        )
        while not (out / "meta.json").exists() or not list(out.glob("events.*")):
            time.sleep(0.02)
        # Out of there: with the OOM killer held back it too would wait when it needs a page.
        Path(path).parent.joinpath("cgroup.procs").write_text(str(launcher.pid))
        go.touch()
        os.eventfd_read(struck)
        while _used(out) < 0.98 * 300 * MiB:
            assert launcher.poll() is None
            time.sleep(0.05)
        launcher.kill()
        launcher.wait()
        control.write_text("0")
        while Path(path, "cgroup.procs").read_text():
            time.sleep(0.02)
    os.close(struck)


def _used(out: Path) -> int:
    series = timeline.load(out).series.get("cgroup.used")
    return int(series.value[-1]) if series is not None and len(series) else 0


def test_a_kill_of_the_whole_group_is_told_by_the_kernels_count_while_the_cgroup_is_there(
    killed_as_a_group, tmp_path
):
    out, _ = killed_as_a_group
    assert not (out / "summary.json").exists()
    document, table = report(out, tmp_path)
    death = document["run"]["death"]
    assert document["run"]["end"] == "cut-off"
    assert (death["cause"], death["certain"]) == ("oom-cgroup", True)
    assert (death["limit"], 17 <= death["step"] <= 25) == (300 * MiB, True)
    _grew_as_it_does(death)
    said = "killed together with its recorder by the cgroup's OOM killer at 300.0 MiB of 300.0 MiB"
    assert f"{said}, in step {death['step']}, " in table.splitlines()[0]


def test_a_kill_of_the_whole_group_is_very_probable_once_the_cgroup_is_gone(
    killed_as_a_group, tmp_path
):
    out, cgroup = killed_as_a_group
    os.rmdir(cgroup.path)
    document, table = report(out, tmp_path)
    death = document["run"]["death"]
    assert (death["cause"], death["certain"]) == ("oom-probable", False)
    assert "very probably killed together with its recorder by the cgroup's OOM killer" in table
    assert death["limit"] == 300 * MiB
    assert death["bytes"] > 285 * MiB


def test_a_cgroup_of_the_same_name_is_not_taken_for_the_one_that_is_gone(
    killed_as_a_group, tmp_path
):
    out, cgroup = killed_as_a_group
    os.rmdir(cgroup.path)
    os.mkdir(cgroup.path)
    document, _ = report(out, tmp_path)
    assert document["run"]["death"]["certain"] is False


def test_a_memory_error_at_a_limit_of_address_space_is_named_with_both(write_script, tmp_path):
    out = tmp_path / "run.timeline"
    command = ["sh", "-c", 'ulimit -v 700000 && exec "$@"', "sh"]
    ended = run([*command, *launched(out, write_script(GROWS, "train.py"))], cwd=tmp_path)
    assert ended.code == 1
    assert ended.stderr.count("Traceback") == 1
    document, table = report(out, tmp_path)
    death = document["run"]["death"]
    assert (death["cause"], death["limit"], death["limited"]) == (
        "memory-error", 700_000 << 10, "RLIMIT_AS",
    )  # fmt: skip
    assert death["limit"] - 8 * MiB < death["bytes"] <= death["limit"]
    assert death["phase"] in ("step/forward", "step/backward", "step/optimizer")
    assert table.startswith("train.py: ")
    assert "exited with code 1: MemoryError (train.py:" in table.splitlines()[0]
    # Twelve MiB a step, from what Python has mapped at its start.
    assert 10 < death["step"] < 58
    _grew_as_it_does(death)


def test_an_exception_is_placed_in_the_phase_that_it_came_from_and_changes_nothing(
    write_script, run_timeline, run_python, tmp_path
):
    text = STEPS.replace(
        "END",
        """\
try:
                with phase("other"):
                    raise KeyError("handled")
            except KeyError:
                pass
            assert sys.excepthook is sys.__excepthook__
            raise ValueError("a text " * 200)""",
    )
    script = write_script(text)
    plain, recorded = run_python(script), run_timeline(script)
    assert recorded.code == plain.code == 1
    assert recorded.stderr.startswith(plain.stderr)
    death = report(recorded.recording, tmp_path)[0]["run"]["death"]
    assert (death["cause"], death["phase"], death["step"]) == ("exception", "step/backward", 3)
    assert death["sentence"].startswith("exited with code 1: ValueError (script.py:")
    assert len(death["evidence"]) < 500


def test_an_out_of_memory_error_of_a_device_is_told_apart(write_script, run_timeline, tmp_path):
    said = (
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has a total capacity of 79.10 GiB "
        "of which 1.10 GiB is free. Including non-PyTorch memory, this process has …"
    )
    text = "class OutOfMemoryError(RuntimeError): __module__ = 'torch'\n"
    text += STEPS.replace("END", f"raise OutOfMemoryError({said!r})")
    recorded = run_timeline(write_script(text))
    document, table = report(recorded.recording, tmp_path)
    death = document["run"]["death"]
    assert death["cause"] == "gpu-memory-error"
    assert "\ntorch.OutOfMemoryError: CUDA" in table, "its name is as torch writes it"
    assert "torch.OutOfMemoryError" in death["sentence"]
    assert death["sentence"].endswith(" at 78.0 GiB of 79.1 GiB on cuda1, in step 3, backward")
    assert "Tried to allocate 2.00 GiB" in death["evidence"]


@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL at "),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV (a segmentation fault) at "),
        ("os.kill(os.getpid(), signal.SIGHUP)", "killed by SIGHUP (its terminal went away) at "),
        ("os.abort()", "killed by SIGABRT (it aborted itself) at "),
        ("os._exit(7)", "exited with code 7 at "),
    ],
)
def test_a_signal_or_a_hard_exit_is_named_with_the_step_and_phase(
    end, sentence, write_script, run_timeline, tmp_path
):
    recorded = run_timeline(write_script(STEPS.replace("END", end)))
    assert recorded.code < 0 or recorded.code == 7
    document, table = report(recorded.recording, tmp_path)
    first = " ".join(table.split())
    assert sentence in first
    assert "in step 3, backward" in first
    death = document["run"]["death"]
    assert 8 * MiB < death["bytes"] < 100 * MiB
    if "SIGKILL" in end:
        assert "not the kernel's OOM killer" in death["evidence"]


def test_a_program_that_outlives_its_recorder_is_said_to(write_script, tmp_path):
    out = tmp_path / "run.timeline"
    text = """
        import os, time
        from timeline import mark
        mark("here")
        while not os.path.exists("enough"):
            time.sleep(0.01)
    """
    text = textwrap.dedent(text)
    launcher = begin(launched(out, write_script(text)), cwd=tmp_path)
    while not any(out.glob("events.*")) or b"here" not in next(out.glob("events.*")).read_bytes():
        time.sleep(0.02)
    while not (out / "meta.json").exists():
        time.sleep(0.02)
    launcher.kill()
    launcher.wait()
    lives, _ = report(out, tmp_path)
    (tmp_path / "enough").touch()
    launcher.communicate()  # the program holds the other ends, until it ends
    ended, table = report(out, tmp_path)
    assert lives["run"]["death"]["sentence"].startswith("its recorder was lost and it lives still")
    assert ended["run"]["death"]["cause"] == "recorder-lost"
    assert "its recorder was lost and it went on to its end: last sampled at " in table


LOSES_ITS_HELPER = """
import json, os, signal, sys, time
from timeline import Recorder, phase
try:
    with Recorder("run.timeline", charts=False):
        for step in range(30):
            with phase("step/forward"):
                kept = bytearray(20 << 20)
                time.sleep(0.01)
            with phase("step/backward"):
                more = bytearray(5 << 20)
                if step == 20:
                    time.sleep(0.3)
                    with open("run.timeline/meta.json") as file:
                        os.kill(json.load(file)["sampler_pid"], signal.SIGKILL)
                del more
            with phase("step/optimizer"):
                time.sleep(0.005)
        if sys.argv[1:]:
            raise KeyError("later")
except KeyError:
    sys.exit(3)
print("to its end")
"""


def test_a_program_whose_helper_is_killed_goes_on_and_the_report_says_where_it_was_lost(
    write_script, run_python, tmp_path
):
    script = write_script(LOSES_ITS_HELPER, "train.py")
    ended = run_python(script, cwd=tmp_path)
    assert (ended.code, ended.stdout) == (0, "to its end\n")
    assert ended.stderr == "timeline: the sampling process ended before the recording\n"
    document, table = report(tmp_path / "run.timeline", tmp_path)
    death = document["run"]["death"]
    said = "its recorder was lost and it went on to its end: last sampled at "
    assert (death["cause"], death["phase"], death["step"]) == ("recorder-lost", "step/backward", 21)
    assert said in table.splitlines()[0]
    assert table.splitlines()[0].endswith(", in step 21, backward")
    assert "the process that sampled ended " in death["evidence"]
    assert death["last"].startswith("in the last ")
    assert [each["path"] for each in death["grew"]][:2] == ["step/forward", "step/backward"]
    phases = {each["path"]: each["count"] for each in document["phases"]}
    assert phases["step/forward"] == phases["step/optimizer"] == 30  # marks went on
    shutil.rmtree(tmp_path / "run.timeline")
    ended = run_python(script, "fails", cwd=tmp_path)
    assert ended.code == 3
    death = report(tmp_path / "run.timeline", tmp_path)[0]["run"]["death"]
    assert death["cause"] == "exception"
    assert "KeyError" in death["sentence"]
    assert "the process that sampled ended" in death["evidence"]


def test_a_closed_terminal_ends_program_and_launcher_with_a_whole_recording(write_script, tmp_path):
    import pty

    out = tmp_path / "run.timeline"
    script = write_script("import time\nfrom timeline import phase\nwith phase('load'):\n"
                          "    time.sleep(30)\n")  # fmt: skip
    child, terminal = pty.fork()
    if not child:
        os.execve(sys.executable, launched(out, script), clean_environment())
    while not list(out.glob("events.*")) or not (out / "meta.json").exists():
        time.sleep(0.02)
    time.sleep(0.2)
    os.close(terminal)  # the kernel sends SIGHUP to all in the foreground
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGHUP
    document, _ = report(out, tmp_path)
    assert document["run"]["signal"] == "SIGHUP"
    assert document["run"]["death"]["sentence"].endswith("in load")


def test_random_kills_of_each_process_leave_whole_recordings_and_nobody(tmp_path):
    ended = run([sys.executable, str(ROOT / "benchmarks/kills.py"), "8", "7"], cwd=tmp_path)
    assert ended.code == 0, ended.stdout + ended.stderr
    assert "8 kills, 0 wrong" in ended.stdout


def test_on_a_full_disk_the_end_has_the_room_that_was_kept_for_it(write_script, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk of 40 KiB can be made here: that needs root and mount")
    script = write_script("""
import time
from timeline import mark
for number in range(150):
    mark("x" * 300)
    time.sleep(0.002)
raise SystemExit(3)
""")
    try:
        ended = run(launched(disk / "run", script), cwd=tmp_path)
        document, table = report(disk / "run", tmp_path)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert ended.code == 3
    assert (document["run"]["end"], document["run"]["exit_code"]) == ("exited", 3)
    assert document["channels"]["host.rss"]["exact"] is False
    assert "no space left on device" in table or "the disk is full" in table
    assert "exited with code 3" in table.splitlines()[0]
    assert "the program's marks end after " in " ".join(table.split())


LOSES_A_CHILD = """
import subprocess, sys
from timeline import phase
with phase("data"):
    grown = "kept = []\\nwhile True: kept.append(bytearray(4 << 20))"
    child = subprocess.run([sys.executable, "-c", grown])
if sys.argv[1:]:
    raise RuntimeError(f"a worker ended by {child.returncode}")
"""


@pytest.mark.parametrize("fails", [[], ["fails"]], ids=["goes on", "fails"])
def test_a_child_that_the_oom_killer_took_is_told_of(fails, write_script, tmp_path):
    out = tmp_path / "run.timeline"
    with memory_cgroup(300 * MiB) as cgroup:
        command = [*launched(out, write_script(LOSES_A_CHILD)), *fails]
        ended = run(inside(cgroup, command), cwd=tmp_path)
    assert ended.code == len(fails)
    document, table = report(out, tmp_path)
    run_, (child,) = document["run"], document["processes"]
    # Only the kernel's notices tell how somebody else's child ended.
    known = child["signal"] == "SIGKILL"
    assert known or child["signal"] is None
    if fails:
        assert run_["death"]["cause"] == "oom-other"
        assert "exited with code 1: RuntimeError (script.py:" in table.splitlines()[0]
        assert "after the cgroup's OOM killer took a process beside it" in table.splitlines()[0]
        said = run_["death"]["evidence"]
    else:
        assert run_["death"] is None
        (said,) = (note for note in document["notes"] if "OOM" in note)
        assert "and not this program" in said
    assert f"took 1 process of {cgroup.path} during the run" in said
    assert ("ended by SIGKILL" in said) == known
