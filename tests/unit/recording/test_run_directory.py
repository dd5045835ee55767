from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from timeline.errors import RecordingError, RecordingExistsError
from timeline.recording.alive import writer_identity
from timeline.recording.reader import load_directory
from timeline.recording.writer import new_run_directory, write_json

from .conftest import GOLDEN


@contextmanager
def unprivileged():
    """As a user without rights, where the tests run as root."""
    if os.name != "posix":
        pytest.skip("permissions are POSIX's here")
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.fixture
def open_path():
    """A directory that any user can reach."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def test_the_directory_and_those_above_it_are_made(tmp_path):
    new_run_directory(str(tmp_path / "a" / "b" / "run.timeline"))
    assert (tmp_path / "a" / "b" / "run.timeline").is_dir()


def test_an_empty_directory_is_taken(tmp_path):
    new_run_directory(str(tmp_path))


def test_a_recording_is_not_overwritten_unless_forced(golden):
    with pytest.raises(RecordingExistsError, match=r"exists: choose another.*overwrite"):
        new_run_directory(str(golden))
    assert len(list(golden.iterdir())) == 6
    new_run_directory(str(golden), force=True)
    assert list(golden.iterdir()) == []


def test_force_leaves_what_is_not_the_recordings_own(golden):
    (golden / "notes.txt").write_text("mine")
    (golden / "checkpoints").mkdir()
    (golden / "report.html").write_text("ours")
    new_run_directory(str(golden), force=True)
    assert sorted(p.name for p in golden.iterdir()) == ["checkpoints", "notes.txt"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.py", "print()"),
        ("meta.json", '{"title": "another program\'s"}'),
        ("events.2024.jsonl", '{"id": 1}\n'),
        ("samples.x.npy", "no numpy file"),
        ("report.html", "<html>"),
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_a_foreign_directory_is_never_touched(tmp_path, name, content, force):
    (tmp_path / name).write_text(content)
    with pytest.raises(RecordingExistsError, match="not a recording: choose another"):
        new_run_directory(str(tmp_path), force=force)
    assert (tmp_path / name).read_text() == content


@pytest.mark.parametrize("force", [False, True])
def test_a_file_is_never_touched(tmp_path, force):
    (tmp_path / "x").write_text("mine")
    with pytest.raises(RecordingExistsError, match="no directory"):
        new_run_directory(str(tmp_path / "x"), force=force)
    assert (tmp_path / "x").read_text() == "mine"


@pytest.mark.parametrize("left", ["meta.json", "samples.host.npy", "events.4711.jsonl"])
def test_a_cut_off_recording_can_be_overwritten_too(golden, left):
    for path in golden.iterdir():
        if path.name != left:
            path.unlink()
    new_run_directory(str(golden), force=True)
    assert list(golden.iterdir()) == []


def test_a_recording_that_is_being_written_is_not_overwritten(golden, edit_json):
    now = {"time_ns": time.time_ns(), "monotonic_ns": time.monotonic_ns()}
    edit_json(golden / "meta.json", **writer_identity(), started=now)
    (golden / "summary.json").unlink()
    with pytest.raises(RecordingExistsError, match=f"written by process {os.getpid()}"):
        new_run_directory(str(golden), force=True)
    assert len(list(golden.iterdir())) == 5


def test_a_recording_whose_program_outlived_its_sampler_is_not_overwritten(golden, edit_json):
    now = {"time_ns": time.time_ns(), "monotonic_ns": time.monotonic_ns()}
    gone = subprocess.Popen([sys.executable, "-S", "-c", ""])
    gone.wait()
    who = {**writer_identity(), "sampler_pid": gone.pid, "pid": os.getpid()}
    edit_json(golden / "meta.json", **who, started=now)
    (golden / "summary.json").unlink()
    with pytest.raises(RecordingExistsError, match=f"written by process {os.getpid()}"):
        new_run_directory(str(golden), force=True)
    assert len(list(golden.iterdir())) == 5
    edit_json(golden / "meta.json", pid=gone.pid)
    new_run_directory(str(golden), force=True)


def test_a_symbolic_link_in_a_recording_costs_the_link_alone(golden, tmp_path):
    (tmp_path / "precious").write_text("mine")
    (golden / "events.1.jsonl").symlink_to(tmp_path / "precious")
    new_run_directory(str(golden), force=True)
    assert (tmp_path / "precious").read_text() == "mine"


def test_no_permission_is_one_sentence(open_path):
    (open_path / "empty").mkdir()
    with unprivileged():
        for place in (open_path / "new", open_path / "empty"):
            with pytest.raises(RecordingError, match="cannot be") as caught:
                new_run_directory(str(place))
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x\0y", "x" * 300])
def test_a_name_that_cannot_be_is_one_sentence(tmp_path, name):
    with pytest.raises(RecordingError, match="cannot be made"):
        new_run_directory(str(tmp_path / name))


def test_a_document_is_written_as_a_whole(tmp_path):
    write_json(str(tmp_path), "meta.json", {"argv": ["größe", "\udcff"], "n": None})
    assert json.loads((tmp_path / "meta.json").read_text()) == {
        "argv": ["größe", "\udcff"],
        "n": None,
    }
    assert [p.name for p in tmp_path.iterdir()] == ["meta.json"]


def test_a_document_that_cannot_be_written_leaves_the_one_before(tmp_path):
    write_json(str(tmp_path), "meta.json", {"n": 1})
    (tmp_path / "meta.json.new").mkdir()
    with pytest.raises(RecordingError, match=r"meta\.json cannot be written"):
        write_json(str(tmp_path), "meta.json", {"n": 2})
    assert json.loads((tmp_path / "meta.json").read_text()) == {"n": 1}


def test_no_permission_to_read_is_one_sentence(open_path):
    copy = open_path / "run.timeline"
    shutil.copytree(GOLDEN, copy)
    for path, mode in ((copy / "samples.host.npy", 0), (copy / "meta.json", 0), (copy, 0o600)):
        path.chmod(mode)
        with unprivileged(), pytest.raises(RecordingError, match="may not be read") as caught:
            load_directory(copy)
        assert "\n" not in str(caught.value)


def test_the_writer_imports_nothing_heavy():
    code = (
        "import sys; import timeline.recording.writer, timeline.recording.alive;"
        "print([m for m in ('numpy', 'json', 'typing', 're', 'psutil') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=GOLDEN.parents[2]
    )
    assert out.stdout.strip() == "[]", out.stderr
