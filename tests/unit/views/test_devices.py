"""The GPUs in every view: what is allocated, cached and outside torch, and nothing made up."""

from __future__ import annotations

import json

import pytest

from timeline.analysis.analyze import analyze
from timeline.interchange.loading import load
from timeline.recording.writer import SampleWriter
from timeline.views import html, png, text
from timeline.views import json as document
from timeline.views.device_layers import layers_of

GIB, MIB, MS = 1 << 30, 1 << 20, 1_000_000
FIELDS = (("t_ns", "<i8"), ("read_ns", "<u4"), ("used", "<i8"), ("process", "<i8"))


def mark(t, allocated, high, reserved):
    return {
        "t": t * MS, "d": 1000, "rss": 100 * MIB, "hwm": 100 * MIB,
        "cuda": {"0": [allocated, high, reserved, reserved, allocated, high, 0, 0, 3, 1]},
    }  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """A run of a second on cuda0, which is the driver's gpu1; ``run(lines, used)`` writes it."""

    def write(lines=None, used=None, total=16 * GIB):
        directory = tmp_path / "run.timeline"
        directory.mkdir()
        device = {"model": "<b>GPU</b> 9", "uuid": "GPU-aaaa", "total": total, "cuda": 5}
        meta = {
            "timeline": 1, "argv": ["train.py"], "pid": 7, "backend": "linux",
            "started": {"time_ns": 10**18, "monotonic_ns": 1 * MS}, "interval_ns": 10 * MS,
            "channels": {
                f"gpu1.{value}": {
                    "stream": "gpu1", "value": value, "unit": "byte", "source": "nvml",
                    "exact": False, "reason": "sampled", "device": device,
                }
                for value in ("used", "process")
            },
        }  # fmt: skip
        (directory / "meta.json").write_text(json.dumps(meta))
        if lines is None:
            lines = [
                {"k": "fact", "t": 2 * MS, "name": "cuda0", "value": "aaaa"},
                {"k": "b", "i": 0, "p": "step", **mark(100, 1 * GIB, 1 * GIB, 2 * GIB)},
                {"k": "e", "i": 0, **mark(300, 2 * GIB, 3 * GIB, 4 * GIB)},
                {"k": "d", "t": 400 * MS, "cuda": mark(400, 2 * GIB, 2 * GIB, 4 * GIB)["cuda"]},
                {"k": "b", "i": 1, "p": "rest", **mark(500, 2 * GIB, 2 * GIB, 4 * GIB)},
                {"k": "e", "i": 1, **mark(900, 1 * GIB, 2 * GIB, 4 * GIB)},
            ]
        start = {"k": "start", "t": 2 * MS, "pid": 7, "python": "3.11", "version": "x"}
        everything = [start, *lines, {"k": "stop", "t": 1000 * MS}]
        (directory / "events.7.jsonl").write_text(
            "".join(json.dumps(line) + "\n" for line in everything)
        )
        writer = SampleWriter(str(directory / "samples.gpu1.npy"), FIELDS)
        for t, size in used or [(t, 5 * GIB) for t in range(50, 1000, 100)]:
            writer.append(t * MS, 0, size, 4 * GIB + 512 * MIB)
        writer.close()
        end = {"timeline": 1, "end": "exited", "exit_code": 0,
               "ended": {"time_ns": 10**18, "monotonic_ns": 1000 * MS}}  # fmt: skip
        (directory / "summary.json").write_text(json.dumps(end))
        return directory

    return write


def test_the_peak_and_what_lay_over_it_are_of_one_moment(run):
    analysis = analyze(load(run()))
    (memory,) = analysis.devices
    # By the program's own word of the UUID, whatever the sampler made of the environment.
    assert (memory.name, memory.device.name) == ("cuda0", "gpu1")
    peak = memory.peak
    assert (peak.allocated, peak.cached, peak.outside, peak.used) == (
        3 * GIB, 1 * GIB, 3 * GIB, 5 * GIB,
    )  # fmt: skip
    channel = "torch.cuda0.allocated"
    found = {each.path: each.peak[channel] for each in analysis.phases}
    assert (found["step"].bytes, found["step"].delta, found["step"].exact) == (
        3 * GIB,
        2 * GIB,
        True,
    )
    assert (found["rest"].bytes, found["rest"].delta) == (2 * GIB, 0)
    assert (memory.retries, memory.ooms) == (3, 1)


def test_what_was_given_back_before_the_peak_is_not_cached_at_it(run):
    peak = {"0": [3 * GIB, 3 * GIB, 3 * GIB, 7 * GIB, 3 * GIB, 3 * GIB, 0, 0, 1, 0]}
    lines = [
        {"k": "fact", "t": 2 * MS, "name": "cuda0", "value": "aaaa"},
        {"k": "b", "i": 0, "p": "step", **mark(100, 1 * GIB, 1 * GIB, 7 * GIB)},
        {"k": "e", "i": 0, **mark(300, 0, 0, 0), "cuda": peak},
    ]
    (memory,) = analyze(load(run(lines))).devices
    assert (memory.peak.allocated, memory.peak.cached) == (3 * GIB, 0)


def test_every_view_tells_of_it_and_a_models_name_does_no_harm(run):
    analysis = analyze(load(run()))
    shown = " ".join(text.render(analysis, width=100).split())
    assert "cuda0 (gpu1, <b>GPU</b> 9): allocated peak 3.00 GiB" in shown
    assert "3.00 GiB outside torch (512.0 MiB by other processes)" in shown
    assert "5.00 GiB of 16.0 GiB used" in shown
    page = html.render(analysis)
    assert "&lt;b&gt;GPU&lt;/b&gt; 9" in page
    assert "<b>GPU</b>" not in page
    assert png.render(analysis, dpi=60).startswith(b"\x89PNG")
    (device,) = document.document(analysis)["devices"]
    assert device["gpu"] == "gpu1"
    assert device["total"] == 16 * GIB


def test_the_layers_lie_on_each_other_and_keep_the_largest_of_many(run):
    (memory,) = analyze(load(run())).devices
    whole, few = layers_of(memory, 1000), layers_of(memory, 3)
    for layers in (whole, few):
        allocated, reserved, used = layers.edges
        assert (allocated <= reserved).all()
        assert (reserved <= used).all()
        assert (layers.since_ns[1:] >= layers.t_ns[:-1]).all()
    assert few.edges[0].max() == whole.edges[0].max() == 3 * GIB
    assert len(few.t_ns) <= 3 < len(whole.t_ns)


def test_what_the_driver_has_not_told_for_long_is_not_known(run):
    (memory,) = analyze(load(run(used=[(50, 5 * GIB), (150, 5 * GIB)], lines=[
        {"k": "fact", "t": 2 * MS, "name": "cuda0", "value": "aaaa"},
        {"k": "r", **mark(100, GIB, GIB, GIB)},
        {"k": "r", **mark(4000, GIB, GIB, GIB)},
    ]))).devices  # fmt: skip
    assert memory.outside[-1] == memory.used[-1] == -1
    assert memory.outside[2] == 4 * GIB


def test_a_line_that_cannot_be_right_is_unknown_and_told(run):
    wrong = mark(200, 2 * GIB, 1 * GIB, GIB)
    recording = load(run(lines=[
        {"k": "r", **mark(100, GIB, GIB, GIB)},
        {"k": "r", **wrong},
        {"k": "r", **mark(210, GIB, GIB, GIB), "cuda": {"x": []}},
        {"k": "r", **mark(220, GIB, GIB, GIB), "cuda": [1]},
        {"k": "d", "t": 300 * MS, "cuda": {"0": ["many"] * 10}},
    ]))  # fmt: skip
    value, _ = recording.marks.devices["torch.cuda0.allocated"]
    assert sorted(value.tolist()) == [-1, -1, -1, GIB]
    assert any("3 readings cannot be right" in each for each in recording.damage)
    assert any("1 line cannot be read" in each for each in recording.damage)
