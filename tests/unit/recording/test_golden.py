from __future__ import annotations

import runpy

import pytest
from invariants import check_invariants

from timeline.recording.format import FORMAT_VERSION
from timeline.recording.reader import load_directory

from .conftest import DATA


def test_the_format_is_still_written_as_it_was(tmp_path):
    """If this fails on purpose, it is a new version: see tests/data/README.md."""
    runpy.run_path(str(DATA / "make.py"))["main"](str(tmp_path / "now"))
    golden = DATA / f"format-{FORMAT_VERSION}.timeline"
    now = {p.name: p.read_bytes() for p in (tmp_path / "now").iterdir()}
    assert now == {p.name: p.read_bytes() for p in golden.iterdir()}


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION + 1))
def test_every_version_is_still_read(version):
    recording = load_directory(DATA / f"format-{version}.timeline")
    assert recording.format == version
    assert recording.damage == ()
    check_invariants(recording)


def test_what_is_read_of_format_1():
    recording = load_directory(DATA / "format-1.timeline")
    run = recording.run
    assert run.argv == ("train.py", "--epochs", "1", "--name", "größe")
    assert (run.cwd, run.host, run.pid, run.backend) == ("/home/me", "node7", 4711, "linux")
    assert (run.started_ns, run.started_time_ns) == (81_234_567_890, 1_795_333_000_000_000_000)
    assert run.ended_ns - run.started_ns == 600_000_000
    assert (run.interval_ns, run.end, run.exit_code, run.signal) == (10_000_000, "exited", 3, None)
    assert run.facts == {"python": "3.11.7", "platform": "Linux-6.1-x86_64", "torch": "2.14.1"}
    host = recording.series["host.rss"]
    assert len(host) == 60
    assert host.channel.exact
    assert host.high.max() == host.value[31] + (512 << 20)
    assert host.unseen.nonzero()[0].tolist() == [40]
    assert len(recording.series["children.rss"]) == 12
    assert recording.missing[0] == "no GPU: driver not loaded"
    assert len(recording.marks) == 26
