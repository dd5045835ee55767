"""Some rounds of what benchmarks/fuzz_reader.py does for as long as one lets it."""

from __future__ import annotations

import sys
from pathlib import Path

from running import run

FUZZ = Path(__file__).resolve().parents[3] / "benchmarks" / "fuzz_reader.py"


def test_damaged_recordings_and_snapshots_are_read_or_refused_and_nothing_runs(tmp_path):
    ended = run([sys.executable, str(FUZZ), "300"], cwd=tmp_path)
    assert ended.code == 0, ended.stdout
    assert "0  broken of 300" in ended.stdout
    for outcome in ("pickle: read", "pickle: DamagedRecordingError", "timeline: read"):
        assert outcome in ended.stdout
