"""Run directories to read: the golden one, and small ones made of lines and rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from timeline.recording.format import HOST_FIELDS, META
from timeline.recording.reader import load_directory
from timeline.recording.writer import SampleWriter

DATA = Path(__file__).resolve().parents[2] / "data"
GOLDEN = DATA / "format-1.timeline"


@pytest.fixture
def golden(tmp_path):
    """A copy of the golden recording, to be damaged."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "golden.timeline"))


@pytest.fixture
def edit_json():
    """``edit_json(path, key=value)`` changes keys of a document."""

    def edit(path, **changes):
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


@pytest.fixture
def load_rows(golden):
    """``load_rows([(t, read, flags, rss, hwm), …])`` is a recording of these samples alone."""

    def load(rows, fields=HOST_FIELDS, finish=True):
        for path in golden.iterdir():
            if path.name != META:
                path.unlink()
        meta = json.loads((golden / META).read_text())
        (golden / META).write_text(json.dumps(meta | {"missing": ["no phases: none here"]}))
        writer = SampleWriter(str(golden / "samples.host.npy"), fields)
        for row in rows:
            assert writer.append(*row)
        if finish:
            writer.close()
        return load_directory(golden)

    return load


@pytest.fixture
def load_lines(golden):
    """``load_lines(b"line", …)`` is a recording of these lines of the target alone."""

    def load(*lines, end=b"\n"):
        for path in golden.glob("events.*"):
            path.unlink()
        content = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
        (golden / "events.4711.jsonl").write_bytes(content + end)
        # Of a killed program nobody expects a last line.
        summary = json.loads((golden / "summary.json").read_text())
        (golden / "summary.json").write_text(json.dumps(summary | {"end": "killed"}))
        return load_directory(golden)

    return load
