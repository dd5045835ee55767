"""GPUs as the driver tells of them: the real pynvml on a scripted stand-in for its library."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from gpus import GIB, Gpu
from running import ROOT, clean_environment, run

import timeline
from timeline.views import text

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the stand-in is an ELF library")

DRIVES = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT / "tests")!r})
from pathlib import Path
from gpus import GIB, Gpu, Gpus
import timeline
gpus = Gpus(Path(os.environ["STANDIN_NVML"]), Path("/"), *[Gpu(f"GPU-{{i}}", (i + 1) * GIB)
                                                          for i in range(int(sys.argv[1]))])
def until_sampled(gpu, times=3):
    # As many rows as this: the pace of a loaded machine is its own.
    directory = Path(timeline.recorder.session.current.directory)
    def size():
        path = directory / f"samples.gpu{{gpu}}.npy"
        return path.stat().st_size if path.exists() else 0
    before, end = size(), time.monotonic() + 20
    while size() <= before + 28 * times and time.monotonic() < end:
        time.sleep(0.02)
import timeline.recorder.session
"""


def numbered(count):
    """As `DRIVES` makes them, for the moment before."""
    return [Gpu(f"GPU-{i}", (i + 1) * GIB) for i in range(count)]


@pytest.fixture
def record_on(write_script, run_timeline, scripted_gpus):
    """``record_on([Gpu(…), …], code)`` records a program on these GPUs and loads the recording.

    A program that speaks of ``gpus`` finds them numbered as `numbered` has them, to be changed
    while it runs; ``fails`` and ``library`` are so from the beginning, more keys its environment.
    """

    def record(devices, code, *, fails=None, library=(), ends_with=0, options=(), **environ):
        gpus = scripted_gpus(*devices, options=library)
        gpus.fails = fails or {}
        gpus.write()
        drives = DRIVES if "gpus." in code or "until_sampled" in code else "import os, time\n"
        ended = run_timeline(
            write_script(drives + code),
            len(devices),
            options=["--no-charts", *options],
            env={**gpus.environ, **environ},
        )
        assert ended.code == ends_with, ended.stderr
        return timeline.load(ended.recording)

    return record


def series(recording, name):
    return recording.series[name]


def test_each_gpus_use_and_the_programs_part_of_it_are_channels(record_on):
    recording = record_on(
        numbered(2),
        """
import subprocess
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
one = gpus.gpus[0]
one.processes = {os.getpid(): 2 * GIB, child.pid: 1 * GIB, 1: 5 * GIB}
one.used = 9 * GIB
gpus.write()
with timeline.phase("busy"):
    until_sampled(0)
one.used, one.processes = 3 * GIB, {os.getpid(): GIB}
gpus.write()
until_sampled(0)
child.communicate(b"\\n")
""",
    )
    used, process = series(recording, "gpu0.used"), series(recording, "gpu0.process")
    assert used.value.max() == 9 * GIB
    assert process.value.max() == 3 * GIB, "the program and its child, and nobody else"
    assert (used.value[-1], process.value[-1]) == (3 * GIB, GIB)
    assert set(series(recording, "gpu1.used").value) == {2 * GIB}
    assert set(series(recording, "gpu1.process").value) == {0}
    assert not used.channel.exact
    assert "high-water" in used.channel.reason
    assert not [s for s in recording.missing if "GPU" in s or "gpu" in s]
    shown = text.render(timeline.analyze(recording))
    assert "cuda0 (gpu0, NVIDIA H100 80GB HBM3): used peak ~9.00 GiB" in shown


@pytest.mark.parametrize(
    "visible", ["2,0", "GPU-2,GPU-0", "GPU-2, 0", "2,0,-1,1", "2,0,nonsense,1"]
)
def test_only_what_the_program_may_see_is_recorded(record_on, visible):
    recording = record_on(numbered(3), "until_sampled(2, 1)", CUDA_VISIBLE_DEVICES=visible)
    names = {name for name in recording.series if name.startswith("gpu")}
    assert names == {"gpu2.used", "gpu2.process", "gpu0.used", "gpu0.process"}
    devices = {device.name: device for device in recording.devices}
    assert (devices["gpu2"].cuda, devices["gpu0"].cuda) == (0, 1)
    assert devices["gpu2"].uuid == "GPU-2"
    assert devices["gpu0"].total == 80 * GIB


def test_a_driver_that_fails_in_the_middle_is_a_gap_and_a_sentence(record_on):
    recording = record_on(
        numbered(1),
        """
until_sampled(0)
gpus.fails = {"nvmlDeviceGetMemoryInfo_v2": 15}
gpus.write()
time.sleep(1.5)
gpus.fails = {}
gpus.write()
until_sampled(0)
""",
    )
    used = series(recording, "gpu0.used")
    assert set(used.value) == {GIB}, "no zero stands for what could not be read"
    assert np.diff(used.t_ns).max() > 1_000_000_000
    assert any("gpu0" in s and "GPU is lost" in s for s in recording.missing)
    assert len(timeline.analyze(recording).curves["gpu0.used"].gaps_ns) == 1


def test_a_driver_that_hangs_costs_its_own_samples_and_nothing_else(record_on):
    recording = record_on(
        numbered(1),
        """
until_sampled(0)
gpus.sleeps = {"nvmlDeviceGetMemoryInfo_v2": 30}
gpus.write()
time.sleep(1)
""",
    )
    assert recording.run.end == "exited"
    assert "samples of gpu0 end early: a reading took too long" in recording.missing
    host = recording.series["host.rss"]
    assert np.diff(host.t_ns).max() < 900_000_000


@pytest.mark.parametrize(
    ("fails", "library", "sentence"),
    [
        ({"nvmlInitWithFlags": 9}, (), "no GPU: NVML cannot be used: Driver Not Loaded"),
        ({"nvmlInitWithFlags": 18}, (), "version mismatch"),
        ({}, ("-DNO_INIT",), "no GPU: NVML cannot be used: Function Not Found"),
        ({"nvmlDeviceGetUUID": 15}, (), "no GPU: gpu0 cannot be read: GPU is lost"),
        ({"*": 999}, (), "Unknown Error"),
        ({"*": 1234}, (), "an error that only the driver knows"),
    ],
)
def test_a_driver_that_cannot_be_used_is_a_sentence(fails, library, sentence, record_on):
    recording = record_on([Gpu("GPU-x")], "time.sleep(0.5)", fails=fails, library=library)
    assert [s for s in recording.missing if s.startswith("no GPU: ") and sentence in s]
    assert not [name for name in recording.series if name.startswith("gpu")]


def test_a_driver_of_2019_tells_what_it_can(record_on):
    recording = record_on(numbered(1), "until_sampled(0)", library=("-DOLD",))
    # Its only function counts what the driver keeps for itself as used.
    assert set(series(recording, "gpu0.used").value) == {GIB + (600 << 20)}
    assert set(series(recording, "gpu0.process").value) == {-1}
    assert any("too old to list processes" in sentence for sentence in recording.missing)


def test_processes_that_the_driver_does_not_tell_the_size_of_are_unknown(record_on):
    recording = record_on(
        numbered(1),
        """
gpus.gpus[0].processes = {os.getpid(): -1}
gpus.write()
until_sampled(0)
""",
    )
    assert series(recording, "gpu0.process").value[-1] == -1
    assert any("does not tell it for each process" in sentence for sentence in recording.missing)
    channel = next(
        each for each in timeline.analyze(recording).channels if each.channel.name == "gpu0.used"
    )
    assert channel.peak == GIB


DIVIDED = Gpu("GPU-x", instances={0: ("MIG-aaa", 20 * GIB, GIB), 2: ("MIG-bbb", 10 * GIB, 3 * GIB)})


def test_an_instance_of_a_divided_gpu_is_a_device_of_its_own(record_on):
    recording = record_on([DIVIDED], "time.sleep(0.6)", CUDA_VISIBLE_DEVICES="MIG-b")
    assert set(series(recording, "gpu0.mig2.used").value) == {3 * GIB}
    assert "gpu0.used" not in recording.series


def test_a_program_that_may_see_none_is_told_so(record_on):
    recording = record_on([Gpu("GPU-x")], "time.sleep(0.3)", CUDA_VISIBLE_DEVICES="")
    assert any("see none of the 1 here" in sentence for sentence in recording.missing)


def test_different_gpus_are_all_read_where_a_number_may_mean_any(record_on):
    both = [Gpu("GPU-x", GIB), Gpu("GPU-y", 2 * GIB, model="NVIDIA L4")]
    recording = record_on(both, "time.sleep(0.6)", CUDA_VISIBLE_DEVICES="1")
    assert {"gpu0.used", "gpu1.used"} <= set(recording.series)
    assert any("which GPU is cuda0" in sentence for sentence in recording.missing)
    environ = {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    recording = record_on(both, "time.sleep(0.6)", options=["--force"], **environ)
    assert "gpu0.used" not in recording.series
    assert "gpu1.used" in recording.series


def test_a_recording_made_in_code_reads_gpus_beside_and_imports_nothing_for_it(
    write_script, run_python, scripted_gpus, tmp_path
):
    gpus = scripted_gpus(Gpu("GPU-x", 4 * GIB))
    script = write_script("""
import sys, time
from timeline import Recorder
with Recorder("run.timeline", charts=False):
    time.sleep(0.8)
assert "pynvml" not in sys.modules
assert "ctypes" not in sys.modules
""")
    ended = run_python(script, env=gpus.environ)
    assert ended.code == 0, ended.stderr
    recording = timeline.load(tmp_path / "run.timeline")
    assert set(series(recording, "gpu0.used").value) == {4 * GIB}


def test_a_killed_run_keeps_its_samples_of_gpus(record_on):
    recording = record_on(numbered(1), "until_sampled(0)\nos.kill(os.getpid(), 9)", ends_with=-9)
    assert recording.run.signal == "SIGKILL"
    assert set(series(recording, "gpu0.used").value) == {GIB}


def test_the_doctor_tells_of_each_gpu(scripted_gpus, tmp_path):
    gpus = scripted_gpus(Gpu("GPU-x", 7 * GIB), Gpu("GPU-y"))
    command = [sys.executable, "-m", "timeline", "doctor", "--json"]
    found = json.loads(run(command, cwd=tmp_path, env=gpus.environ).stdout)["doctor"]
    by_name = {each["about"]: each for each in found}
    assert by_name["gpu0"]["mark"] == "yes"
    for words in ("H100", "80.0 GiB", "as cuda0", "7.00 GiB used now"):
        assert words in by_name["gpu0"]["text"]
    assert "as cuda1" in by_name["gpu1"]["text"]


@pytest.mark.skipif(
    subprocess.run(["unshare", "-r", "--pid", "--fork", "true"], capture_output=True).returncode,
    reason="no pid namespace can be made here",
)
def test_in_a_container_the_numbers_of_others_are_not_taken_for_ours(
    write_script, scripted_gpus, tmp_path
):
    gpus = scripted_gpus(Gpu("GPU-x", 6 * GIB, processes={812345: 5 * GIB}))
    script = write_script("import time; time.sleep(0.8)")
    command = ["unshare", "-r", "--pid", "--fork", "--mount-proc", sys.executable, "-m", "timeline"]
    ended = run(
        [*command, "--no-charts", "-o", "run.timeline", str(script)],
        cwd=tmp_path,
        env=gpus.environ,
    )
    assert ended.code == 0, ended.stderr
    recording = timeline.load(tmp_path / "run.timeline")
    assert set(series(recording, "gpu0.used").value) == {6 * GIB}
    assert set(series(recording, "gpu0.process").value) == {-1}
    assert any("in this container" in sentence for sentence in recording.missing)


def test_without_a_driver_nothing_is_imported_to_find_that_out():
    code = (
        "import sys\n"
        "from timeline.recorder.probes.nvml import why_no_driver\n"
        "why = why_no_driver()\n"
        "assert not {'pynvml', 'ctypes'} & set(sys.modules)\n"
        "print(why)\n"
    )
    environ = clean_environment(LD_LIBRARY_PATH="/nowhere")
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
