"""On a real GPU: what the stand-ins cannot prove. Skipped, with the reason, where there is none."""

from __future__ import annotations

import os

import pytest

import timeline

MIB = 1 << 20


def _reason() -> str:
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    return "" if torch.cuda.is_available() else "there is no GPU that torch can use"


@pytest.fixture(autouse=True)
def _gpu_or_skip():
    why = _reason()
    if why and not os.environ.get("TIMELINE_REQUIRE_GPU"):
        pytest.skip(why)
    assert not why, why


pytestmark = [pytest.mark.gpu, pytest.mark.torch]

SCRIPT = """
import time
import torch
from timeline import phase
MIB = 1 << 20
def block(mib):
    return torch.empty(mib * MIB, dtype=torch.uint8, device="cuda")
kept = block(100)
with phase("spike"):
    block(512)
with phase("quiet"):
    time.sleep(0.5)
told = [torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()]
torch.cuda.reset_peak_memory_stats()
told += [torch.cuda.max_memory_allocated(), torch.cuda.memory_stats()["active_bytes.all.peak"]]
with phase("last"):
    block(64)
told += [torch.cuda.max_memory_allocated()]
x = torch.randn(512, 512, device="cuda", requires_grad=True)
model = torch.nn.Sequential(torch.nn.Linear(512, 2048), torch.nn.ReLU(), torch.nn.Linear(2048, 8))
model.cuda()
optimizer = torch.optim.Adam(model.parameters())
for _ in range(5):
    torch.cuda.reset_peak_memory_stats()
    model(x).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    told.append(torch.cuda.max_memory_allocated())
print(told)
"""


def test_peaks_are_torchs_own_and_the_program_is_told_the_same(
    write_script, run_timeline, run_python
):
    script = write_script(SCRIPT)
    alone, ended = run_python(script), run_timeline(script)
    assert alone.code == 0, alone.stderr
    assert ended.code == 0, ended.stderr
    assert ended.stdout == alone.stdout
    recording = timeline.load(ended.recording)
    analysis = timeline.analyze(recording)
    channel = "torch.cuda0.allocated"
    peaks = {each.path: each.peak[channel] for each in analysis.phases if channel in each.peak}
    assert peaks["spike"].bytes == 612 * MIB
    assert peaks["spike"].exact
    assert peaks["quiet"].bytes == 100 * MIB
    assert peaks["last"].bytes == 164 * MIB
    assert {"step/forward", "step/backward", "step/optimizer"} <= set(peaks)
    memory = analysis.devices[0]
    assert memory.device.name.startswith("gpu"), recording.missing
    assert memory.device.total > 0
    # The context of CUDA alone is some hundred MiB.
    assert memory.peak.outside > 50 * MIB


def test_the_driver_tells_of_the_programs_own_use(write_script, run_timeline):
    script = write_script("""
import time, torch
x = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
time.sleep(1)
""")
    recording = timeline.load(run_timeline(script).recording)
    device = recording.devices[0]
    used = recording.series[f"{device.name}.used"]
    assert used.value.max() >= 1 << 30
    process = recording.series[f"{device.name}.process"].value
    assert process.max() >= 1 << 30 or (process == -1).all()


def test_nothing_is_initialised_for_a_program_that_does_not(write_script, run_timeline):
    script = write_script("""
import torch
from timeline import phase
with phase("cpu"):
    torch.ones(10).sum()
assert not torch.cuda.is_initialized()
""")
    ended = run_timeline(script)
    assert ended.code == 0, ended.stderr
