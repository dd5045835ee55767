import os
import tempfile

import pytest
from ranks_on_disk import write_rank

import timeline
from timeline.errors import DamagedRecordingError, NoRecordingError
from timeline.interchange.loading import load


def test_the_door_leads_here():
    assert timeline.load is load


def test_a_file_of_mprof_is_known_by_its_first_line_not_by_its_name(tmp_path):
    path = tmp_path / "anything.log"
    path.write_text("MEM 1.0 100.0\n")
    assert load(str(path)).run.backend == "mprof"


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"", "is empty"), (b"PK\x03\x04", "no run directory"), (b"MEMORY 1\n", "no run directory")],
)
def test_a_foreign_file_is_told_from_a_recording(tmp_path, content, error):
    path = tmp_path / "file.bin"
    path.write_bytes(content)
    with pytest.raises(DamagedRecordingError, match=error):
        load(path)


def test_a_file_inside_a_recording_points_to_its_directory(tmp_path):
    (tmp_path / "meta.json").write_text("{}")
    with pytest.raises(DamagedRecordingError, match="give its directory"):
        load(tmp_path / "meta.json")


@pytest.mark.parametrize("name", ["nothing", "no/where", "bad\0name", "x" * 5000])
def test_what_is_not_there_is_one_sentence(tmp_path, name):
    with pytest.raises(NoRecordingError) as caught:
        load(f"{tmp_path}/{name}")
    assert "\n" not in str(caught.value)


def test_a_foreign_directory_is_an_error_of_ours(tmp_path):
    with pytest.raises(timeline.TimelineError):
        load(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DamagedRecordingError, match="neither a file nor a directory"):
        load(tmp_path / "pipe")


def test_a_loop_of_links_is_an_error_of_ours(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(NoRecordingError):
        load(tmp_path / "a")


AS_NOBODY = """
import os, sys
from timeline.errors import NoRecordingError
from timeline.interchange.loading import load
if os.geteuid() == 0:  # who may read everything
    os.setuid(65534)
try:
    load(sys.argv[1])
except NoRecordingError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no such permissions here")
def test_a_file_that_may_not_be_read_says_so(run_python):
    with tempfile.NamedTemporaryFile("w", suffix=".dat") as file:
        file.write("MEM 1.0 100.0\n")
        file.flush()
        os.chmod(file.name, 0)
        ended = run_python("-c", AS_NOBODY, file.name)
    assert ended.stdout == f"{file.name} cannot be read: Permission denied\n"


def test_all_ranks_of_a_run_are_not_one_recording(tmp_path):
    for rank in range(2):
        write_rank(tmp_path / "run", rank, [(1, 1, 1)])
    with pytest.raises(DamagedRecordingError, match="holds 2 ranks: give one of them, such as"):
        load(tmp_path / "run")
    assert load(tmp_path / "run" / "rank-0001").run.rank.rank == 1
