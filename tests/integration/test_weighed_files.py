"""Who sums up a weighed step, and what lies in the run directory then, by each way of recording."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
from running import clean_environment

from timeline.interchange.loading import load

pytestmark = pytest.mark.torch

TRAINING = """
import sys, time
import torch
from torch import nn

def train():
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(4):
        optimizer.zero_grad()
        model(torch.randn(16, 64)).sum().backward()
        optimizer.step()
"""

BOTH = (
    TRAINING
    + """
import timeline
for kind in ("process", "thread"):
    with timeline.Recorder(kind + ".timeline", sampler=kind, charts=False):
        train()
"""
)

WAITS = TRAINING + "train()\nprint('trained', flush=True)\ntime.sleep(60)\n"


def files(directory):
    return {each.name for each in directory.iterdir()} & {"weighed.json", "breakdown.json"}


def parameters(directory):
    """How many numbers they have, as whoever reads the recording is told."""
    anatomy = load(directory).anatomy
    assert anatomy is not None
    return anatomy.parameters


NUMBERS = 64 * 64 + 64 + 64 * 8 + 8


def until(true):
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_launcher_leaves_the_breakdown_alone(write_script, run_timeline):
    ended = run_timeline(write_script(TRAINING + "train()\n"))
    assert files(ended.recording) == {"breakdown.json"}
    assert parameters(ended.recording) == NUMBERS


def test_the_process_beside_sums_up_after_the_program_and_a_thread_leaves_it_to_the_reader(
    write_script, run_python, tmp_path
):
    ended = run_python(write_script(BOTH), cwd=tmp_path)
    assert ended.code == 0, ended.stderr
    beside, thread = tmp_path / "process.timeline", tmp_path / "thread.timeline"
    until(lambda: files(beside) == {"breakdown.json"})
    assert files(thread) == {"weighed.json"}, "the program has the same GIL, and does not wait"
    assert parameters(beside) == parameters(thread) == NUMBERS
    assert files(thread) == {"weighed.json"}, "who reads writes nothing"


def test_a_recording_whose_sampler_was_killed_has_its_weighed_step(write_script, tmp_path):
    directory = tmp_path / "run.timeline"
    command = [sys.executable, "-m", "timeline", "--no-charts", "-o", directory]
    launcher = subprocess.Popen(
        [*command, write_script(WAITS)],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert launcher.stdout.readline() == b"trained\n"
        pid = json.loads((directory / "meta.json").read_text())["pid"]
    finally:
        launcher.send_signal(signal.SIGKILL)
        launcher.wait()
    subprocess.run(["kill", "-9", str(pid)], check=False)
    assert files(directory) == {"weighed.json"}
    assert parameters(directory) == NUMBERS
