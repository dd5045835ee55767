from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from timeline.errors import RecordingError
from timeline.recording.format import HEADER_BYTES, HOST_FIELDS
from timeline.recording.writer import HEADER_EVERY, SampleWriter


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "samples.host.npy")


def row(i):
    return 1000 + i, i, 1, 4096 * i, 4096 * i + 1


def test_numpy_opens_a_finished_file(path):
    writer = SampleWriter(path, HOST_FIELDS)
    assert all(writer.append(*row(i)) for i in range(10))
    writer.close()
    rows = np.load(path)
    assert rows.dtype == np.dtype(list(HOST_FIELDS))
    assert rows.tolist() == [row(i) for i in range(10)]
    assert (writer.rows, writer.lost) == (10, "")


def test_the_header_is_the_one_that_numpy_writes_but_for_its_room(path):
    SampleWriter(path, HOST_FIELDS).close()
    with open(path, "rb") as file:
        assert np.lib.format.read_magic(file) == (1, 0)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        assert file.tell() == HEADER_BYTES
    assert (shape, fortran, dtype) == ((0,), False, np.dtype(list(HOST_FIELDS)))


def test_numpy_opens_a_growing_file_with_most_rows(path):
    writer = SampleWriter(path, HOST_FIELDS)
    for i in range(2 * HEADER_EVERY + 7):
        writer.append(*row(i))
    assert len(np.load(path)) == 2 * HEADER_EVERY
    grown = np.memmap(path, list(HOST_FIELDS), offset=HEADER_BYTES, mode="r")
    assert grown[-1].tolist() == row(2 * HEADER_EVERY + 6)
    writer.close()
    assert len(np.load(path)) == 2 * HEADER_EVERY + 7


def test_rows_written_together_are_those_written_one_by_one(path, tmp_path):
    together = SampleWriter(path, HOST_FIELDS)
    one_by_one = SampleWriter(str(tmp_path / "other.npy"), HOST_FIELDS)
    odd = (5, 6_000_000_000, -1, 1 << 70, -(1 << 70))
    for first in range(0, HEADER_EVERY + 8, 4):
        rows = [row(first), odd, row(first + 2), row(first + 3)]
        assert together.extend(rows)
        assert all(one_by_one.append(*each) for each in rows)
    # Either counts in its header at the hundredth row, or at the first write past it.
    assert len(np.load(path)) == HEADER_EVERY
    together.close()
    one_by_one.close()
    with open(path, "rb") as a, open(tmp_path / "other.npy", "rb") as b:
        assert a.read() == b.read()


def test_a_value_outside_its_column_is_the_nearest_that_fits(path):
    writer = SampleWriter(path, HOST_FIELDS)
    assert writer.append(5, 6_000_000_000, -1, 1 << 70, -(1 << 70))
    writer.close()
    assert np.load(path).tolist() == [(5, (1 << 32) - 1, 0, (1 << 63) - 1, -(1 << 63))]


def test_nothing_is_overwritten(path):
    SampleWriter(path, HOST_FIELDS).close()
    with pytest.raises(RecordingError, match="cannot be made: file exists"):
        SampleWriter(path, HOST_FIELDS)


def test_after_closing_nothing_happens(path):
    writer = SampleWriter(path, HOST_FIELDS)
    writer.close()
    writer.close()
    assert not writer.append(*row(0))
    assert (writer.rows, writer.lost) == (0, "")


def test_too_many_columns_for_the_header_are_refused(path):
    with pytest.raises(RecordingError, match="too many columns"):
        SampleWriter(path, tuple((f"column_{i}", "<i8") for i in range(12)))
    assert not os.path.exists(path)


def test_a_file_that_the_program_closed_and_another_under_its_number_are_left_alone(path, tmp_path):
    writer = SampleWriter(path, HOST_FIELDS)
    writer.append(*row(0))
    number = writer._fd
    os.close(number)
    theirs = os.open(tmp_path / "theirs", os.O_RDWR | os.O_CREAT)
    os.dup2(theirs, number)
    try:
        assert not writer.append(*row(1))
        writer.close()
        assert os.fstat(theirs).st_size == 0
        assert writer.lost == "samples.host.npy ends after 1 rows: the program closed the file"
    finally:
        os.close(theirs)
        if number != theirs:
            os.close(number)


# Appends until it is refused; prints what the writer says of it.
FILL = """
import json, sys
from timeline.recording.format import HOST_FIELDS
from timeline.recording.writer import SampleWriter
{before}
writer = SampleWriter(sys.argv[1], HOST_FIELDS)
said = 0
while writer.extend([(1000 + said, 0, 1, 4096, 4096)] * {together}):
    said += {together}
again = writer.append(0, 0, 0, 0, 0)
writer.close()
print(json.dumps([said, writer.rows, writer.lost, again]))
"""


def check_filled(path, out, together=1):
    assert out.returncode == 0, out.stderr
    said, rows, lost, again = json.loads(out.stdout)
    assert said <= rows < said + together
    assert not again
    assert lost.startswith(f"samples.host.npy ends after {rows} rows: ")
    # The header could still be rewritten: it takes no new space.
    assert len(np.load(path)) == rows
    assert os.path.getsize(path) == HEADER_BYTES + 32 * rows
    return rows, lost


@pytest.mark.parametrize("together", [1, 3])
@pytest.mark.parametrize("more", [0, 16, 31])
def test_a_file_that_may_not_grow_ends_at_a_whole_row(path, more, together):
    resource = pytest.importorskip("resource")
    limit = HEADER_BYTES + 32 * 10 + more
    before = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    assert resource
    fill = FILL.format(before=before, together=together)
    out = subprocess.run([sys.executable, "-c", fill, path], capture_output=True, text=True)
    rows, lost = check_filled(path, out, together)
    assert rows == 10
    assert "file too large" in lost


def test_a_full_disk_ends_the_writing_at_a_whole_row(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    # Two pages: 250.x rows after the header and a file of one odd size, so that a row is torn.
    script = (
        f"mount -t tmpfs -o size=8k tmpfs {disk} || exit 77; "
        f'"$0" -c "$1" {disk}/samples.host.npy; code=$?; '
        f"cp {disk}/samples.host.npy {tmp_path}/samples.host.npy; exit $code"
    )
    try:
        out = subprocess.run(
            [
                "unshare",
                "-m",
                "sh",
                "-c",
                script,
                sys.executable,
                FILL.format(before="", together=1),
            ],
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare to mount a small disk with")
    if "Operation not permitted" in out.stderr or out.returncode == 77:
        pytest.skip(f"a small disk cannot be mounted here: {out.stderr.strip()}")
    rows, lost = check_filled(tmp_path / "samples.host.npy", out)
    assert rows == (8192 - HEADER_BYTES) // 32
    assert "no space left" in lost or "disk is full" in lost
