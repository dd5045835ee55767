"""The figures of merit of estimates, and that they say with which library they were made."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRUTH = Path(os.environ.get("TIMELINE_GROUNDTRUTH", ROOT.parent / "shared" / "groundtruth"))

pytestmark = pytest.mark.skipif(
    not (ROOT / "benchmarks").exists(), reason="the benchmarks are not here"
)


@pytest.fixture
def figures(of_benchmarks):
    return of_benchmarks("figures"), of_benchmarks("versions")


def test_p95_lies_between_two_rows_and_the_rank_and_the_worst_are_rows(figures):
    errors = [each / 100 * (-1) ** each for each in range(1, 51)]
    found = figures[0].merit(errors)
    assert found.rows == 50
    assert found.median == pytest.approx(0.255)
    assert found.p95 == pytest.approx(0.4755)  # 0.95 * 49 = 46.55 steps from the first, by hand
    assert found.rank == pytest.approx(0.48)
    assert found.worst == pytest.approx((0.50, 0.49, 0.48))
    assert found.under == 0.5


def test_one_row_is_all_of_its_figures(figures):
    found = figures[0].merit([-0.25])
    assert (found.median, found.p95, found.rank, found.worst) == (0.25, 0.25, 0.25, (0.25,))


def test_what_repeats_to_the_byte_counts_once_and_another_outcome_stays(figures):
    row = namedtuple("Row", "number key measured out_of_memory")
    rows = [row(1, "a", 10, False), row(2, "a", 10, False), row(3, "a", 11, False),
            row(4, "b", 10, False), row(5, "a", 10, True)]  # fmt: skip
    kept, repeats = figures[0].without_repeats(rows)
    assert [each.number for each in kept] == [1, 3, 4, 5]
    assert [each.number for each in repeats] == [2]


def test_another_library_than_the_rows_had_is_said_with_both_versions(figures, tmp_path):
    versions = figures[1]
    assert versions.measured_with() == "4.51.3"
    said = {}
    for number in ("4.51.3", "5.0.0"):
        metadata = tmp_path / number / f"transformers-{number}.dist-info" / "METADATA"
        metadata.parent.mkdir(parents=True)
        metadata.write_text(f"Metadata-Version: 2.1\nName: transformers\nVersion: {number}\n")
        said[number] = subprocess.run(
            [sys.executable, "-c", "from estimates.versions import *; print(other_library())"],
            env={**os.environ, "PYTHONPATH": f"{metadata.parents[1]}:{ROOT / 'benchmarks'}"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    assert said["4.51.3"] == ""
    assert said["5.0.0"].startswith("NOTE: transformers 5.0.0 is installed here, and the rows ran")
    assert "4.51.3" in said["5.0.0"]
    assert "make bench-estimate" in said["5.0.0"]


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.skipif(
    not (TRUTH / "xmem_dev.csv").exists(), reason="the public measurements are not here"
)
def test_the_first_line_and_the_last_but_one_tell_of_another_library(tmp_path):
    pytest.importorskip("torchvision")
    metadata = tmp_path / "transformers-9.9.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 9.9\n")
    found = subprocess.run(
        [sys.executable, "benchmarks/estimate.py", "--truth", TRUTH, "--kind", "Transformer",
         "--every", "1000", "--jobs", "1"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
    )  # fmt: skip
    if "No module named 'transformers'" in found.stderr:
        pytest.skip("transformers is not here")
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert lines[0].startswith("NOTE: transformers 9.9 is installed here")
    assert lines[-2] == lines[0]
