"""`timeline report`, as a person types it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from timeline import load

PROGRAM = """
import timeline
with timeline.phase("spike"):
    block = b"x" * (200 << 20)
    del block
with timeline.phase("two words"):
    kept = b"x" * (50 << 20)
"""

MPROF = "CMDLINE python old.py\nMEM 10.0 100.0\nMEM 30.0 101.0\n"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A real recording, made once."""
    from running import run

    place = tmp_path_factory.mktemp("recorded")
    (place / "program.py").write_text(PROGRAM)
    command = ["-m", "timeline", "--no-charts", "-o", "run.timeline", "program.py"]
    ended = run([sys.executable, *command], cwd=place)
    assert ended.code == 0, ended.stderr
    return place / "run.timeline"


@pytest.fixture
def report(run_python):
    def call(*words, **options):
        return run_python("-m", "timeline", "report", *words, **options)

    return call


def test_the_table_is_printed(report, recorded):
    ended = report(recorded)
    assert ended.code == 0, ended.stderr
    assert ended.stderr == ""
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("program.py: ")
    assert "exited with code 0" in lines[0]
    assert "in spike" in lines[1]
    assert any(line.startswith("▶ spike") for line in lines)
    assert max(map(len, lines)) <= 80


def test_the_table_of_the_run_itself_is_the_table_of_report(recorded, run_timeline, write_script):
    ended = run_timeline(write_script("print('hello')"))
    assert ended.stdout == "hello\n"
    assert "Peak" in ended.stderr


def test_json_is_one_document(report, recorded):
    found = json.loads(report(recorded, "--json").stdout)
    assert found["timeline"] == 1
    assert found["channels"]["host.rss"]["exact"] is True
    assert found["channels"]["host.rss"]["peak_phase"] == "spike"
    spike = next(each for each in found["phases"] if each["path"] == "spike")
    assert 199 << 20 < spike["peak"]["host.rss"]["delta"] < 203 << 20


def test_every_kind_of_file_is_written_at_once(report, recorded, tmp_path):
    names = ("a.png", "b.HTML", "c.json", "d.txt")
    ended = report(recorded, *(word for name in names for word in ("-o", name)))
    assert ended.code == 0, ended.stderr
    assert ended.stdout == ""
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert b"<html" in (tmp_path / "b.HTML").read_bytes().lower()
    assert json.loads((tmp_path / "c.json").read_text())["timeline"] == 1
    assert "Peak" in (tmp_path / "d.txt").read_text(encoding="utf-8")
    assert sorted(os.listdir(tmp_path)) == sorted(names)


def test_a_chart_of_the_same_name_is_replaced_and_a_link_followed(report, recorded, tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    assert report(recorded, "-o", "link.txt", "--json").code == 0
    assert "Peak" in (tmp_path / "real.txt").read_text(encoding="utf-8")
    assert (tmp_path / "link.txt").is_symlink()


def test_a_file_of_mprof_is_shown(report, tmp_path):
    (tmp_path / "mprofile_20261122080000.dat").write_text(MPROF)
    ended = report("mprofile_20261122080000.dat", "-o", "x.png", "--theme", "dark", "--json")
    assert ended.code == 0, ended.stderr
    assert json.loads(ended.stdout)["channels"]["host.rss"]["peak"] == 30 << 20
    assert (tmp_path / "x.png").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs here")
def test_a_fifo_is_written_into_and_stays_one(report, recorded, tmp_path):
    os.mkfifo(tmp_path / "there.json")
    with subprocess.Popen(
        [sys.executable, "-c", "print(open('there.json').read())"],
        cwd=tmp_path, stdout=subprocess.PIPE,
    ) as reader:  # fmt: skip
        ended = report(recorded, "-o", "there.json")
        assert ended.code == 0, ended.stderr
        assert json.loads(reader.stdout.read())["run"]
    assert (tmp_path / "there.json").is_fifo()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["nothing"], 1, "nothing: no such file or directory"),
        (["empty"], 1, "empty"),
        (["foreign"], 1, "not a recording"),
        (["foreign.dat"], 1, "no run directory of timeline, no file of mprof"),
        (["newer"], 1, "newer"),
        (["old.dat", "-o", "chart.pdf"], 2, ".html, .png, .json, .txt"),
        (["old.dat", "-o", "chart"], 2, "no suffix"),
        (["old.dat", "-o", "no/where.png"], 1, "there is no directory"),
        (["old.dat", "-o", "folder.txt"], 1, "is a directory"),
        (["old.dat", "-o", "x" * 300 + ".txt"], 1, "cannot be written"),
        (["run.txt", "-o", "run.txt"], 2, "part of the recording"),
        (["newer", "-o", "newer/meta.json"], 2, "part of the recording"),
        (["newer", "-o", "newer/breakdown.json"], 2, "part of the recording"),
        (["old.dat", "--theme", "dark"], 2, "--theme is for a chart"),
    ],
)
def test_what_cannot_be_is_one_sentence(report, recorded, tmp_path, words, code, sentence):
    for name in ("empty", "foreign", "folder.txt"):
        (tmp_path / name).mkdir()
    (tmp_path / "foreign" / "notes.md").write_text("hello")
    (tmp_path / "foreign.dat").write_bytes(os.urandom(64))
    for name in ("old.dat", "run.txt"):
        (tmp_path / name).write_text(MPROF)
    shutil.copytree(recorded, tmp_path / "newer")
    meta = json.loads((tmp_path / "newer" / "meta.json").read_text())
    (tmp_path / "newer" / "meta.json").write_text(json.dumps({**meta, "timeline": 99}))
    ended = report(*words)
    assert ended.code == code
    assert ended.stdout == ""
    assert ended.stderr.startswith("timeline: ")
    assert ended.stderr.count("\n") == 1
    assert sentence in ended.stderr
    assert (tmp_path / "run.txt").read_text() == MPROF


@pytest.mark.parametrize("words", [[], ["--bogus"], ["a", "b"], ["a", "-o"], ["a", "--theme=x"]])
def test_a_wrong_command_line_is_a_usage_error(report, words):
    ended = report(*words)
    assert ended.code == 2
    assert "error:" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_help_is_the_docstring_in_any_encoding(report):
    from timeline.cli import report as verb

    ended = report("--help", env={"PYTHONIOENCODING": "ascii"})
    assert ended.code == 0
    assert verb.__doc__.strip().splitlines()[0] in ended.stdout


def test_an_ascii_stream_gets_ascii(report, recorded):
    ended = report(recorded, env={"PYTHONIOENCODING": "ascii"})
    assert ended.code == 0
    assert ended.stdout.isascii()
    assert "> spike" in ended.stdout


def test_width_and_colour_follow_the_environment(report, recorded):
    wide = report(recorded, env={"COLUMNS": "120", "FORCE_COLOR": "1"}).stdout
    assert "\x1b[" in wide
    narrow = report(recorded, env={"COLUMNS": "44", "NO_COLOR": "1", "FORCE_COLOR": "1"}).stdout
    assert "\x1b[" not in narrow
    assert max(map(len, narrow.splitlines())) <= 44


def test_a_reader_that_leaves_early_is_no_error(recorded, tmp_path):
    from running import clean_environment

    names = "".join(f"FUNC f{i} 1.0 {i}.0 1.0 {i}.5 0\n" for i in range(20_000))
    (tmp_path / "many.dat").write_text(MPROF + names)
    process = subprocess.Popen(
        [sys.executable, "-m", "timeline", "report", "many.dat", "--json"],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.readline()
    process.stdout.close()
    stderr = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_one_sentence(recorded, tmp_path):
    from running import clean_environment

    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "timeline", "report", str(recorded)],
            cwd=tmp_path,
            env=clean_environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr == "timeline: stdout cannot be written: No space left on device\n"


def test_a_running_recording_can_be_shown(report, tmp_path):
    from running import clean_environment

    (tmp_path / "waits.py").write_text(
        "import sys, timeline\n"
        "with timeline.phase('waiting'):\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "timeline", "--no-charts", "-o", "live.timeline", "waits.py"],
        cwd=tmp_path,
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        while not len(load(tmp_path / "live.timeline").marks):
            time.sleep(0.05)
        ended = report("live.timeline")
        assert ended.code == 0, ended.stderr
        assert "still running" in ended.stdout
        assert "waiting" in ended.stdout
    finally:
        process.communicate("\n")
    assert "exited with code 0" in report("live.timeline").stdout


def test_a_recording_whose_both_sides_were_killed_can_be_shown(report, recorded, tmp_path):
    cut = tmp_path / "cut.timeline"
    shutil.copytree(recorded, cut)
    (cut / "summary.json").unlink()
    meta = json.loads((cut / "meta.json").read_text())
    (cut / "meta.json").write_text(json.dumps({**meta, "sampler_pid": _gone()}))
    rows = next(cut.glob("samples.*.npy"))
    rows.write_bytes(rows.read_bytes()[:-5])
    ended = report(cut)
    assert ended.code == 0, ended.stderr
    assert "cut off" in ended.stdout
    assert "Peak" in ended.stdout


def _gone() -> int:
    """The pid of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_hostile_names_reach_no_terminal(report, run_timeline, write_script):
    ended = run_timeline(
        write_script(
            "import timeline\nwith timeline.phase('\\x1b[2Jgotcha\\n\\u202e'):\n    pass\n"
        )
    )
    shown = report(ended.recording).stdout
    assert r"\x1b[2Jgotcha\n\u202e" in shown
    assert "\x1b" not in shown


def test_ctrl_c_leaves_no_half_file(recorded, tmp_path):
    from running import clean_environment

    process = subprocess.Popen(
        [sys.executable, "-m", "timeline", "report", str(recorded), "-o", "x.html"],
        cwd=tmp_path,
        env=clean_environment(),
        stderr=subprocess.DEVNULL,
    )
    process.send_signal(signal.SIGINT)
    process.wait()
    assert set(os.listdir(tmp_path)) <= {"x.html"}
