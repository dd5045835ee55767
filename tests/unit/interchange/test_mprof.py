import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from synthetic import recording

from timeline.analysis.analyze import analyze
from timeline.errors import DamagedRecordingError, TimelineError
from timeline.interchange import mprof, mprof_writer
from timeline.interchange.loading import load
from timeline.recording.types import Kind, Recording
from timeline.views import json, text

MiB = 1 << 20
REAL = """\
FUNC __main__.inner 27.6016 1795335065.2486 77.6055 1795335065.4370 1
FUNC __main__.inner 77.6055 1795335065.4372 97.6094 1795335065.6031 1
FUNC __main__.outer 27.6016 1795335065.2485 97.6094 1795335065.6032 0
FUNC .a block 47.5742 1795335065.8245 47.5742 1795335065.8750 0
CMDLINE /usr/bin/python3 prog.py 'a b'
MEM 1.191406 1795335065.0943
MEM 27.273438 1795335065.2456
CHLD 7253 35.804688 1795335065.3390
CHLD 7254 36.179688 1795335065.3390
CHLD 0 0.000000 1795335065.3391
MEM 97.609375 1795335065.5491
CHLD 7254 68.949219 1795335065.4453
MEM 47.585938 1795335066.0054
MEM 0.000000 1795335066.0560
"""


def read(tmp_path, content):
    path = tmp_path / "mprofile_20261122080000.dat"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return mprof.load(path)


def equal(a, b):
    """Whether two recordings hold the same facts, wherever they came from."""
    assert a.run == b.run
    assert a.series.keys() == b.series.keys()
    for name in a.series:
        assert a.series[name].channel == b.series[name].channel
        for column in ("begun_ns", "t_ns", "value", "high", "unseen"):
            np.testing.assert_array_equal(
                getattr(a.series[name], column), getattr(b.series[name], column)
            )
    assert a.marks.names == b.marks.names
    for column in (
        "kind", "begun_ns", "t_ns", "phase", "parent", "thread", "name", "rss", "high", "unseen"
    ):  # fmt: skip
        np.testing.assert_array_equal(getattr(a.marks, column), getattr(b.marks, column))
    return True


def test_samples_become_the_host_channel(tmp_path):
    series = read(tmp_path, REAL).series["host.rss"]
    assert series.value.tolist() == [1_249_280, 28_598_272, 102_350_848, 49_897_472]
    assert series.t_ns[0] == 1_795_335_065_094_300_000
    assert (series.high == -1).all()
    assert not series.channel.exact
    assert series.channel.reason


def test_a_size_comes_back_as_the_whole_kib_that_was_read(tmp_path):
    # 27.6016 is what is left of 28264 KiB after "%.4f".
    marks = read(tmp_path, REAL).marks
    assert marks[0].rss == 28_264 * 1024


def test_the_run_is_told_as_far_as_the_file_tells_it(tmp_path):
    found = read(tmp_path, REAL)
    assert found.format == 0
    assert found.run.argv == ("prog.py", "a b")
    assert (found.run.end, found.run.exit_code, found.run.signal) == ("exited", None, None)
    assert found.run.started_ns == found.run.started_time_ns == 1_795_335_065_094_300_000
    assert found.run.ended_ns == 1_795_335_066_005_400_000
    assert any("ended" in each for each in found.missing)
    assert found.damage == ()
    assert analyze(found).ending == "ended"


def test_children_become_channels_of_their_own(tmp_path):
    series = read(tmp_path, REAL).series
    assert set(series) == {"host.rss", "children.7253.rss", "children.7254.rss"}
    assert len(series["children.7254.rss"]) == 2


def test_function_brackets_become_phases_inside_each_other(tmp_path):
    marks = read(tmp_path, REAL).marks
    assert [(mark.kind, mark.name) for mark in marks] == [
        (Kind.BEGIN, "__main__.outer"),
        (Kind.BEGIN, "__main__.inner"),
        (Kind.END, "__main__.inner"),
        (Kind.BEGIN, "__main__.inner"),
        (Kind.END, "__main__.inner"),
        (Kind.END, "__main__.outer"),
        (Kind.BEGIN, "a block"),
        (Kind.END, "a block"),
    ]
    assert marks.parent.tolist() == [-1, 0, 0, 0, 0, -1, -1, -1]


def test_a_recursive_function_is_inside_itself(tmp_path):
    lines = "".join(f"FUNC m.f 1.0000 100.{i}000 2.0000 100.{9 - i}000 {i}\n" for i in (0, 1, 2, 3))
    marks = read(tmp_path, lines + "MEM 1.0 100.0\n").marks
    assert [mark.phase for mark in marks] == [0, 1, 2, 3, 3, 2, 1, 0]
    assert marks.parent[:4].tolist() == [-1, 0, 1, 2]


def test_calls_at_one_moment_nest_by_their_level(tmp_path):
    marks = read(
        tmp_path,
        "FUNC m.inner 1.0000 100.0000 1.0000 100.0000 1\n"
        "FUNC m.outer 1.0000 100.0000 1.0000 100.0000 0\nMEM 1.0 100.0\n",
    ).marks
    assert [mark.name for mark in marks] == ["m.outer", "m.inner", "m.inner", "m.outer"]


def test_overlapping_calls_of_two_threads_are_beside_each_other(tmp_path):
    marks = read(
        tmp_path,
        "FUNC m.a 1.0 100.0 1.0 102.0 0\nFUNC m.b 1.0 101.0 1.0 103.0 0\nMEM 1.0 100.0\n",
    ).marks
    assert (marks.parent == -1).all()


def test_a_line_of_an_old_mprof_without_a_level_is_read(tmp_path):
    marks = read(tmp_path, "FUNC m.f 5 1.0 100.0 1.0 101.0\nMEM 1.0 100.0\n").marks
    assert marks.names == ("m.f 5",)


@pytest.mark.parametrize(
    ("line", "argv"),
    [
        ("python train.py --epochs 1", ("train.py", "--epochs", "1")),
        ("/opt/py/bin/python3.11 -m pkg.mod x", ("-m", "pkg.mod", "x")),
        (r"C:\Python\python.exe train.py", ("train.py",)),
        (r"'C:\My Py\python.exe' a\b.py #1", (r"a\b.py", "#1")),
        ("sleep 0.3", ("sleep", "0.3")),
        ("it's unquoted", ("it's", "unquoted")),
        ("['/usr/bin/python3', 'server.py']", ("server.py",)),
        ("[not a list", ("[not", "a", "list")),
        ("python", ("python",)),
        ("", ()),
    ],
)
def test_the_command_line_is_split_as_mprof_joined_it(tmp_path, line, argv):
    assert read(tmp_path, f"CMDLINE {line}\nMEM 1.0 100.0\n").run.argv == argv


def test_a_file_without_a_command_line_is_read(tmp_path):
    found = read(tmp_path, "MEM 1.0 100.0\n")
    assert found.run.argv == ()
    assert "Peak" in text.render(analyze(found))


def test_a_torn_last_line_is_dropped_and_said(tmp_path):
    # "…47.5859" and "…1795" parse as figures, but they are not what was written.
    found = read(tmp_path, REAL + "MEM 47.585938 1795")
    assert len(found.series["host.rss"]) == 4
    assert found.damage == ("the last line was cut off and is left out",)


def test_lines_that_two_writers_mixed_are_dropped_and_counted(tmp_path):
    found = read(tmp_path, REAL + "MEM 47.58FUNC __main__.f 1.0 2.0\nMEM 3 4 5\nwhat is this\n")
    assert len(found.series["host.rss"]) == 4
    assert found.damage == ("3 lines could not be read and are left out",)


def test_two_runs_in_one_file_are_said(tmp_path):
    found = read(tmp_path, REAL + "CMDLINE python other.py\nMEM 1.0 1795335070.0\n")
    assert found.run.argv == ("other.py",)
    assert "added 2 runs" in found.damage[0]


def test_a_failed_reading_and_a_gone_process_are_no_samples(tmp_path):
    found = read(tmp_path, "MEM -1.000000 100.0\nMEM 0.000000 101.0\nMEM 5.0 102.0\n")
    assert found.series["host.rss"].value.tolist() == [5 * MiB]


def test_figures_that_are_no_figures_are_no_samples(tmp_path):
    found = read(
        tmp_path, "MEM nan 100.0\nMEM 1e300 100.0\nMEM 5.0 inf\nMEM 5.0 1e99\nMEM 5.0 102.0\n"
    )
    assert found.series["host.rss"].t_ns.tolist() == [102_000_000_000]


def test_a_clock_that_was_set_back_leaves_the_samples_in_order(tmp_path):
    found = read(tmp_path, "MEM 2.0 102.0\nMEM 1.0 101.0\n")
    assert found.series["host.rss"].value.tolist() == [MiB, 2 * MiB]


def test_windows_line_ends_are_read(tmp_path):
    assert equal(read(tmp_path, REAL), read(tmp_path, REAL.replace("\n", "\r\n")))


@pytest.mark.parametrize("content", ["CMDLINE python x.py\n", "MEM 1.0 100.0", "MEM \n"])
def test_a_file_without_a_sample_says_that_the_run_was_too_short(tmp_path, content):
    with pytest.raises(DamagedRecordingError, match="no sample"):
        read(tmp_path, content)


def test_what_was_read_is_written_and_read_the_same(tmp_path):
    first = read(tmp_path, REAL)
    out = tmp_path / "out.dat"
    mprof_writer.write(first, out)
    second = mprof.load(out)
    assert equal(first, second)


def test_our_own_recording_keeps_its_peak_and_its_phases(tmp_path):
    ours = recording(200, 30)
    out = tmp_path / "out.dat"
    mprof_writer.write(ours, out)
    before, after = analyze(ours), analyze(load(out))
    assert abs(after.channels[0].peak - before.channels[0].peak) <= 512
    assert [each.path for each in after.phases] == [each.path for each in before.phases]
    assert [each.count for each in after.phases] == [each.count for each in before.phases]
    assert after.run.argv == before.run.argv
    assert abs(after.duration_ns - before.duration_ns) < 20_000_000


def test_marks_without_a_reading_take_the_last_one_before_them(tmp_path):
    out = tmp_path / "out.dat"
    ours = recording(200, 30, exact=False)
    mprof_writer.write(ours, out)
    marks, series = mprof.load(out).marks, ours.series["host.rss"]
    values = set((np.rint(series.value / 1024) * 1024).tolist())
    assert set(marks.rss.tolist()) <= values


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "two words",
        "$x$ and $y",
        r"\$",
        ".hidden",
        "a\u00e9\u6570",
        "trailing ",
        "5",
        "1.5",
    ],
)
def test_names_come_back_as_they_were(tmp_path, name):
    out = tmp_path / "out.dat"
    mprof_writer.write(recording(20, 1, paths=(name,)), out)
    assert mprof.load(out).marks.names == (name,)


@pytest.mark.parametrize("name", ["two\nlines", "a\r\x0b\u2028b", "", "half \ud800", "\0"])
def test_names_that_no_line_can_hold_do_not_break_the_file(tmp_path, name):
    out = tmp_path / "out.dat"
    mprof_writer.write(recording(20, 1, paths=(name,)), out)
    found = mprof.load(out)
    assert len(found.marks) == 2
    assert found.damage == ()


def test_a_recording_without_a_reading_cannot_be_exported(tmp_path):
    with pytest.raises(DamagedRecordingError, match="no reading"):
        mprof_writer.write(recording(0, 0), tmp_path / "out.dat")


def test_a_million_samples_are_read(tmp_path):
    lines = "".join(f"MEM {100 + i % 50}.5 {1000 + i // 100}.{i % 100:02d}\n" for i in range(10**6))
    assert len(read(tmp_path, lines).series["host.rss"]) == 10**6


def mutations():
    """The real file with bytes flipped, cut, doubled or put in."""
    real = REAL.encode()
    place = st.integers(0, len(real))
    piece = st.one_of(
        st.binary(max_size=8),
        st.sampled_from(
            [b"\n", b"-", b"e9", b"999999999999", b"nan", b" ", b"MEM ", b"\xff", b"_"]
        ),
    )
    edit = st.tuples(place, place, piece)

    def apply(edits):
        data = real
        for start, stop, put in edits:
            data = data[:start] + put + data[min(start + stop % 40, len(data)) :]
        return data

    return st.lists(edit, min_size=1, max_size=6).map(apply)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(mutations())
@example(b"MEM 1.0 9199999999.0\nMEM 1.0 0.0\n")
@example(b"FUNC x 1.0 0.0 1.0 9199999999.0 99999999999999999999\nMEM 1.0 5.0\n")
@example(b"MEM 4398046511103.9 1.0\n")
def test_a_mutated_file_is_a_recording_or_an_error_of_ours(tmp_path, data):
    path = tmp_path / "mutated.dat"
    path.write_bytes(data)
    try:
        found = load(path)
    except TimelineError:
        return
    assert isinstance(found, Recording)
    for series in found.series.values():
        assert (np.diff(series.t_ns) >= 0).all()
        assert (series.value > 0).all()
    analysis = analyze(found)
    text.render(analysis)
    json.render(analysis)
    mprof_writer.write(found, tmp_path / "again.dat")
    assert len(load(tmp_path / "again.dat").marks) == len(found.marks)
