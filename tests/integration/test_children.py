"""Children of a recorded program: found as they come and go, and what each had."""

from __future__ import annotations

import json
import os
import signal
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from running import begin, run

from timeline.analysis.analyze import analyze
from timeline.interchange.loading import load
from timeline.recorder.processes.notices import Notices

MIB = 1 << 20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the files of Linux")

EVERY_KIND = """
    import json, multiprocessing, os, subprocess, sys, time

    def rollup(pid):
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return int(file.read().partition("Pss:")[2].split()[0]) << 10

    def status(pid, key):
        with open(f"/proc/{pid}/status") as file:
            return int(file.read().partition(key)[2].split()[0]) << 10

    def frames(pid):
        # The page frames that a process has: their numbers are told to root alone.
        found = set()
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/pagemap", "rb", 0) as map:
            for line in maps:
                begin, end = (int(word, 16) for word in line.split()[0].split("-"))
                if "[v" in line:
                    continue
                text = os.pread(map.fileno(), (end - begin) // 4096 * 8, begin // 4096 * 8)
                for at in range(7, len(text), 8):
                    if text[at] & 0x80:
                        found.add(text[at - 7 : at - 1])
        return found

    def beyond(family):
        return set.union(*map(frames, family)) - frames(os.getpid()) - {bytes(6)}

    def work(size, ready, go):
        kept = bytearray(size << 20)
        del kept
        ready.put(os.getpid())
        go.wait()

    if __name__ == "__main__":
        held = os.urandom(150 << 20)
        workers = []
        for number, kind in enumerate(("fork", "spawn", "forkserver")):
            how = multiprocessing.get_context(kind)
            ready, go = how.SimpleQueue(), how.Event()
            worker = how.Process(target=work, args=(40 + 30 * number, ready, go))
            worker.start()
            workers.append((kind, worker, ready.get(), go))
        grandchild = "import time; kept = bytearray(25 << 20); print(flush=True); time.sleep(60)"
        child = (
            "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', sys.argv[1]], "
            "stdout=subprocess.PIPE); p.stdout.readline(); print(p.pid, flush=True); "
            "input(); p.kill(); p.wait()"
        )
        shell = subprocess.Popen(
            [sys.executable, "-c", child, grandchild],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        below = int(shell.stdout.readline())
        time.sleep(0.6)
        def listed(pid):
            with open(f"/proc/{pid}/task/{pid}/children") as file:
                return [int(word) for word in file.read().split()]
        family, at = [], [os.getpid()]
        while at:
            at = [child for pid in at for child in listed(pid)]
            family += at
        seen = {
            "pids": {kind: pid for kind, _, pid, _ in workers},
            "marks": {str(pid): status(pid, "VmHWM:") for pid in family},
            "rss": sum(status(pid, "VmRSS:") for pid in family),
            "pss": sum(map(rollup, family)),
            "own": [status(os.getpid(), "VmRSS:"), rollup(os.getpid())],
            "at": time.monotonic_ns(),
        }
        seen["beyond"] = len(beyond(family)) << 12  # by many small objects
        seen["pids"].update(child=shell.pid, below=below)
        for _, worker, _, go in workers:
            go.set()
            worker.join()
        shell.communicate("\\n")
        with open("seen.json", "w") as file:
            json.dump(seen, file)
"""


WHILE_IT_LISTENS = """
import os, time
def wait_for_the_sampler(pid):
    # Its sockets for notices and for accounts; the kernel calls them by its pid.
    sockets = {("11", str(pid)), ("16", str(pid))}
    while True:
        with open("/proc/net/netlink") as file:
            if sockets <= {tuple(line.split()[1:3]) for line in file}:
                return
        time.sleep(0.01)
"""


def notices_are_given():
    """Whether the kernel tells here of each process that ends, with what it had."""
    try:
        given = Notices()
    except OSError:
        return False
    given.close()
    return given.accounted


def at(t_ns, values, moment):
    """The value that stood at a moment."""
    return int(values[np.searchsorted(t_ns, moment, side="right") - 1])


@pytest.mark.parametrize("how", ["launched", "inside"])
def test_every_kind_of_child_is_found_with_its_own_peak_and_the_sums_are_right(
    how, write_script, run_timeline, run_python, tmp_path
):
    text = textwrap.dedent(EVERY_KIND)
    if how == "inside":
        text = text.replace(
            'if __name__ == "__main__":\n',
            'if __name__ == "__main__":\n    import timeline\n'
            '    recorder = timeline.Recorder("run.timeline", charts=False).start()\n',
        )
        text += "    recorder.stop()\n"
        ended = run_python(write_script(text), cwd=tmp_path)
        recording = load(tmp_path / "run.timeline")
    else:
        ended = run_timeline(write_script(text), cwd=tmp_path)
        recording = load(ended.recording)
    assert ended.code == 0, ended.stderr
    seen = json.loads((tmp_path / "seen.json").read_text())
    found = {process.pid: process for process in recording.processes}
    numbers = {process.number: process.pid for process in recording.processes}
    pids = seen["pids"]
    assert set(map(int, seen["marks"])) == set(found)
    assert set(pids.values()) <= set(found)
    for pid, mark in seen["marks"].items():
        process = found[int(pid)]
        assert abs(at(process.t_ns, process.mark, seen["at"]) - mark) <= MIB
        assert process.gone_ns > seen["at"] or process.name == "python", process
    assert numbers[found[pids["below"]].up] == pids["child"]
    assert [found[pids[kind]].forked for kind in ("fork", "spawn", "child")] == [True, False, False]
    series = recording.series
    for name, true in (
        ("children.rss", seen["rss"]),
        ("total.rss", seen["rss"] + seen["own"][0]),
        ("children.pss", seen["pss"]),
        ("host.pss", seen["own"][1]),
        ("total.pss", seen["pss"] + seen["own"][1]),
    ):
        read = at(series[name].t_ns, series[name].value, seen["at"])
        assert abs(read - true) <= 0.03 * true, name
    # What the children have that the target has not: as many pages as there are different ones.
    if seen["beyond"]:
        read = at(series["children.own"].t_ns, series["children.own"].value, seen["at"])
        # It is a least figure: of pages that no two of a kind have all, others have their share.
        less = seen["beyond"] - read
        assert -MIB <= less <= 0.03 * (seen["own"][0] + seen["beyond"])
    # The forked child has the parent's 150 MiB too, and once is enough.
    assert seen["rss"] > seen["pss"] + 100 * MIB
    files = {path.name for path in Path(recording.path).glob("events.*")}
    assert files == {f"events.{recording.run.pid}.jsonl"}


FORKS = """
    import os, sys
    import timeline
    with timeline.phase("outer"):
        pid = os.fork()
        if not pid:
            timeline.mark("from a child")
            with timeline.phase("in a child"):
                pass
            timeline.Recorder("child.timeline", charts=False)
        else:
            os.waitpid(pid, 0)
            timeline.mark("from the parent")
"""


def test_a_forked_child_writes_nothing_and_the_recording_ends_with_the_target(
    write_script, run_timeline
):
    ended = run_timeline(write_script(textwrap.dedent(FORKS)))
    assert ended.code == 0, ended.stderr
    recording = load(ended.recording)
    assert recording.marks.names == ("outer", "from the parent")
    assert (recording.run.exit_code, recording.damage) == (0, ())
    assert {path.name for path in ended.recording.glob("events.*")} == {
        f"events.{recording.run.pid}.jsonl"
    }


def test_the_memory_of_a_parent_is_not_counted_as_that_of_what_it_starts(
    write_script, run_timeline
):
    text = """
        import subprocess
        held = bytearray(300 << 20)
        for _ in range(300):
            subprocess.run(["true"])
    """
    text = textwrap.dedent(text)
    if notices_are_given():
        text = f"{WHILE_IT_LISTENS}wait_for_the_sampler(os.getppid())\n{text}"
    script = write_script(text)
    recording = load(run_timeline(script).recording)
    assert recording.processes, "none of 300 was seen"
    assert len(recording.processes) == 300 or not notices_are_given()
    assert max(each.peak for each in analyze(recording).processes) < 30 * MIB
    assert max(int(each.mark.max(initial=0)) for each in recording.processes) < 30 * MIB
    sums = recording.series.get("children.rss")
    assert sums is None or sums.value.max() < 60 * MIB


@pytest.mark.parametrize("how", ["launched", "inside"])
def test_of_children_of_some_milliseconds_none_is_missing(
    how, write_script, run_timeline, run_python, tmp_path
):
    if not notices_are_given():
        pytest.skip("the kernel's notices are for root outside of containers")
    text = """
        import os, subprocess, time
        for size in range(20, 60):
            if not os.fork():
                held = bytearray(size << 20)
                os._exit(0)
            os.wait()
        for _ in range(40):
            subprocess.run(["true"])
    """
    text = textwrap.dedent(text)
    if how == "inside":
        text = (
            f"{WHILE_IT_LISTENS}import json, timeline\n"
            "with timeline.Recorder('run.timeline', charts=False):\n"
            "    while not os.path.exists('run.timeline/meta.json'):\n"
            "        time.sleep(0.01)\n"
            "    with open('run.timeline/meta.json') as file:\n"
            "        wait_for_the_sampler(json.load(file)['sampler_pid'])\n"
            + textwrap.indent(text, "    ")
        )
        ended = run_python(write_script(text), cwd=tmp_path)
        recording = load(tmp_path / "run.timeline")
    else:
        # The launcher begins to listen some milliseconds after it has started the program.
        text = f"{WHILE_IT_LISTENS}wait_for_the_sampler(os.getppid())\n{text}"
        ended = run_timeline(write_script(text), cwd=tmp_path)
        recording = load(ended.recording)
    assert ended.code == 0, ended.stderr
    assert not [each for each in recording.missing if "child" in each]
    forked = [each for each in analyze(recording).processes if "(forked)" in each.label]
    others = [each for each in recording.processes if not each.forked]
    assert (len(forked), len(others)) == (40, 40)
    assert [each.peak // MIB >= size for size, each in zip(range(20, 60), forked, strict=True)]
    assert all(each.exact and each.ended for each in forked)
    assert [each.name for each in others] == ["true"] * 40
    assert max(each.peak for each in others) < 30 * MIB


def test_a_daemon_whose_parents_were_gone_at_once_is_found_while_it_lives(
    write_script, run_timeline
):
    if not notices_are_given():
        pytest.skip("the kernel's notices are for root outside of containers")
    text = """
        import os, signal, time
        wait_for_the_sampler(os.getppid())
        listen, tell = os.pipe()
        if not os.fork():
            os.setsid()
            if not os.fork():
                held = bytearray(30 << 20)
                while os.getppid() != 1:  # as daemons do that must be sure
                    time.sleep(0.001)
                os.write(tell, b"%d" % os.getpid())
                time.sleep(60)
            os._exit(0)
        os.wait()
        daemon = int(os.read(listen, 20))
        time.sleep(0.5)
        os.kill(daemon, signal.SIGKILL)
        # It gives back its memory before it is gone, and who adopted it comes to it when he can.
        try:
            while "(zombie)" not in open(f"/proc/{daemon}/status").read():
                time.sleep(0.001)
        except OSError:
            pass
        time.sleep(0.2)  # for the kernel's word of it
        print(daemon)
    """
    ended = run_timeline(write_script(WHILE_IT_LISTENS + textwrap.dedent(text)))
    recording = load(ended.recording)
    (daemon,) = [each for each in recording.processes if each.pid == int(ended.stdout)]
    assert daemon.rss.max() > 30 * MIB
    assert daemon.gone_ns - daemon.found_ns > 0.4e9
    (parent,) = [each for each in recording.processes if each.number == daemon.up]
    assert parent.up == 0
    assert recording.series["children.rss"].value.max() > 30 * MIB


def test_zombies_orphans_and_what_outlives_the_target_are_told_apart(write_script, run_timeline):
    script = write_script(
        textwrap.dedent("""
        import os, subprocess, sys, time
        zombie = os.fork()
        if not zombie:
            held = bytearray(20 << 20)
            time.sleep(0.3)
            os._exit(0)
        # A daemon: its parent ends at once, and another process adopts it.
        daemon = subprocess.run(
            [sys.executable, "-c",
             "import os, subprocess, sys, time; time.sleep(0.3); p = subprocess.Popen("
             "[sys.executable, '-c', 'import time; held = bytearray(30 << 20); time.sleep(3)'], "
             "start_new_session=True, stdout=subprocess.DEVNULL); time.sleep(0.3); print(p.pid)"],
            stdout=subprocess.PIPE, text=True,
        ).stdout
        time.sleep(0.5)
        print(zombie, daemon)
        """)
    )
    ended = run_timeline(script)
    zombie, daemon = map(int, ended.stdout.split()[:2])
    try:
        recording = load(ended.recording)
        found = {process.pid: process for process in recording.processes}
        assert [process.pid for process in recording.processes].count(zombie) == 1
        assert found[zombie].gone_ns
        assert found[zombie].mark.max() > 20 * MIB
        assert not found[daemon].gone_ns
        assert found[daemon].rss[-1] > 30 * MIB
        os.kill(daemon, 0)  # we ended nobody
    finally:
        os.kill(daemon, signal.SIGKILL)


def test_what_a_child_reached_at_the_last_moment_is_in_its_peak(write_script, run_timeline):
    child = (
        "import sys, time; print(flush=True); sys.stdin.readline(); x = b'x' * (200 << 20); del x; "
        "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0], flush=True); "
        "time.sleep(3)"
    )
    script = write_script(
        "import os, subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], stdin=subprocess.PIPE,\n"
        "                         stdout=subprocess.PIPE, text=True)\n"
        "child.stdout.readline()\n"
        "time.sleep(0.5)\n"
        "child.stdin.write('\\n'); child.stdin.flush()\n"
        "print(child.stdout.readline().strip(), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    ended = run_timeline(script)
    (found,) = analyze(load(ended.recording)).processes
    assert found.exact
    assert found.peak >= int(ended.stdout) << 10


def test_a_child_that_becomes_another_program_is_known_by_that_one(write_script, run_timeline):
    script = write_script(
        textwrap.dedent("""
        import os, time
        held = bytearray(200 << 20)
        pid = os.fork()
        if not pid:
            time.sleep(0.3)
            os.execvp("sleep", ["sleep", "1.5"])
        os.waitpid(pid, 0)
        """)
    )
    (child,) = load(run_timeline(script).recording).processes
    assert (child.name, child.command, child.forked) == ("sleep", "sleep 1.5", False)
    before = child.t_ns < child.runs_since_ns
    assert child.mark[before].max() > 200 * MIB
    assert child.mark[~before].max() < 30 * MIB


def test_a_storm_of_brief_children_and_a_bomb_are_bounded_and_said(write_script, run_timeline):
    script = write_script(
        textwrap.dedent("""
        import os, time
        bomb = []
        for _ in range(600):
            pid = os.fork()
            if not pid:
                time.sleep(60)
                os._exit(0)
            bomb.append(pid)
        time.sleep(2)
        for pid in bomb:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        end = time.monotonic() + 1.5
        count = 0
        while time.monotonic() < end:
            pid = os.fork()
            if not pid:
                os._exit(0)
            os.waitpid(pid, 0)
            count += 1
        print(count)
        """)
    )
    ended = run_timeline(script)
    assert ended.code == 0
    recording = load(ended.recording)
    said = " ".join(recording.missing)
    # Where reading so many took more than its share, notices told of the rest once it was earned.
    everyone = len(recording.processes) >= 600
    assert everyone or "more than are read (at most 400)" in said
    assert recording.damage == ()
    assert len(recording.processes) >= 400


def test_children_whose_files_cannot_be_opened_are_said_with_the_cause(write_script, tmp_path):
    script = write_script(
        "import os, time\n"
        "for _ in range(12):\n"
        "    if not os.fork():\n"
        "        time.sleep(1)\n"
        "        os._exit(0)\n"
        "for _ in range(12): os.wait()\n"
        "print('done')\n"
    )
    command = f'ulimit -n 24; exec "{sys.executable}" -m timeline --no-charts -o r "{script}"'
    ended = run(["bash", "-c", command], cwd=tmp_path)
    assert (ended.stdout, ended.code) == ("done\n", 0), ended.stderr
    said = " ".join(load(tmp_path / "r").missing)
    assert "their files cannot be opened (Too many open files)" in said


def test_a_killed_target_and_a_killed_launcher_leave_what_was_read(write_script, tmp_path):
    script = write_script(
        textwrap.dedent("""
        import os, time
        listen, tell = os.pipe()
        for _ in range(3):
            if not os.fork():
                held = bytearray(40 << 20)
                os.write(tell, b".")
                time.sleep(30)
                os._exit(0)
        for _ in range(3):
            os.read(listen, 1)
        print(os.getpid(), flush=True)
        time.sleep(30)
        """)
    )
    launcher = begin(
        [sys.executable, "-m", "timeline", "--no-charts", "-o", "run.timeline", str(script)],
        cwd=tmp_path,
    )
    try:
        target = int(launcher.stdout.readline())
        time.sleep(1)
        launcher.kill()
        launcher.wait()
        recording = load(tmp_path / "run.timeline")
        assert recording.run.end == "cut-off"
        assert [each.mark.max() > 40 * MIB for each in recording.processes] == [True] * 3
        assert len(recording.series["total.pss"])
        assert not [each for each in recording.damage if "processes" in each]
    finally:
        for process in recording.processes:
            os.kill(process.pid, signal.SIGKILL)
        os.kill(target, signal.SIGKILL)
        launcher.communicate(timeout=60)


SECRETIVE = """
    import ctypes, os, time
    libc = ctypes.CDLL(None)
    libc.prctl(4, 0)  # PR_SET_DUMPABLE: a child that is born now has files that are root's
    pid = os.fork()
    if not pid:
        held = bytearray(30 << 20)
        time.sleep(30)
        os._exit(0)
    libc.prctl(4, 1)
    time.sleep(1.2)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
"""


def kernel_has(major, minor):
    """Whether the kernel is of this version or later."""
    return tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) >= (major, minor)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="mounts, as root alone may")
@pytest.mark.parametrize("hidden", [False, True])
def test_a_process_that_may_not_be_looked_at_is_a_sentence(hidden, write_script, tmp_path):
    # Without capabilities a process whose files are closed to it is as one of another user.
    script = write_script(textwrap.dedent(SECRETIVE))
    if not kernel_has(5, 8):
        pytest.skip("every /proc of a machine is one: what is hidden here would be everywhere")
    mount = "mount -t proc -o hidepid=2,gid=12345 proc /proc && " if hidden else ""
    command = [
        *("unshare", "-m", "sh", "-c", mount + 'exec setpriv --bounding-set=-all "$@"', "sh"),
        *(sys.executable, "-m", "timeline", "--no-charts", "-o", "run.timeline", str(script)),
    ]
    try:
        launcher = begin(command, cwd=tmp_path)
    except FileNotFoundError as error:
        pytest.skip(f"not possible here: {error}")
    said = launcher.communicate(timeout=120)
    if not (tmp_path / "run.timeline").exists():
        pytest.skip(f"not possible here: {said}")
    recording = load(tmp_path / "run.timeline")
    said = " ".join(recording.missing)
    if hidden:
        assert "1 child process that may not be looked at here" in said
        assert recording.processes == ()
    else:
        assert "not allowed; its RSS stands for it" in said
        (child,) = recording.processes
        assert child.rss.max() > 30 * MIB
        assert recording.series["children.pss"].value.max() > 30 * MIB
