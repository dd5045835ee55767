"""`timeline export`, as a person types it; what it writes is read in test_mprof_users.py."""

import os

import pytest

MPROF = "CMDLINE python old.py\nMEM 10.0 100.0\nMEM 30.0 101.0\n"


@pytest.fixture
def export(run_python, tmp_path):
    (tmp_path / "old.dat").write_text(MPROF)

    def call(*words, **options):
        return run_python("-m", "timeline", "export", *words, env={"TZ": "UTC"}, **options)

    return call


def test_the_default_name_is_the_one_that_mprof_looks_for(export, tmp_path):
    ended = export("old.dat", "--to", "mprof")
    assert ended.code == 0, ended.stderr
    assert ended.stderr == "timeline: wrote mprofile_19700101000140.dat\n"
    assert (
        (tmp_path / "mprofile_19700101000140.dat").read_text().startswith("CMDLINE python old.py")
    )


def test_a_file_that_exists_is_kept_unless_forced(export, tmp_path):
    (tmp_path / "out.dat").write_text("precious")
    ended = export("old.dat", "--to", "mprof", "-o", "out.dat")
    assert ended.code == 1
    assert "use --force" in ended.stderr
    assert (tmp_path / "out.dat").read_text() == "precious"
    assert export("old.dat", "--to", "mprof", "-o", "out.dat", "--force").code == 0
    assert (tmp_path / "out.dat").read_text().startswith("CMDLINE")


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["old.dat", "--to", "csv"], 2, "there is no export to 'csv'"),
        (["nothing", "--to", "mprof"], 1, "no such file"),
        (["old.dat", "--to", "mprof", "-o", "no/where.dat"], 1, "there is no directory"),
        (["old.dat", "--to", "mprof", "-o", "folder"], 1, "is a directory"),
    ],
)
def test_what_cannot_be_is_one_sentence(export, tmp_path, words, code, sentence):
    (tmp_path / "folder").mkdir()
    ended = export(*words)
    assert ended.code == code
    assert sentence in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == ["folder", "old.dat"]


def test_without_a_format_it_is_a_usage_error(export):
    assert export("old.dat").code == 2
