"""Torch's own account of its GPU memory, by phase, on the allocator's exact model."""

from __future__ import annotations

import pytest
from gpus import GIB, Gpu
from running import ROOT

import timeline
from timeline.views import json as document
from timeline.views import text

pytestmark = pytest.mark.torch

MIB = 1 << 20

WITH_CUDA = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT / "tests")!r})
import torch
from standin import cuda
from timeline import phase
MIB = 1 << 20
devices = cuda.install({{count}})
"""

ONE = WITH_CUDA.replace("{count}", "1")
TWO = WITH_CUDA.replace("{count}", "2")

STEPS = """
with phase("before"):
    pass
torch.cuda.init()
weights = cuda.malloc(100 * MIB)
for step in range(3):
    with phase("step"):
        with phase("step/forward"):
            activations = cuda.malloc(200 * MIB)
        with phase("step/backward"):
            spike = cuda.malloc(700 * MIB)
            devices[0].free(spike)
            devices[0].free(activations)
with phase("after"):
    time.sleep(0.3)
told = [torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved(),
        torch.cuda.memory_stats()["active_bytes.all.peak"],
        torch.accelerator.max_memory_allocated()]
torch.cuda.reset_peak_memory_stats()
told += [torch.cuda.max_memory_allocated()]
with phase("last"):
    devices[0].free(cuda.malloc(50 * MIB))
told += [torch.cuda.max_memory_allocated(), torch.cuda.memory_allocated()]
print([figure // MIB for figure in told])
"""


def peaks(analysis, channel="torch.cuda0.allocated"):
    return {
        each.path: (each.peak[channel].bytes // MIB, each.peak[channel].delta // MIB)
        for each in analysis.phases
        if channel in each.peak
    }


def test_each_phases_peak_is_exact_and_the_program_is_told_what_it_would_be(
    write_script, run_timeline, run_python
):
    script = write_script(ONE + STEPS)
    alone, ended = run_python(script), run_timeline(script)
    assert alone.code == 0, alone.stderr
    assert ended.code == 0, ended.stderr
    assert ended.stdout == alone.stdout == "[1000, 1000, 1000, 1000, 100, 150, 100]\n"
    analysis = timeline.analyze(timeline.load(ended.recording))
    assert peaks(analysis) == {
        "step": (1000, 900),
        "step/forward": (300, 200),
        "step/backward": (1000, 700),
        "after": (100, 0),
        "last": (150, 50),
    }
    assert all(
        each.peak["torch.cuda0.allocated"].exact for each in analysis.phases if len(each.peak) > 1
    )
    channel = next(
        each for each in analysis.channels if each.channel.name == "torch.cuda0.allocated"
    )
    assert (channel.peak, channel.exact, channel.peak_phase) == (
        1000 * MIB, True, "step/backward",
    )  # fmt: skip
    (device,) = document.document(analysis)["devices"]
    assert (device["at_peak"]["allocated"], device["at_peak"]["cached"]) == (1000 * MIB, 0)
    assert device["total"] is None, "nobody has read it, and it is no zero"
    shown = text.render(analysis, width=100)
    assert "cuda0: allocated peak 1000" in shown
    assert "on cuda0" in shown


def test_the_drivers_account_lies_over_torchs(write_script, run_timeline, scripted_gpus):
    gpus = scripted_gpus(Gpu("GPU-other"), Gpu("GPU-aaaa", 5 * GIB, total=8 * GIB))
    script = write_script(
        ONE
        + """
torch.cuda.init()
cuda.malloc(2048 * MIB)
devices[0].free(cuda.malloc(1024 * MIB))
time.sleep(0.6)
"""
    )
    recording = timeline.load(run_timeline(script, env=gpus.environ).recording)
    analysis = timeline.analyze(recording)
    # By the UUID that torch told: cuda0 is not the driver's first.
    memory = analysis.devices[0]
    assert (memory.name, memory.device.name, memory.device.total) == ("cuda0", "gpu1", 8 * GIB)
    late = {name: int(getattr(memory, name)[-1]) for name in ("allocated", "cached", "outside")}
    assert late == {"allocated": 2 * GIB, "cached": 1 * GIB, "outside": 2 * GIB}
    assert memory.peak.allocated == 3 * GIB


def test_every_device_that_holds_anything_is_told_of_with_its_retries_and_failures(
    write_script, run_timeline
):
    script = write_script(
        TWO
        + """
torch.cuda.init()
with phase("both"):
    cuda.malloc(100 * MIB, 0)
    cuda.malloc(300 * MIB, 1)
    time.sleep(0.4)
with phase("second"):
    devices[1].free(cuda.malloc(500 * MIB, 1))
"""
    )
    analysis = timeline.analyze(timeline.load(run_timeline(script).recording))
    assert [each.name for each in analysis.devices] == ["cuda0", "cuda1"]
    assert peaks(analysis, "torch.cuda1.allocated")["second"] == (800, 500)
    assert peaks(analysis)["second"] == (100, 0)


def test_a_kill_keeps_what_was_seen_between_two_marks(write_script, run_timeline):
    script = write_script(
        ONE
        + """
torch.cuda.init()
with phase("dies"):
    devices[0].free(cuda.malloc(900 * MIB))
    cuda.malloc(50 * MIB)
    time.sleep(0.5)
    os.kill(os.getpid(), 9)
"""
    )
    analysis = timeline.analyze(timeline.load(run_timeline(script).recording))
    assert peaks(analysis)["dies"][0] == 900
    channel = next(c for c in analysis.channels if c.channel.name == "torch.cuda0.allocated")
    assert channel.peak == 900 * MIB
    assert not channel.exact
    assert "not seen" in channel.reason


def test_a_forked_child_is_left_alone_and_an_end_puts_torch_back(write_script, run_python):
    script = write_script(
        ONE
        + """
from timeline import Recorder
own = torch._C._cuda_memoryStats
torch.cuda.init()
with Recorder("run.timeline", charts=False):
    cuda.malloc(10 * MIB)
    with phase("inside"):
        pass
    assert torch._C._cuda_memoryStats is not own
    child = os.fork()
    if not child:
        os._exit(0 if torch._C._cuda_memoryStats is own else 1)
    assert os.waitpid(child, 0)[1] == 0
assert torch._C._cuda_memoryStats is own
"""
    )
    ended = run_python(script)
    assert ended.code == 0, ended.stderr


def test_a_program_without_cuda_has_no_thread_and_nothing_exchanged(write_script, run_timeline):
    script = write_script("""
import torch, os
own = type(torch._C._cuda_memoryStats) if hasattr(torch._C, "_cuda_memoryStats") else None
torch.nn.Linear(4, 4)(torch.ones(1, 4)).sum().backward()
assert not torch.cuda.is_initialized()
assert own is None or own.__name__ == "builtin_function_or_method"
""")
    ended = run_timeline(script)
    assert ended.code == 0, ended.stderr
    recording = timeline.load(ended.recording)
    assert not [name for name in recording.series if name.startswith("torch.")]
    assert not [s for s in recording.missing if "torch's memory" in s]


def test_an_allocator_without_counters_costs_a_sentence(write_script, run_timeline):
    script = write_script(
        ONE
        + """
def no_counters(device):
    raise RuntimeError("CUDAPluggableAllocator does not yet support getDeviceStats.")
torch._C._cuda_memoryStats = no_counters
torch.cuda.init()
with phase("goes on"):
    pass
"""
    )
    ended = run_timeline(script)
    assert ended.code == 0, ended.stderr
    assert any("does not yet support" in s for s in timeline.load(ended.recording).missing)


def test_a_snapshot_of_the_peak_and_of_a_failure_is_kept_and_told_of(
    write_script, run_timeline, run_python
):
    script = write_script(
        ONE
        + """
torch.cuda.init()
def grow():
    return cuda.malloc(600 * MIB)
weights = cuda.malloc(100 * MIB)
with phase("high"):
    devices[0].free(grow())
with phase("fails"):
    try:
        cuda.malloc(90_000 * MIB)
    except torch.OutOfMemoryError:
        pass
with phase("after"):
    devices[0].free(cuda.malloc(50 * MIB))
"""
    )
    ended = run_timeline(script, options=["--no-charts", "--snapshot"])
    assert ended.code == 0, ended.stderr
    names = ["snapshot.oom.pickle", "snapshot.peak.pickle"]
    paths = [ended.recording / name for name in names]
    analysis = timeline.analyze(timeline.load(ended.recording))
    assert list(analysis.snapshots) == list(map(str, paths))
    assert all(f"timelinereport{path}" in "".join(ended.stderr.split()) for path in paths)
    failed, peak = (timeline.load(path) for path in paths)
    assert "out of memory" in failed.marks.names
    for snapshot in (failed, peak):
        assert snapshot.damage == ()
        assert snapshot.series["torch.cuda0.allocated"].value.max() == 700 * MIB
        places = {each.place: each.bytes for each in snapshot.alive}
        (inner,) = [place for place in places if place.endswith("in grow")]
        assert places[inner] == 600 * MIB
    again = run_timeline(script, options=["--no-charts", "--force"])
    assert again.code == 0, again.stderr
    assert not [path for path in paths if path.exists()], "an overwritten recording keeps none"


def test_a_death_for_want_of_the_gpus_memory_is_told_of_that_memory(write_script, run_timeline):
    script = write_script(
        ONE
        + """
torch.cuda.init()
weights = cuda.malloc(100 * MIB)
for step in range(3):
    with phase("step/forward"):
        held = cuda.malloc(300 * MIB)
    with phase("step/backward"):
        devices[0].free(cuda.malloc(700 * MIB))
        if step == 2:
            cuda.malloc(90_000 * MIB)
        devices[0].free(held)
    with phase("step/optimizer"):
        pass
"""
    )
    recorded = run_timeline(script)
    assert recorded.code == 1
    analysis = timeline.analyze(timeline.load(recorded.recording))
    death = analysis.death
    assert death.cause == "gpu-memory-error"
    assert death.sentence.startswith("exited with code 1: torch.OutOfMemoryError (")
    assert death.sentence.endswith(" at 400.0 MiB on cuda0, in step 3, backward")
    assert "what torch held on cuda0 went from " in death.last
    assert " to 400.0 MiB, with up to 1.07 GiB between" in death.last
    grew = [(each.path, each.bytes // MIB) for each in death.grew]
    assert grew == [("step/backward", 700), ("step/forward", 300)]
    assert "what torch held on cuda0" in " ".join(text.render(analysis).split())


def test_a_history_that_would_lose_the_peak_is_written_before(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from timeline.recorder.hooks import torch_snapshot

    dumped, facts = [], []

    def dump(path):
        dumped.append(path)
        with open(path, "wb") as file:
            file.write(b"x")

    torch = SimpleNamespace(
        cuda=SimpleNamespace(memory=SimpleNamespace(
            _record_memory_history=lambda **options: None, _dump_snapshot=dump,
        )),
        _C=SimpleNamespace(_cuda_attach_out_of_memory_observer=lambda observer: None),
    )  # fmt: skip
    session = SimpleNamespace(
        directory=str(tmp_path), fact=lambda *words: facts.append(words), missing=facts.append
    )
    history = torch_snapshot.History(torch, session)
    history.reached(100, 10)
    history.reached(90, 10 + torch_snapshot.LOST_AFTER)
    assert not dumped
    history.reached(90, 11 + torch_snapshot.LOST_AFTER)
    history.reached(95, 3 * torch_snapshot.LOST_AFTER)
    assert len(dumped) == 1
    history.close()
    assert len(dumped) == 1, "the end of the history does not tell of the peak any more"
    history.close()
