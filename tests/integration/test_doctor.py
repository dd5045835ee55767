"""`timeline doctor`: what it says is what is so on this machine."""

import json
import os
import platform
import sys
from importlib import metadata

import pytest
from running import run

from timeline.cli import doctor


def found(ended):
    assert ended.code == 0, ended.stderr
    return {each["about"]: each for each in json.loads(ended.stdout)["doctor"]}


def test_each_thing_has_a_line_with_a_mark(run_python):
    ended = run_python("-m", "timeline", "doctor")
    assert ended.code == 0, ended.stderr
    for about in (
        "system",
        "marks",
        "sampling",
        "accuracy",
        "children",
        "limits",
        "psutil",
        "memory_profiler",
        "GPU",
    ):
        assert any(line[0] in "✓✗·" and line[2:].startswith(about)
                   for line in ended.stdout.splitlines())  # fmt: skip
    assert "\x1b" not in ended.stdout


def test_the_document_says_the_same(run_python):
    here = found(run_python("-m", "timeline", "doctor", "--json"))
    assert metadata.version("psutil") in here["psutil"]["text"]
    assert platform.python_version() in here["timeline"]["text"]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's files are Linux's")
def test_the_high_water_mark_is_really_tried(run_python):
    here = found(run_python("-m", "timeline", "doctor", "--json"))
    if os.access("/proc/self/clear_refs", os.W_OK):
        assert here["marks"]["mark"] == here["sampling"]["mark"] == "yes"
        assert "reset worked" in here["marks"]["text"]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's files are Linux's")
def test_children_and_shared_pages_are_really_tried(run_python):
    here = found(run_python("-m", "timeline", "doctor", "--json"))
    said = here["children"]["text"]
    if os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        assert here["children"]["mark"] == "yes"
        by_list = said.startswith(
            "are found by the kernel's own lists: a child was; one that lives"
        )
        assert by_list or said.startswith("the kernel gives notice of each, however brief")
    assert here["PSS"]["mark"] == "yes"
    assert here["PSS"]["text"].endswith(" MiB here")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's files are Linux's")
def test_in_a_container_children_are_found_by_lists_and_what_that_misses_is_said(tmp_path):
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-m", "timeline"]
    ended = run([*command, "doctor", "--json"], cwd=tmp_path)
    if "unshare" in ended.stderr:
        pytest.skip(f"no namespace of processes can be made here: {ended.stderr}")
    said = found(ended)["children"]["text"]
    assert said == (
        "are found by the kernel's own lists: a child was; one that lives less than 10 ms may go "
        "unseen (no notices: processes have other numbers outside of this container)"
    )


def test_torch_is_found_without_being_imported(run_python):
    code = (
        "import sys\n"
        "from timeline.cli.doctor import run\n"
        "run(['--json'])\n"
        "heavy = {'torch', 'matplotlib', 'bokeh', 'memory_profiler'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    assert "torch" in found(run_python("-c", code))


def test_an_ascii_stream_gets_ascii(run_python):
    ended = run_python("-m", "timeline", "doctor", env={"PYTHONIOENCODING": "ascii"})
    assert ended.code == 0, ended.stderr
    assert ended.stdout.isascii()


@pytest.mark.parametrize(
    ("system", "release", "cpus", "says"),
    [
        ("Linux", "6.18.1", 2, "256.0 KiB"),
        ("Linux", "6.8.0-31-generic", 256, "512.0 MiB"),
        ("Linux", "5.15.0", 64, "a thread"),
        ("Darwin", "23.1.0", 8, "this system"),
        ("Linux", "unheard of", 8, "this system"),
    ],
)
def test_the_counters_accuracy_follows_kernel_and_cpus(system, release, cpus, says):
    assert says in doctor._slack(system, release, cpus, 4096).text


def test_a_trial_that_fails_is_a_finding():
    def fails():
        raise OSError("no such thing")

    finding = doctor._tried("marks", fails)
    assert (finding.mark, "no such thing" in finding.text) == ("no", True)
